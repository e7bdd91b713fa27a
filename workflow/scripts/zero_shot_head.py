"""Class names and prompt templates → weights of the zero-shot head, and its accuracy on validation and test."""

import json

from labelbench import dataset_file, jobs, metrics, registry

job = snakemake  # noqa: F821
log = jobs.start(job)

import torch
from safetensors.torch import save_file

from labelbench import images as image_batches
from labelbench import training

spec = json.loads(job.params.spec)
device = "cuda" if torch.cuda.is_available() else "cpu"
dataset = dataset_file.read(job.input.dataset)
encoder_plugin, encoder_config = registry.configured("encoders", spec["encoder"])
encoder = encoder_plugin.load(encoder_config, device)
images_plugin, images_config = registry.configured("datasets", spec["dataset"])
images = images_plugin.images(images_config)
weight = encoder.zero_shot_head(dataset.class_names, dataset.templates)
model = image_batches.classifier(encoder, weight, dataset.num_classes, seed=0).to(device)
logits = {
    split: training.predict(
        model, image_batches.clean_batches(images, dataset.splits[split].source, encoder.transform, device)
    ).numpy()
    for split in dataset.splits
    if split != "pool"
}
found = metrics.evaluate(dataset, logits, labels=None)
with jobs.written_whole(job.output.head) as part:
    save_file({"weight": weight.cpu().contiguous()}, part, metadata={"code": job.params.code})
jobs.write_json(
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
