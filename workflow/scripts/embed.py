"""Images of a dataset → embeddings of one view: `clean` (pool, val, test), or weak and strong views of the pool."""

import json
import os

from labelbench import dataset_file, jobs, registry

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

import torch

from labelbench import embedder, views

device = "cuda" if torch.cuda.is_available() else "cpu"
encoder_plugin, encoder_config = registry.configured("encoders", spec["encoder"])
encoder = encoder_plugin.load(encoder_config, device)
dataset = dataset_file.read(job.input.dataset)
images_plugin, images_config = registry.configured("datasets", spec["dataset"])
images = images_plugin.images(images_config)
view = job.wildcards.view
embedder.embed(
    job.output[0],
    dataset,
    images,
    encoder,
    view,
    None if view == "clean" else views.make_views(encoder.transform, views.Config(**spec["views"])),
    {
        "encoder": spec["encoder"]["name"],
        "weights": encoder.weights_hash,
        "spec": job.params.spec,
        "code": job.params.code,
    },
    workers=min(job.threads, os.cpu_count()) - 1,
    device=device,
    log=log,
)
