"""Source files of a dataset → labels, splits, class names, prompt templates, fingerprint."""

import json

from labelbench import dataset_file, jobs, registry

job = snakemake  # noqa: F821
log = jobs.start(job)
settings = json.loads(job.params.spec)
plugin = registry.load("datasets", settings.pop("name"))
dataset = plugin.prepare(plugin.Config(**settings))
dataset_file.write(job.output[0], dataset, job.params.spec, job.params.code)
log.info("%s", {name: len(split.labels) for name, split in dataset.splits.items()})
