"""The encoder of a campaign, trained end to end on its answers before labels are delivered."""

import types

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn.utils import parametrize

from labelbench.common import registry, seeds
from labelbench.common.errors import UserError
from labelbench.data import label_set, views
from labelbench.embedding import images as pipeline
from labelbench.embedding.encoder import resolved_precision
from labelbench.labelling import identity
from labelbench.labelling.models import NEVER_STOPS
from labelbench.training import finetuning, training


def train(data, present, spec, index, classes, round_, fingerprint, log, checkpoint=None, identity="", how=None):
    """The encoder's backbone with its classifier, trained for a fixed number of epochs; in every rank.

    data: `embedding.images.Data` without a dataset; present: (n,) positions of the images that can be read, among which
    the trainer finds unlabelled ones; spec: `seed`, `classes` and the `trainer`'s settings; index, classes: (L,) each,
    positions and classes of the answers; fingerprint: of the images; checkpoint, identity: as in `training.fit`; how:
    the settings `accumulation` and `checkpoint_activations` of an encoder.
    """
    how = how or {"accumulation": 1, "checkpoint_activations": False}
    place = np.full(int(max(present.max(), np.max(index))) + 1, -1)
    place[present] = np.arange(len(present))
    index, classes = np.asarray(index), np.asarray(classes)
    known = place[index] >= 0
    if not known.any():
        raise UserError("None of the labelled images can be read, so no model can be trained.")
    labels = label_set.LabelSet(place[index[known]], classes[known], np.zeros(known.sum()), "", 0)
    address = spec["seed"], 0, round_
    trainer, config = registry.configured("trainers", spec["trainer"] | NEVER_STOPS)
    precision = resolved_precision(config.precision, data.device)
    seed = seeds.integer(*address, "head initialisation")
    model = pipeline.classifier(data.encoder, None, len(spec["classes"]), seed).to(data.device)
    finetuning.prepare(
        trainer,
        config,
        model,
        lambda: training.predict(model[0], pipeline.clean_batches(data, index[known]), precision),
        labels.label,
        seeds.generator(*address, "finetune preparation"),
        how["checkpoint_activations"],
    )
    pool = types.SimpleNamespace(source=present)
    drawn = views.make_views(data.encoder.transform, views.Config())
    seen = data._replace(dataset=types.SimpleNamespace(splits={"pool": pool}, fingerprint=fingerprint))
    training.fit(
        model,
        trainer,
        config,
        pipeline.LiveViews(seen, drawn, address="/".join(map(str, [*address, "finetune"]))),
        labels,
        pool_size=len(present),
        num_classes=len(spec["classes"]),
        validation=None,
        rng=seeds.generator(*address, "finetune training"),
        log=log,
        device=data.device,
        checkpoint=checkpoint,
        identity=identity,
        parts=how["accumulation"],
    )
    return model


def predict(model, data, positions):
    """(class (n,) int64, confidence (n,) float32) of the images at these positions."""
    if not len(positions):
        return np.empty(0, np.int64), np.empty(0, np.float32)
    precision = resolved_precision("auto", data.device)
    of_batches = training.outputs(model, pipeline.clean_batches(data, positions), precision)
    found = [logits.softmax(1).max(1) for logits in of_batches]  # not kept: there may be many images and many classes
    return tuple(torch.cat([getattr(best, part) for best in found]).numpy() for part in ("indices", "values"))


def read_predictor(path, images, names, renames):
    """The same as `models.predictor`, of the predictions that a file holds: (hash, class, confidence) of each image.

    names: of the classes; renames: old name → new one. A class that is none of them is −2, which nothing is.
    """
    rows = {row["sha256"]: row for row in identity.read_table(path)}
    of_class = {name: c for c, name in enumerate(names)}

    def said(positions):
        seen = np.array([n for n in positions if images[n].sha256 in rows], np.int64)
        found = [rows[images[n].sha256] for n in seen]
        called = [renames.get(row["label"], row["label"]) for row in found]
        classes = np.array([of_class.get(label, -2) for label in called], np.int64)
        return seen, classes, np.array([float(row["confidence"]) for row in found], np.float32)

    return said


def save(path, model):
    """Write the weights of the encoder and its classifier as safetensors; adapters (LoRA) become part of them."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name)
    save_file({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, path)


def load(path, encoder, num_classes, device="cpu"):
    """The model in a file made by `save`. encoder: as pretrained; its weights are replaced by those of the file.

    Raises `UserError` for a file that is none, or of another encoder.
    """
    model = pipeline.classifier(encoder, None, num_classes, 0)
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} is not the fine-tuned model of its encoder ({reason}). Deliver again.") from None
    return model.to(device).eval().requires_grad_(False)
