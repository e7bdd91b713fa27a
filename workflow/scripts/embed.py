"""Images of a dataset → embeddings of one view, or a part of them: `clean` (all splits), or weak and strong (pool)."""

import json

from labelbench.common import jobs

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

from labelbench.data import views
from labelbench.embedding import embedder, images

watch = jobs.Stopwatch()
data = images.load(job, spec)
part, parts = map(int, job.params.get("part", "1 of 1").split(" of "))
log.info("%s on %s in %s, part %d of %d", spec["view"], data.device, data.encoder.precision, part, parts)
embedder.embed(
    job.output.embeddings,
    data,
    spec["view"],
    views.make_views(data.encoder.transform, views.Config(**spec["views"])) if "views" in spec else None,
    {"encoder": spec["encoder"]["name"], "spec": job.params.spec, "code": job.params.code},
    part=part,
    parts=parts,
)
jobs.write_json(job.output.cost, watch.cost(job, data.device, embed_seconds=watch.seconds()))
