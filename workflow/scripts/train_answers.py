"""The answers up to a round + embeddings → a proxy, trained for a fixed number of epochs."""

import json

from labelbench.common import jobs
from labelbench.labelling import campaign, identity

job = snakemake  # noqa: F821
log = jobs.start(job)

with jobs.slow_imports():
    from labelbench.labelling import models
    from labelbench.training import proxy

spec = json.loads(job.params.spec)
images = identity.read_index(job.input.images)
number = int(job.wildcards.round)
state = campaign.state(
    campaign.batches(job.params.folder),
    campaign.read_answers(job.input.answers),
    spec["seed"],
    job.params.complete,
    identity.gone(images),
)
(round_,) = [r for r in state.rounds if r.number == number]
position = {image.sha256: n for n, image in enumerate(images)}
index = [position[name] for name in round_.labels]
classes = [spec["classes"].index(label) for label in round_.labels.values()]
space = models.space(job.input.clean, job.input.augmented, identity.fingerprint(images))
model = models.train(space, spec, index, classes, len(spec["classes"]), number, log)
with jobs.written_whole(job.output[0]) as part:
    proxy.save(part, model, spec["selector"], job.params.code)
log.info("round %d: trained on %d labels", number, len(index))
