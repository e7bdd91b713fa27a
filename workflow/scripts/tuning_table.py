"""The settings that were chosen and the labels it took, as CSV and HTML."""

import csv

from labelbench.common import jobs, json_files
from labelbench.evidence import typeset

job = snakemake  # noqa: F821
log = jobs.start(job)

COLUMNS = ("dataset", "encoder", "selector", "trainer", "labels", "metric", "score", "candidates", "chosen")

records = [json_files.read(path, COLUMNS[:4]) for path in job.input.own]
for path in job.input.imported:
    records += json_files.read(path, ("tuned",))["tuned"]
rows = []
for record in records:
    identity = [record[column] for column in COLUMNS[:4]]
    score, tried = max(candidate["score"] for candidate in record["candidates"]), len(record["candidates"])
    chosen = ", ".join(f"{name}: {value}" for name, value in record["chosen"].items())
    rows.append((*identity, record["num_labels"], record["metric"], score, tried, chosen))
with jobs.written_whole(job.output.csv) as part, part.open("w", newline="") as file:
    table = csv.writer(file, lineterminator="\n")
    table.writerows([COLUMNS, *rows])
page = typeset.Page(
    dataset="Tuned settings",
    name="tuning",
    corner="selector · trainer",
    spans=[("", 2), ("validation split", 2), ("", 1)],
    names=["labels", "candidates", "metric", "best score", "chosen"],
    lines=[
        (
            f"{dataset} · {encoder}",
            f"{selector} · {trainer}",
            [
                (f"{labels:,}", False),
                (str(tried), False),
                (metric.replace("_", " "), False),
                (f"{score:.4f}", False),
                (chosen, False),
            ],
        )
        for dataset, encoder, selector, trainer, labels, metric, score, tried, chosen in rows
    ],
    note="The labels were bought outside every budget; on one dataset the smaller share is part of the larger.",
)
with jobs.written_whole(job.output.html) as part:
    part.write_text(typeset.to_html(page), encoding="utf-8")
log.info("%d choices", len(rows))
