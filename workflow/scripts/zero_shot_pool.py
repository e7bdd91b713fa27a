"""Zero-shot head + images → what it sees of the pool: guesses that cost no label, for a first round that uses them.

The head is in the file as well, so that guesses are one product away; for many classes they are larger than the two.
"""

import json

from labelbench.common import hdf5, jobs
from labelbench.embedding import embeddings

job = snakemake  # noqa: F821
jobs.start(job)

from labelbench.common import tensor_files
from labelbench.embedding import embedder, images

spec = json.loads(job.params.spec)
data = images.load(job, spec)
clean, source = images.Clean(data.images, data.encoder.transform), data.dataset.splits["pool"].source
with hdf5.create(job.output[0]) as file:
    features = embedder.outputs(data.encoder.backbone, clean, source, data.workers, "zero-shot, pool")
    embeddings.write(file, ["pool"], len(source), data.encoder.backbone_dim, features)
    file["head"] = tensor_files.load(job.input.head, "zero-shot head", ("weight",))[0]["weight"].numpy()
    file.attrs.update(fingerprint=data.dataset.fingerprint, spec=job.params.spec, code=job.params.code)
