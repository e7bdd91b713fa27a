"""The tidy table of a study, from the metrics and costs that every trained model left."""

import json

from labelbench import jobs, study

job = snakemake  # noqa: F821
log = jobs.start(job)
order = json.loads(job.params.spec)["order"]

rows = study.read(job.input.metrics, job.input.costs, job.input.zero_shot, job.input.embeddings, job.input.replicates)
rows = study.share_first_round(rows, order["strategy"])
with jobs.written_whole(job.output[0]) as part:
    study.write(rows, part, order)
log.info("%d values of %d models", len(rows), len(job.input.metrics))
