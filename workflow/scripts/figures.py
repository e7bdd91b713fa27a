"""The figures of every dataset, and of all settings together, as SVG and PDF."""

import itertools
import json
import logging

from labelbench.common import jobs
from labelbench.evidence import figures, levers, study
from labelbench.evidence.images import TestImages

job = snakemake  # noqa: F821
log = jobs.start(job)
logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells every glyph of every PDF
spec = json.loads(job.params.spec)

metrics, _ = study.paired(study.load(job.input.metrics))
images = TestImages(study.read_parquet(job.input.hits))
drawings = {
    "curves": figures.learning_curves,
    "finetuned": figures.finetuned_curves,
    "finals": figures.final_scores,
    "trainers": figures.trainer_curves,
    "selectors": figures.selector_curves,
    "savings": figures.label_savings,
    "differences": lambda *about: figures.differences(*about, spec["equivalence"], images),
}
order = dict.fromkeys(dataset for _, dataset in spec["figures"])  # the study's; that of the rest is sorted
starts = {dataset: spec["starts"][dataset] for dataset in order}
overall = {
    "ranks": figures.critical_differences,
    "levers": lambda metrics, leads, kinds, of_images: figures.lever_effects(
        levers.table(metrics, leads, kinds, starts, of_images, spec["equivalence"], images)
    ),
}
# In the order of the output files.
drawn = itertools.chain(
    (
        drawings[name](metrics[metrics["dataset"] == dataset], dataset, spec["lead"][dataset], spec["kinds"])
        for name, dataset in spec["figures"]
    ),
    (overall[name](metrics, spec["lead"], spec["kinds"], spec["images"]) for name in spec["overall"]),
)
for i, figure in enumerate(drawn):
    for format in ("svg", "pdf"):
        with jobs.written_whole(job.output[format][i]) as part:
            figures.save(figure, part, format)
log.info("figures of %s", ", ".join(spec["lead"]))
