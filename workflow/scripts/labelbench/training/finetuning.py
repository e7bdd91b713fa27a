"""An encoder that is trained end to end on a label set, with its classifier: what three rules have in common."""

import functools
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from labelbench.common import jobs, ranks, registry, seeds, tensor_files
from labelbench.common.errors import UserError
from labelbench.data import label_set, views
from labelbench.data.label_set import LabelSet
from labelbench.embedding import images
from labelbench.embedding.encoder import resolved_precision
from labelbench.training import metrics, results, training, tuning


class Trained(NamedTuple):
    """A trained model and what it was made of.

    model: the encoder's `backbone`, whose weights `data.encoder.embed` shares, and the classifier; precision: what it
    was trained in; settings: the trainer's; history: of `training.fit`; cost: for `cost.json`.
    """

    data: images.Data
    views: views.Views
    labels: LabelSet
    model: nn.Sequential
    precision: str
    settings: dict
    history: list
    cost: dict


def train(job, log):
    """Train on the job's labels as its spec says; return the `Trained`, in every rank.

    Training goes on from where a killed job of the same model left it, in a file beside the metrics that is no output.
    """
    watch = jobs.Stopwatch()
    spec = json.loads(job.params.spec)
    data = images.load(job, spec)
    ranks.join(data.device)
    labels = label_set.read(job.input.labels, data.dataset)

    def classes(settings, learned, at):
        """Classes of the pool's examples `at`, by an encoder trained on a label set."""
        fresh = data._replace(encoder=images.load_encoder(spec, data.device))
        trained = _train(job, fresh, learned, settings, log)
        batches = images.clean_batches(fresh, data.dataset.splits["pool"].source[at])
        logits = training.predict(trained.model, batches, trained.precision)
        return ranks.told(None if logits is None else logits.argmax(1).numpy())

    rng = seeds.generator(*_address(job), "tuning folds")
    settings = tuning.settled(spec, job.input.get("tuned"), labels, data.dataset.num_classes, rng, classes, log)
    trained = _train(job, data, labels, settings, log, _checkpoint(job))
    trained.cost.update(watch.cost(job, data.device, train_seconds=watch.seconds()))
    return trained


def _train(job, data, labels, settings, log, kept=None):
    """`Trained` on a label set by a trainer with these settings; its cost is the time that steps waited for images.

    A trainer that prepares the model first has `prepare(config, model, features, labels, rng)`: model is the backbone
    and the classifier, changed in place; features a function that returns the backbone's features (L, d) float32, on
    the CPU, of the clean labelled images; labels (L,) int64.
    """
    dataset, device = data.dataset, data.device
    pool, val = dataset.splits["pool"], dataset.splits["val"]
    address = _address(job)
    head = None
    if job.input.get("head"):
        head = tensor_files.load(job.input.head, "zero-shot head", ("weight",))[0]["weight"]
    model = images.classifier(data.encoder, head, dataset.num_classes, seeds.integer(*address, "head initialisation"))
    model = model.to(device)
    if torch.device(device).type == "cuda":
        model = model.to(memory_format=torch.channels_last)  # as `images.moved` gives it images
    trainer, config = registry.configured("trainers", settings)
    # Before it is prepared: what is fitted on a GPU is not the same to the bit on another.
    identity = _identity(job, config, model, labels)
    precision = resolved_precision(config.precision, device)
    how = json.loads(job.params.end_to_end)
    prepare(
        trainer,
        config,
        model,
        lambda: training.predict(model[0], images.clean_batches(data, pool.source[labels.index]), precision),
        labels.label,
        seeds.generator(*address, "finetune preparation"),
        how["checkpoint_activations"],
    )
    drawn = views.make_views(data.encoder.transform, views.Config(**json.loads(job.params.spec)["views"]))
    live = images.LiveViews(data, drawn, address="/".join(map(str, [*address, "finetune"])))
    history = training.fit(
        model,
        trainer,
        config,
        live,
        labels,
        pool_size=len(pool.labels),
        num_classes=dataset.num_classes,
        validation=(lambda: images.clean_batches(data, val.source), val.labels),
        rng=seeds.generator(*address, "finetune training"),
        log=log,
        device=device,
        truth=pool.labels,
        checkpoint=kept,
        identity=identity,
        parts=how["accumulation"],
    )
    cost = {"wait_seconds": round(live.wait_seconds, 4)}
    return Trained(data, drawn, labels, model, precision, settings, history, cost)


def prepare(trainer, config, model, features, labels, rng, checkpoint_activations=False):
    """Make a model ready for `training.fit` by a trainer, the same in every rank; the first four as in `_train`.

    labels: (L,) int64; checkpoint_activations: whether the backbone keeps what is between its blocks alone, and
    computes the rest again for the gradient. Raises `UserError` where it cannot, or would learn something else then.
    """
    if hasattr(trainer, "prepare"):
        trainer.prepare(config, model, lambda: ranks.told(features()), labels, rng)
        ranks.as_the_first(model.state_dict().values())  # what is fitted on a GPU is not the same to the bit on another
    if checkpoint_activations:
        _checkpoint_activations(model)


def _checkpoint_activations(model):
    if training.learning_statistics(model):
        raise UserError(
            "`checkpoint_activations` would change what an encoder with BatchNorm learns, whose statistics would see "
            "each image twice. More GPUs (`gpus`) do not, nor does the trainer `lora`, which leaves BatchNorm as it is."
        )
    # By their own switches, open_clip 3.3 fails for blocks of its own making, and timm has some without one.
    lists = [m for path, m in model[0].named_modules() if path.rpartition(".")[2] in ("blocks", "resblocks")]
    inside = {block for blocks in lists for child in blocks.children() for block in child.modules() if block != child}
    found = [block for blocks in lists for block in blocks.children() if block not in inside]
    for block in found:
        block.forward = functools.partial(_computed_again, block.forward)
    if not found:
        raise UserError(
            "`checkpoint_activations`: this encoder has no blocks that could be computed again. Transformers have, "
            "and most other models without BatchNorm. `accumulation` needs less memory with any encoder."
        )


def _computed_again(forward, *args, **kwargs):
    """What a block makes of its input, of which the gradient keeps the input alone."""
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def _address(job):
    """(study seed, trial, round) of the job's random draws."""
    return json.loads(job.params.spec)["seed"], int(job.wildcards.trial), int(job.wildcards.round)


def _checkpoint(job):
    return Path(job.output.metrics).with_name("checkpoint.safetensors")


def _identity(job, config, model, labels):
    """Text that names all that training depends on; the weights that `model` has are not in the job's params."""
    bought = hashlib.sha256(labels.index.astype("<i8").tobytes() + labels.label.astype("<i8").tobytes()).hexdigest()
    start = tensor_files.hash_tensors(model.state_dict())
    return json.dumps([job.params.spec, job.params.code, repr(config), labels.fingerprint, bought, start])


def evaluate(trained):
    """The trained model on clean images: the pool's features (N, d) float32, on the CPU, and `Predictions` by split.

    Of several ranks the first returns, alone; this is the end of all others.
    """
    backbone, head = trained.model
    pool, found = None, {}
    for name, split in trained.data.dataset.splits.items():
        images_of_split = images.clean_batches(trained.data, split.source)
        features = training.predict(backbone, images_of_split, trained.precision)
        if features is None:
            continue
        batches = (rows.to(trained.data.device) for rows in features.split(training.EVALUATION_BATCH))
        found[name] = training.predictions(head, batches, split.labels)
        pool = features if name == "pool" else pool
    ranks.leave()
    return pool, found


def write(job, trained, predictions, stage, model=""):
    """Write metrics, history and cost of a trained model, its last outputs, and remove its checkpoint.

    predictions: as `evaluate` gives them; stage, model: as in `results.write`.
    """
    jobs.write_result(job.output.cost, trained.cost)
    scores = metrics.evaluate(trained.data.dataset, predictions, trained.labels)
    seed = json.loads(job.params.spec)["seed"]
    results.write(job, trained.labels, seed, stage, scores, trained.history, trained.settings, model)
    _checkpoint(job).unlink(missing_ok=True)
