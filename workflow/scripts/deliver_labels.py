"""Answers and the last model → labels of all images, the model, and one sentence about what they are worth."""

import json
import types
from pathlib import Path

from labelbench.common import jobs, json_files
from labelbench.common.errors import UserError
from labelbench.common.words import counted
from labelbench.labelling import campaign, delivery, identity

job = snakemake  # noqa: F821
log = jobs.start(job)

with jobs.slow_imports():
    from labelbench.labelling import finetuned, models, promise_batch, promises, standing
    from labelbench.training import proxy

spec = json.loads(job.params.spec)
settings = types.SimpleNamespace(**spec)
images = identity.read_index(job.input.images)
answers = campaign.read_answers(job.input.answers)
batches = campaign.batches(job.params.folder)
state = campaign.state(batches, answers, settings.seed, settings.complete, identity.gone(images))
renames = json.loads(job.params.renames)
promised = campaign.promises(state.batches) if settings.wrong else []
if not campaign.labelled(answers.values()):
    raise UserError(campaign.NOTHING_LABELLED)
automatic, predicted, confidence, told = None, {}, {}, []
if promised and campaign.answered(promised[-1], state):
    last = promised[-1]
    promise, predicted, confidence, sentence = promises.of_audit(
        last, len(promised), answers, settings.wrong / 100, 1 - settings.confidence / 100, settings.classes, renames
    )
    automatic = promises.passed(promise, confidence)
    # All that is said and delivered is of the model that was frozen, whatever was learnt since.
    predict = finetuned.read_predictor(last.folder / "frozen.csv", images, settings.classes, renames)
    model = last.folder / "frozen.safetensors"
    if model.exists():
        kept = json_files.read(last.folder / "frozen.json", cure="Bring it back from where the campaign was copied.")
        kept["classes"] = [renames.get(name, name) for name in kept["classes"]]
    else:
        model, missing = None, "The audit of the promise was drawn by an older version, which did not keep its model."
elif job.input.model:
    model, tuned = job.input.model, job.input.get("finetuned")
    if tuned:
        predict = finetuned.read_predictor(job.input.predictions, images, settings.classes, renames)
    else:
        space = models.space(job.input.clean, [], identity.fingerprint(images))
        predict = models.predictor(space, proxy.load(model))
    model, kept = tuned or model, delivery.model_settings(spec, bool(tuned))
    rest, classes, scores = predict(promise_batch.remaining(images, state))
    predicted = {images[n].sha256: settings.classes[c] for n, c in zip(rest, classes, strict=True)}
    confidence = {images[n].sha256: float(s) for n, s in zip(rest, scores, strict=True)}
    sentence = "Labels by the model carry its confidence and no promise: set `wrong` in the config for one."
else:
    model, sentence, missing = None, campaign.NO_MODEL, campaign.NO_MODEL
if model:
    told += standing.of_delivered(images, state, predict, settings, automatic is None or bool(automatic))
told.append(sentence)
found = delivery.rows(images, answers, predicted, confidence, automatic)
by = {source: sum(row[3] == source for row in found) for source in ("person", "model", "")}
told.insert(
    0,
    f"{counted(len(found), 'file')}: {by['person']} labelled by people, {by['model']} by the model, {by['']} need eyes "
    f"(column needs_eyes). They stand in {job.output.labels}.",
)
delivery.write(job.output.labels, job.output.metadata, found)
if settings.folders:
    root, _ = identity.source(settings.images)
    delivery.link(Path(job.params.folder, "by_class"), root, found)
    told.append(f"Links to the files by class stand in {job.params.folder}/by_class/.")
if model:
    delivery.write_model(job.output.model, model, kept)
    command = f"PYTHONPATH=workflow/scripts python -m labelbench.labelling.predict {job.output.model} FOLDER"
    told.append(f"Labels for new images: {command}")
else:
    delivery.write_no_model(job.output.model, missing)
with jobs.written_whole(Path(job.output.text)) as part:
    part.write_text("\n".join(told) + "\n", encoding="utf-8")
log.info("\n%s", "\n".join(told))
