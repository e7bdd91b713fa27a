"""Learning curves and final scores of every dataset, as SVG and PDF."""

import json
import logging

from labelbench import figures, jobs, study

job = snakemake  # noqa: F821
log = jobs.start(job)
logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells every glyph of every PDF
spec = json.loads(job.params.spec)

metrics = study.load(job.input[0])
for name, draw in (("curves", figures.learning_curves), ("finals", figures.final_scores)):
    for i, dataset in enumerate(spec["datasets"]):
        figure = draw(metrics, dataset, spec["lead"][dataset], spec["kinds"])
        for format in ("svg", "pdf"):
            with jobs.written_whole(job.output[f"{name}_{format}"][i]) as part:
                figures.save(figure, part, format)
log.info("figures of %s", ", ".join(spec["datasets"]))
