"""Zero-shot head + images → its logits for the pool: guesses that cost no label, for a first round that uses them."""

import json

from labelbench.common import hdf5, jobs
from labelbench.embedding import embeddings

job = snakemake  # noqa: F821
jobs.start(job)

from labelbench.common import tensor_files
from labelbench.embedding import embedder, images

spec = json.loads(job.params.spec)
data = images.load(job, spec)
weight = tensor_files.load(job.input.head, "zero-shot head", ("weight",))[0]["weight"]
model = images.classifier(data.encoder, weight, data.dataset.num_classes, seed=0).to(data.device).eval()
clean = images.Clean(data.images, data.dataset.splits["pool"].source, data.encoder.transform)
with hdf5.create(job.output[0]) as file:
    logits = embedder.outputs(model, clean, data.workers, data.device, "zero-shot, pool")
    embeddings.write(file, ["pool"], len(clean), data.dataset.num_classes, logits)
    file.attrs.update(fingerprint=data.dataset.fingerprint, spec=job.params.spec, code=job.params.code)
