"""Source files of a dataset → labels, splits, class names, prompt templates, fingerprint."""

import json

from labelbench.common import jobs, registry
from labelbench.data import dataset_file, remembered

job = snakemake  # noqa: F821
log = jobs.start(job)
plugin, config = registry.configured("datasets", json.loads(job.params.spec))
memory = job.params.memory
if memory:
    remembered.begin(memory)
dataset = plugin.prepare(config, memory) if memory else plugin.prepare(config)
dataset_file.write(job.output[0], dataset, job.params.spec, job.params.code)
if memory:
    listing = plugin.listing(config, lambda: remembered.read_files(memory), {})
    made_by = job.params.spec + job.params.code
    remembered.finish(memory, job.output[0], listing, made_by, job.params.contents)
log.info("%s", {name: len(split.labels) for name, split in dataset.splits.items()})
