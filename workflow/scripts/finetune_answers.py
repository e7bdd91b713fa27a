"""All answers + images → the encoder trained end to end, for the labels that are delivered."""

import json
from pathlib import Path

from labelbench.common import jobs, ranks
from labelbench.labelling import campaign, identity

job = snakemake  # noqa: F821
log = jobs.start(job)
ranks.spread(job, log)

with jobs.slow_imports():
    import numpy as np

    from labelbench.embedding import images as pipeline
    from labelbench.labelling import finetuned, models

spec = json.loads(job.params.spec)
images = identity.read_index(job.input.images)
answers = campaign.read_answers(job.input.answers)
batches = campaign.batches(job.params.folder)
state = campaign.state(batches, answers, spec["seed"], job.params.complete, identity.gone(images))
(round_,) = [r for r in state.rounds if r.number == job.params.round]
position = {image.sha256: n for n, image in enumerate(images)}
index = [position[name] for name in round_.labels]
classes = [spec["classes"].index(label) for label in round_.labels.values()]
root, _ = identity.source(job.params.images)
data = pipeline.of_files(job, spec, models.reader(root, images), len(images))
ranks.join(data.device)
present = np.array([n for n, image in enumerate(images) if identity.usable(image)], np.int64)
fingerprint = identity.fingerprint(images)
checkpoint = Path(job.output[0]).with_name("checkpoint.safetensors")
model = finetuned.train(
    data, present, spec, index, classes, round_.number, fingerprint, log, checkpoint,
    identity=json.dumps([job.params.spec, job.params.code, round_.digest, fingerprint]),
    how=json.loads(job.params.end_to_end),
)  # fmt: skip
ranks.leave()
with jobs.written_whole(job.output[0]) as part:
    finetuned.save(part, model)
checkpoint.unlink(missing_ok=True)
log.info("trained end to end on %d labels", len(index))
