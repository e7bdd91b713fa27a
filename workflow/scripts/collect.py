"""The tidy table of a study, from the metrics and costs that every trained model left and from what is imported."""

import json
from pathlib import Path

from labelbench.common import jobs, json_files
from labelbench.evidence import study

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

rows = study.read(job.input.metrics, job.input.costs, job.input.zero_shot, job.input.embeddings, job.input.replicates)
rows = study.share_first_round(rows, spec["own"])
imports = {
    Path(path).stem: study.read_parquet(path) + study.read_parquet(hits)
    for path, hits in zip(job.input.imported, job.input.imported_hits, strict=True)
}
rows, left_out = study.joined(rows, imports)
for path in job.input.imported_notes:
    for dataset, notes in json_files.read(path, ("notes",))["notes"].items():
        left_out.setdefault(dataset, []).extend(notes)
rows, hits = study.apart(study.in_order(rows, spec["order"]))
with jobs.written_whole(job.output.hits) as part:
    study.write_parquet(hits, part, "string")
with jobs.written_whole(job.output.csv) as csv, jobs.written_whole(job.output.parquet) as parquet:
    study.write_both(rows, csv, parquet)
jobs.write_result(job.output.left_out, {"notes": left_out})
log.info("%d values of %d models", len(rows), len(job.input.metrics))
