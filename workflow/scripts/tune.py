"""Metrics of all candidates → the settings that training uses, with what finding them took."""

import json

from labelbench.common import jobs, json_files
from labelbench.training import tuning

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)
records = [json_files.read(path, ("num_labels", "metrics")) for path in job.input]
scores = [record["metrics"]["val"][spec["metric"]] for record in records]
chosen = spec["candidates"][tuning.best(scores)]
jobs.write_result(
    job.output[0],
    {
        "dataset": job.wildcards.dataset,
        "encoder": job.wildcards.encoder,
        "selector": job.wildcards.selector,
        "trainer": job.wildcards.trainer,
        "num_labels": records[0]["num_labels"],
        "metric": spec["metric"],
        "chosen": chosen,
        "candidates": [{"settings": c, "score": s} for c, s in zip(spec["candidates"], scores, strict=True)],
        "spec": job.params.spec,
        "code": job.params.code,
    },
)
log.info("chose %s of %d candidates", chosen, len(scores))
