"""Logs of all jobs → CPU and GPU hours per stage so far, printed."""

import sys
from pathlib import Path

from labelbench import costs, jobs

job = snakemake  # noqa: F821
log = jobs.start(job)
table = costs.summary(Path(job.log[0]).parent)
log.info("%s", table)
sys.stdout.write(table + "\n")
