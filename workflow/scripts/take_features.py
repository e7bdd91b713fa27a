"""Embeddings that a dataset consists of → an embedding file of one view: `clean`, or weak and strong of the pool."""

import json

from labelbench.common import jobs, registry
from labelbench.data import dataset_file
from labelbench.embedding import given

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

watch = jobs.Stopwatch()
view = spec["view"]
dataset = dataset_file.read(job.input.dataset)
plugin, config = registry.configured("datasets", spec["dataset"])
attributes = {
    "fingerprint": dataset.fingerprint,
    "view": view,
    "weights": dataset.images_hash,
    "precision": "float16",
    "encoder": given.NAME,
    "spec": job.params.spec,
    "code": job.params.code,
}
if view == "clean":
    given.write_clean(job.output.embeddings, plugin.matrix(config), dataset, attributes)
elif copies := plugin.copies(config, int(view.removeprefix("aug"))):
    given.write_copies(job.output.embeddings, copies, dataset, attributes)
else:
    given.write_views(job.output.embeddings, job.input.clean, dataset, plugin.Views(**spec["views"]), attributes)
jobs.write_result(job.output.cost, watch.cost(job, "cpu", embed_seconds=watch.seconds()))
log.info("%s: %s", view, {name: len(split.source) for name, split in dataset.splits.items()})
