"""Zero-shot head + images → its logits for the pool: guesses that cost no label, for a first round that uses them."""

import json
import os

from labelbench import dataset_file, embeddings, hdf5, jobs, registry

job = snakemake  # noqa: F821
jobs.start(job)

import torch
from safetensors.torch import load_file

from labelbench import embedder
from labelbench import images as image_batches

torch.set_num_threads(1)
spec = json.loads(job.params.spec)
device = "cuda" if torch.cuda.is_available() else "cpu"
dataset = dataset_file.read(job.input.dataset)
encoder_plugin, encoder_config = registry.configured("encoders", spec["encoder"])
encoder = encoder_plugin.load(encoder_config, device)
images_plugin, images_config = registry.configured("datasets", spec["dataset"])
weight = load_file(job.input.head)["weight"]
model = image_batches.classifier(encoder, weight, dataset.num_classes, seed=0).to(device).eval()
source = dataset.splits["pool"].source
clean = embedder.Clean(images_plugin.images(images_config), source, encoder.transform)
with hdf5.create(job.output[0]) as file:
    logits = embedder.outputs(model, clean, min(job.threads, os.cpu_count()) - 1, device, "zero-shot, pool")
    embeddings.write(file, ["pool"], len(source), dataset.num_classes, logits)
    file.attrs.update(fingerprint=dataset.fingerprint, spec=job.params.spec, code=job.params.code)
