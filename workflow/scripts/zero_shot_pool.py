"""Zero-shot head + images → its logits for the pool: guesses that cost no label, for a first round that uses them."""

import json

from labelbench import dataset_file, embeddings, hdf5, jobs, registry

job = snakemake  # noqa: F821
log = jobs.start(job)

import torch
from safetensors.torch import load_file

from labelbench import images as image_batches

spec = json.loads(job.params.spec)
device = "cuda" if torch.cuda.is_available() else "cpu"
dataset = dataset_file.read(job.input.dataset)
encoder_plugin, encoder_config = registry.configured("encoders", spec["encoder"])
encoder = encoder_plugin.load(encoder_config, device)
images_plugin, images_config = registry.configured("datasets", spec["dataset"])
images = images_plugin.images(images_config)
weight = load_file(job.input.head)["weight"]
model = image_batches.classifier(encoder, weight, dataset.num_classes, seed=0).to(device).eval()
source = dataset.splits["pool"].source
with hdf5.create(job.output[0]) as file, torch.inference_mode():
    logits, done = embeddings.create(file, "pool", len(source), dataset.num_classes), 0
    for batch in image_batches.clean_batches(images, source, encoder.transform, device):
        rows = model(batch).cpu().numpy()
        logits[done : done + len(rows)] = rows
        done += len(rows)
        if done == len(source) or done // len(batch) % 40 == 0:
            log.info("%d of %d images", done, len(source))
    file.attrs.update(fingerprint=dataset.fingerprint, spec=job.params.spec, code=job.params.code)
