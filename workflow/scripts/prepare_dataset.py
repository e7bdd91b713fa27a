"""Source files of a dataset → labels, splits, class names, prompt templates, fingerprint."""

import json

from labelbench.common import jobs, registry
from labelbench.data import dataset_file

job = snakemake  # noqa: F821
log = jobs.start(job)
plugin, config = registry.configured("datasets", json.loads(job.params.spec))
dataset = plugin.prepare(config)
dataset_file.write(job.output[0], dataset, job.params.spec, job.params.code)
log.info("%s", {name: len(split.labels) for name, split in dataset.splits.items()})
