"""Images of a dataset → embeddings of one view: `clean` (pool, val, test), or weak and strong views of the pool."""

import json
import os

from labelbench import dataset_file, jobs, registry

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

import torch

from labelbench import embedder, views

encoder_name = spec["encoder"].pop("name")
encoder_plugin = registry.load("encoders", encoder_name)
device = "cuda" if torch.cuda.is_available() else "cpu"
encoder = encoder_plugin.load(encoder_plugin.Config(**spec["encoder"]), device)
dataset = dataset_file.read(job.input.dataset)
images_name = spec["dataset"].pop("name")
images_plugin = registry.load("datasets", images_name)
images = images_plugin.images(images_plugin.Config(**spec["dataset"]))
view = job.wildcards.view
embedder.embed(
    job.output[0],
    dataset,
    images,
    encoder,
    view,
    None if view == "clean" else views.make_views(encoder.transform, views.Config(**spec["views"])),
    {"encoder": encoder_name, "weights": encoder.weights_hash, "spec": job.params.spec, "code": job.params.code},
    workers=min(job.threads, os.cpu_count()) - 1,
    device=device,
    log=log,
)
