"""Class names and prompt templates → weights of the zero-shot head, and its accuracy on validation and test."""

import json

from labelbench.common import jobs
from labelbench.training import metrics

job = snakemake  # noqa: F821
log = jobs.start(job)

from labelbench.common import tensor_files
from labelbench.embedding import images
from labelbench.training import training

spec = json.loads(job.params.spec)
data = images.load(job, spec)
dataset = data.dataset
weight = data.encoder.zero_shot_head(dataset.class_names, dataset.templates)
model = images.classifier(data.encoder, weight, dataset.num_classes, seed=0).to(data.device)
predictions = {
    name: training.predictions(model, images.clean_batches(data, split.source), split.labels)
    for name, split in dataset.splits.items()
    if name != "pool"
}
found = metrics.evaluate(dataset, predictions, labels=None)
with jobs.written_whole(job.output.head) as part:
    tensor_files.save(part, {"weight": weight}, {"code": job.params.code})
jobs.write_result(
    job.output.metrics,
    {
        "dataset": job.wildcards.dataset,
        "encoder": job.wildcards.encoder,
        "metrics": found,
        "spec": job.params.spec,
        "code": job.params.code,
    },
)
log.info("zero-shot accuracy: %s", {split: round(values["accuracy"], 4) for split, values in found.items()})
