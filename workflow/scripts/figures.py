"""The figures of every dataset, as SVG and PDF."""

import json
import logging

from labelbench import figures, jobs, study

job = snakemake  # noqa: F821
log = jobs.start(job)
logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells every glyph of every PDF
spec = json.loads(job.params.spec)

metrics = study.load(job.input[0])
drawings = {
    "curves": figures.learning_curves,
    "finetuned": figures.finetuned_curves,
    "finals": figures.final_scores,
    "trainers": figures.trainer_curves,
    "selectors": figures.selector_curves,
}
for i, (name, dataset) in enumerate(spec["figures"]):  # in the order of the output files
    own = metrics[metrics["dataset"] == dataset]
    figure = drawings[name](own, dataset, spec["lead"][dataset], spec["kinds"])
    for format in ("svg", "pdf"):
        with jobs.written_whole(job.output[format][i]) as part:
            figures.save(figure, part, format)
log.info("figures of %s", ", ".join(spec["lead"]))
