"""What is known so far → the next batch, a folder that appears whole: three ways to answer the same questions."""

import json
import types

from labelbench.common import jobs, registry
from labelbench.common.errors import UserError
from labelbench.labelling import campaign, identity

job = snakemake  # noqa: F821
log = jobs.start(job)

with jobs.slow_imports():
    from labelbench.labelling import batch_files, delivery, finetuned, models, promise_batch, proposal
    from labelbench.training import proxy

spec = json.loads(job.params.spec)
settings = types.SimpleNamespace(**spec, name=spec["campaign"])
images = identity.read_index(job.input.images)
number = int(job.wildcards.batch)
root, _ = identity.source(settings.images)
state = campaign.state(
    campaign.batches(job.params.folder),
    campaign.read_answers(job.input.answers),
    settings.seed,
    settings.complete,
    identity.gone(images),
)
space = models.space(job.input.clean, [], identity.fingerprint(images))
model = proxy.load(job.input.model) if job.input.model else None
frozen = kept = None
if job.params.kind == "promise":
    predict = models.predictor(space, model) if model else None
    if job.input.get("predictions"):
        predict = finetuned.read_predictor(job.input.predictions, images, settings.classes, {})
    batch, frozen = promise_batch.propose(images, state, predict, settings, number)
    tuned = job.input.get("finetuned")
    kept = tuned or job.input.model, delivery.model_settings(spec, bool(tuned))
else:
    strategy, config = registry.configured("strategies", spec["strategy" if model else "first"])
    batch = proposal.propose(images, state, space, model, settings, strategy, config, number)
if not batch.images:
    raise UserError(
        "Every image that can be read has an answer: nothing is left to ask. Deliver with `snakemake deliver`."
    )
batch_files.write(job.output[0], batch, images, root, settings.classes, frozen, kept)
log.info("batch %d: %d images, chosen by %s", number, len(batch.images), batch.strategy)
