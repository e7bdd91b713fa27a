"""A dataset's labels and embeddings → whole campaigns of a simulated person: what they claimed, and what was true."""

import json
import types

from labelbench.common import jobs
from labelbench.data import dataset_file
from labelbench.embedding import embeddings

job = snakemake  # noqa: F821
log = jobs.start(job)

with jobs.slow_imports():
    import numpy as np

    from labelbench.labelling import rehearsal

spec = json.loads(job.params.spec)
dataset = dataset_file.read(job.input.dataset)
splits = ("pool", "val", "test")
rows = np.concatenate([embeddings.read(job.input.clean, name, dataset.fingerprint) for name in splits])
classes = np.concatenate([dataset.splits[name].labels for name in splits])
rows, classes = rows[classes >= 0], classes[classes >= 0]
settings = types.SimpleNamespace(**spec, name="rehearsal", classes=list(dataset.class_names))
part = int(job.wildcards.part)
numbers = range(part, spec["campaigns"], spec["jobs"])
found = rehearsal.campaigns(
    rows, classes, min(spec["pool"], len(rows) // 2), settings, [spec["seed"] + n for n in numbers]
)
jobs.write_result(job.output[0], {"campaigns": found})
log.info("%d campaigns", len(found))
