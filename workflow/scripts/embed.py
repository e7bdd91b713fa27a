"""Images of a dataset → embeddings of one view, or a part of them: `clean` (all splits), or weak and strong (pool)."""

import json

from labelbench.common import jobs

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)

from labelbench.common import provenance
from labelbench.data import views
from labelbench.embedding import embedder, images, reuse

watch = jobs.Stopwatch()
data = images.load(job, spec)
part, parts = map(int, job.params.get("part", "1 of 1").split(" of "))
made = {"encoder": spec["encoder"]["name"], "spec": job.params.spec, "code": job.params.code}
files, before = data.dataset.files, None
if files is not None and parts == 1:
    # What a row depends on besides its image; the rest of the spec says where the images are.
    settings = {key: spec[key] for key in ("encoder", "view", "views") if key in spec}
    made["rows"] = provenance.canonical({**settings, "decoding": files.decoding})
    before = reuse.Rows(job.output.embeddings, spec["view"], {key: made[key] for key in ("rows", "code")})
log.info("%s on %s in %s, part %d of %d", spec["view"], data.device, data.encoder.precision, part, parts)
count = embedder.embed(
    job.output.embeddings,
    data,
    spec["view"],
    views.make_views(data.encoder.transform, views.Config(**spec["views"])) if "views" in spec else None,
    made,
    part=part,
    parts=parts,
    before=before,
)
if before is not None:
    log.info("%d images embedded; the rows of the others were there already", count)
    reuse.keep(job.output.embeddings, data.dataset)
jobs.write_result(job.output.cost, watch.cost(job, data.device, embed_seconds=watch.seconds()))
