"""Final tables as CSV, HTML and LaTeX, and the summary that ends a run."""

import json

from labelbench import jobs, study, tables

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

metrics = study.load(job.input[0])
finals = [tables.final_table(metrics, dataset, spec["lead"][dataset], spec["kinds"]) for dataset in spec["datasets"]]
for paths, render in (
    (job.output.csv, tables.to_csv),
    (job.output.html, tables.to_html),
    (job.output.tex, tables.to_latex),
):
    for path, table in zip(paths, finals, strict=True):
        with jobs.written_whole(path) as part:
            part.write_text(render(table), encoding="utf-8")
with jobs.written_whole(job.output.summary) as part:
    part.write_text(tables.summary(finals), encoding="utf-8")
log.info("tables of %s", ", ".join(spec["datasets"]))
