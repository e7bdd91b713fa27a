"""The fine-tuned encoder + images → its class and confidence of every image that can be read."""

import json

from labelbench.common import jobs
from labelbench.labelling import identity

job = snakemake  # noqa: F821
log = jobs.start(job)

with jobs.slow_imports():
    import numpy as np

    from labelbench.embedding import images as pipeline
    from labelbench.labelling import batch_files, finetuned, models

spec = json.loads(job.params.spec)
images = identity.read_index(job.input.images)
root, _ = identity.source(job.params.images)
data = pipeline.of_files(job, spec, models.reader(root, images), len(images))
model = finetuned.load(job.input.model, data.encoder, len(spec["classes"]), data.device)
present = np.array([n for n, image in enumerate(images) if identity.usable(image)], np.int64)
classes, confidence = finetuned.predict(model, data, present)
rows = [
    (images[n].sha256, spec["classes"][c], f"{s:.6f}") for n, c, s in zip(present, classes, confidence, strict=True)
]
identity.write_table(job.output[0], batch_files.PREDICTED, rows)
log.info("said what %d images are", len(rows))
