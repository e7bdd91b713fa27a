"""Images of a dataset → embeddings of one view, or a part of them: `clean` (all splits), or weak and strong (pool)."""

import json
import os

from labelbench import dataset_file, jobs, registry

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

import torch

from labelbench import embedder, views

# One thread computes and the others decode: on a CPU, more cores are more shards.
torch.set_num_threads(1)
device = "cuda" if torch.cuda.is_available() else "cpu"
encoder_plugin, encoder_config = registry.configured("encoders", spec["encoder"])
encoder = encoder_plugin.load(encoder_config, device)
dataset = dataset_file.read(job.input.dataset)
images_plugin, images_config = registry.configured("datasets", spec["dataset"])
part, parts = map(int, job.params.get("part", "1 of 1").split(" of "))
log.info("%s on %s in %s, part %d of %d", spec["view"], device, encoder.precision, part, parts)
embedder.embed(
    job.output[0],
    dataset,
    images_plugin.images(images_config),
    encoder,
    spec["view"],
    views.make_views(encoder.transform, views.Config(**spec["views"])) if "views" in spec else None,
    {"encoder": spec["encoder"]["name"], "spec": job.params.spec, "code": job.params.code},
    workers=min(job.threads, os.cpu_count()) - 1,
    device=device,
    part=part,
    parts=parts,
)
