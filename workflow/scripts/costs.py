"""Costs that finished jobs left beside their results → CPU and GPU hours per stage so far, printed."""

import sys

from labelbench.common import jobs
from labelbench.evidence import costs

job = snakemake  # noqa: F821
log = jobs.start(job)
table = costs.summary(job.params.results)
log.info("%s", table)
sys.stdout.write(table + "\n")
