"""The training loop shared by all trainers, on cached embeddings and on images."""

import itertools
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from labelbench.common import gpu_memory, ranks
from labelbench.common.errors import UserError
from labelbench.embedding.encoder import resolved_precision
from labelbench.training import checkpoint as checkpoints
from labelbench.training import metrics, steps

EVALUATION_BATCH = 4096

# Views stay on a GPU where they take no more than this part of its free memory.
RESIDENT = 0.5

# Bytes of views that cross to a GPU in one piece: some dozen steps.
_PIECE = 1 << 26


class Problem(NamedTuple):
    """What a trainer's objective knows of the training before it begins.

    labels: (L,) int64 on the device, of the labelled examples; steps: of the whole training, unless it stops early;
    rng: numpy Generator for what the objective draws, all of it when it is set up: a resumed run draws the same.
    mixing: whether what the model makes of an example depends on the others of its batch (BatchNorm).
    """

    labels: torch.Tensor
    num_unlabelled: int
    num_classes: int
    steps: int
    rng: np.random.Generator
    device: str
    mixing: bool = False


class Batch(NamedTuple):
    """One step's examples. Views are of this rank's share of them, where there are several, all else is of all.

    labelled (B, …) weak views and labels (B,) int64; unlabelled (U,) int64 positions among the unlabelled examples with
    their weak and strong views (U, …), or None where the trainer uses none, uses none yet, or none are left.
    """

    labelled: torch.Tensor
    labels: torch.Tensor
    unlabelled: torch.Tensor | None
    weak: torch.Tensor | None
    strong: torch.Tensor | None


class Step(NamedTuple):
    """What an objective makes of a batch: the loss to descend, and what is told about it.

    loss, supervised, unsupervised: scalars, the latter before its weight λ_u; weights (U,) float32 in [0, 1]: how much
    of each unlabelled example's loss counts; pseudo (U,) int64: the class it is taken for. The last three are None
    where no unlabelled examples were used.
    """

    loss: torch.Tensor
    supervised: torch.Tensor
    unsupervised: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    pseudo: torch.Tensor | None = None


def on_device(arrays, device):
    """Tensors of these numpy arrays, some of which may be None, moved to the device in one piece."""
    present = [a for a in arrays if a is not None]
    if not present:
        return arrays
    moved = iter(torch.from_numpy(np.concatenate(present)).to(device).split([len(a) for a in present]))
    return [None if a is None else next(moved) for a in arrays]


class CachedViews:
    """Weak and strong views from embedding files: epoch e uses augmentation seed e mod n (LabelBench paper, §3.2).

    weak, strong: n arrays (N, d) float16 each. They live on the device from here on, unless that is a GPU whose memory
    they would fill: then they stay in the memory of the host, from which the rows of a few steps at a time cross to the
    GPU while it computes earlier steps (`streamed`). What steps get is the same.
    """

    def __init__(self, weak, strong, device):
        self.device = device
        self._weak, self._strong = ([torch.from_numpy(a) for a in arrays] for arrays in (weak, strong))
        size, free = sum(a.nbytes for a in (*weak, *strong)), gpu_memory.free(device)
        self.streamed = free is not None and size > RESIDENT * free
        if self.streamed:
            logging.getLogger("labelbench").info(
                "the views (%.1f GB) stay in the memory of the host: %.1f GB of the GPU's are free",
                size / 1e9,
                free / 1e9,
            )
        else:
            self._weak, self._strong = ([a.to(device) for a in arrays] for arrays in (self._weak, self._strong))

    def batches(self, epoch, first_step, plan):
        """The views of an epoch's steps, in order: (weak labelled, weak unlabelled, strong unlabelled).

        plan: per step the pool positions (B,) int64 of its labelled examples and those (U,) of its unlabelled ones, or
        None, for which the last two are None. first_step counts the steps of earlier epochs.
        """
        weak, strong = self._weak[epoch % len(self._weak)], self._strong[epoch % len(self._strong)]
        if self.streamed:
            yield from _streamed(weak, strong, plan, self.device)
            return
        labelled, unlabelled = (on_device(arrays, self.device) for arrays in zip(*plan, strict=True))
        for mine, others in zip(labelled, unlabelled, strict=True):
            # index_select copies whole rows, several times faster than indexing with [].
            pair = (None, None) if others is None else (weak.index_select(0, others), strong.index_select(0, others))
            yield weak.index_select(0, mine), *pair


def _streamed(weak, strong, plan, device):
    """The views of the steps of `plan`, as `CachedViews.batches` gives them, from tensors (N, d) of the host.

    One piece is gathered by a thread while the steps of the piece before are computed.
    """
    row = weak[:1].nbytes
    steps = max(
        _PIECE // max(row * (len(mine) + 2 * len(others if others is not None else ())) for mine, others in plan), 1
    )
    pieces = [plan[first : first + steps] for first in range(0, len(plan), steps)]

    def gathered(views, at):
        """A buffer for the rows of `views` at these positions, and the work that fills it."""
        at = [part for part in at if part is not None]
        # Of pinned memory, which a GPU reads by itself. torch gives it to nobody else before it has been read.
        buffer = torch.empty((sum(map(len, at)), views.shape[1]), dtype=views.dtype, pin_memory=True)
        if not at:
            return buffer, None
        return buffer, reader.submit(torch.index_select, views, 0, torch.from_numpy(np.concatenate(at)), out=buffer)

    def begun(piece):
        labelled, unlabelled = zip(*piece, strict=True)
        return [gathered(weak, labelled), gathered(weak, unlabelled), gathered(strong, unlabelled)]

    with ThreadPoolExecutor(1) as reader:
        ahead = begun(pieces[0])
        for number, piece in enumerate(pieces):
            now, ahead = ahead, begun(pieces[number + 1]) if number + 1 < len(pieces) else None
            crossed = []
            for buffer, work in now:
                if work is not None:
                    work.result()
                crossed.append(buffer.to(device, non_blocking=True))
            mine = iter(crossed[0].split([len(at) for at, _ in piece]))
            sizes = [len(at) for _, at in piece if at is not None]
            weak_of_others, strong_of_others = (iter(part.split(sizes)) if sizes else None for part in crossed[1:])
            for _, others in piece:
                pair = (None, None) if others is None else (next(weak_of_others), next(strong_of_others))
                yield next(mine), *pair


def cycle(n, size, rng):
    """Endless batches of `size` distinct positions among n: random permutations, each without its incomplete rest."""
    while True:
        order = rng.permutation(n)
        for begin in range(0, n - size + 1, size):
            yield order[begin : begin + size]


def bounds(n, size, smallest=1):
    """Where the batches of one pass over n positions begin, and n: `size` each, the last one with what is left.

    One that would have fewer than `smallest` is part of the batch before it, if there is any.
    """
    begins = list(range(0, n, size))
    if len(begins) > 1 and n - begins[-1] < smallest:
        begins.pop()
    return [*begins, n]


def passes(n, size, steps, rng, smallest=1):
    """Batches of one epoch: `steps` batches from passes over n positions, each with the batches of `bounds`."""
    made = 0
    while made < steps:
        order = rng.permutation(n)
        for begin, end in itertools.pairwise(bounds(n, size, smallest)):
            if made == steps:
                return
            yield order[begin:end]
            made += 1


def draws(config, num_labelled, num_unlabelled, size, steps_per_epoch, rng_labelled, rng_unlabelled, smallest=1):
    """Per epoch the examples of its steps: two lists of positions, among the labelled and among the unlabelled.

    size: unlabelled examples of a step. Where it is 0, or a step has no use for them yet, there is None in their place.
    smallest: as in `bounds`.
    """
    steps = steps_per_epoch * config.epochs
    stream = cycle(num_unlabelled, size, rng_unlabelled) if size else None
    for first in range(0, steps, steps_per_epoch):
        labelled = list(passes(num_labelled, config.batch_size, steps_per_epoch, rng_labelled, smallest))
        unlabelled = [next(stream) if stream else None for _ in labelled]
        used = [config.unlabelled_weight_at(step / steps) > 0 for step in range(first, first + steps_per_epoch)]
        yield labelled, [at if use else None for at, use in zip(unlabelled, used, strict=True)]


class Optimiser:
    """One of three optimisers, by torch's own functional forms.

    `adamw` (Loshchilov & Hutter 2019, arXiv 1711.05101), `adam` (Kingma & Ba 2015, arXiv 1412.6980; weight decay as an
    L2 penalty) or `sgd` with Nesterov momentum 0.9 (as in FixMatch). The constructors of torch.optim import torch's
    compiler, which takes as long as all the rest of a short job. `state`: its tensors by name, changed in place.
    """

    def __init__(self, name, parameters, weight_decay):
        self.name, self.parameters, self.weight_decay = name, parameters, weight_decay
        self._first = [torch.zeros_like(p) for p in parameters]
        lists = {"first": self._first}
        if name != "sgd":
            self._second = [torch.zeros_like(p) for p in parameters]
            self._steps = [torch.zeros((), device=p.device) for p in parameters]
            lists |= {"second": self._second, "steps": self._steps}
        self.state = {f"{kind}.{i}": t for kind, tensors in lists.items() for i, t in enumerate(tensors)}

    @torch.no_grad()
    def step(self, learning_rate):
        """Update the parameters from their gradients and clear these."""
        gradients = [p.grad for p in self.parameters]
        shared = {"fused": True, "lr": learning_rate, "weight_decay": self.weight_decay, "maximize": False}
        if self.name == "sgd":
            sgd(self.parameters, gradients, self._first, momentum=0.9, dampening=0.0, nesterov=True, **shared)
        else:
            adam(
                self.parameters, gradients, self._first, self._second, [], self._steps, amsgrad=False, beta1=0.9,
                beta2=0.999, eps=1e-8, decoupled_weight_decay=self.name == "adamw", **shared,
            )  # fmt: skip
        for parameter in self.parameters:
            parameter.grad = None


def learning_rate_factor(config, step, steps):
    """What the learning rate is multiplied by in step 0 … steps - 1: linear warm-up, then the schedule.

    `fixmatch`: a cosine over 7/32 of a period, to a fifth (Sohn et al. 2020, FixMatch, §2.4). `cosine`: over half a
    period, to 0. `warm_restarts`: so within `first_period` steps, then anew, each time `period_factor` times as long
    (Loshchilov & Hutter 2017, SGDR, arXiv 1608.03983, eq. 5). `constant`: 1.
    """
    warmup = config.lr_warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done, period = step - warmup, max(1.0, steps - warmup)
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "fixmatch":
        return math.cos(7 * math.pi * done / (16 * period))
    if config.schedule == "warm_restarts":
        period = config.first_period
        while done >= period:
            done -= period
            period *= config.period_factor
    return (1 + math.cos(math.pi * done / period)) / 2


@torch.no_grad()
def outputs(model, batches, precision="float32"):
    """Yields the logits (b, K) float32 on the CPU of each batch of inputs; computed in `float32` or `bfloat16`.

    A batch that a GPU has no memory for is computed in parts, as are those after it.
    """
    was_training = model.training
    model.eval()
    parts = 1
    for x in batches:

        def found(divisor, x=x):
            forward = steps.in_precision(model, precision, x.device)
            return divisor, torch.cat([forward(part).cpu() for part in x.split(-(-len(x) // divisor))])

        parts, logits = gpu_memory.fitted(found, first=parts)
        yield logits
    model.train(was_training)


def predict(model, batches, precision="float32"):
    """The `outputs` of all batches as one tensor (n, K); of several ranks, who each have theirs, the first has it."""
    every = list(ranks.in_turn(outputs(model, batches, precision)))
    return torch.cat(every) if ranks.own() == 0 else None


def predictions(model, batches, labels, precision="float32"):
    """`metrics.Predictions` of the examples of these batches; labels: (n,) int64. No batch's logits are kept."""
    return metrics.of_logits((logits.numpy() for logits in outputs(model, batches, precision)), labels)


def fit(
    model,
    trainer,
    config,
    views,
    labels,
    pool_size,
    num_classes,
    validation,
    rng,
    log,
    device="cpu",
    truth=None,
    checkpoint=None,
    identity="",
    parts=1,
):
    """Train `model` in place and leave it in its best state on the validation split, or its last (`early_stopping`).

    trainer: the plug-in's module; views: `batches(epoch, first_step, plan)` as `CachedViews` has; labels: the LabelSet
    to learn from; validation: (function that yields input batches, labels (n,)), or None where training stops after its
    epochs (early_stopping none); rng: numpy Generator that draws the mini-batches; truth: (N,) true labels of the pool,
    from which nothing but `pseudo_label_accuracy` is computed.

    checkpoint: a file that is written every few minutes, and where the training ends early (`checkpoint.Keeper`); if it
    is there and was written for the same `identity` (text that names settings, code and labels), training goes on from
    its step, with the result of an undisturbed run to the bit (on one thread of a CPU).

    parts: in which a step is computed one after another, where memory is too small for all of it. Several ranks train
    one model, each on its share of every step (`steps.of_rank`), with views that give the shares. All have the result.

    Returns one dict per epoch: epoch, steps so far, learning_rate of its last step; means over the epoch of train_loss,
    supervised_loss and unsupervised_loss (before its weight); val_loss, val_accuracy; mask_rate, the mean weight of an
    unlabelled example; pseudo_label_accuracy, the weighted share of pseudo-labels that are true, of those whose truth
    is known. NaN where no unlabelled loss was used. Raises FloatingPointError if no state had a finite loss, and
    `UserError` for a model with BatchNorm where all of its batches would have one example, or be computed in parts. A
    batch of one at the end of a pass joins the one before.
    """
    unlabelled = np.setdiff1d(np.arange(pool_size), labels.index)
    mixing = bool(learning_statistics(model))
    if mixing and min(len(labels.index), config.batch_size) == 1:
        raise UserError(
            "An encoder with BatchNorm cannot be trained on one labelled image at a time, for it compares the images "
            f"of a batch: there are {len(labels.index)} labels, and batch_size is {config.batch_size}. Both must be at "
            "least 2. The trainer `lora` leaves BatchNorm as it is."
        )
    if mixing and parts > 1:
        raise UserError(
            f"`accumulation: {parts}` would change what an encoder with BatchNorm learns, for it compares all images "
            "of a step. More GPUs (`gpus`) do not, nor does the trainer `lora`, which leaves BatchNorm as it is."
        )
    smallest = 2 if mixing else 1
    of_a_pass = len(bounds(len(labels.index), config.batch_size, smallest)) - 1
    steps_per_epoch = max(of_a_pass, config.min_steps_per_epoch)
    num_steps = steps_per_epoch * config.epochs
    precision = resolved_precision(config.precision, device)
    forward = steps.Model(model, precision, device, parts, mixing)
    rng_labelled, rng_unlabelled, rng_objective = rng.spawn(3)
    targets = torch.as_tensor(labels.label, device=device)
    problem = Problem(targets, len(unlabelled), num_classes, num_steps, rng_objective, device, mixing)
    objective, state = trainer.objective(config, problem)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = Optimiser(config.optimiser, parameters, config.weight_decay)
    if validation is None and config.early_stopping != "none":
        raise ValueError("without a validation split nothing can stop a training early: early_stopping must be none")

    live = {"model": model.state_dict(), "optimiser": optimiser.state, "objective": state}
    history, best, best_score, stale = [], {}, math.inf, 0
    saved = checkpoints.load(checkpoint, identity, log) if checkpoint else None
    before = {}  # of the epoch that was not over
    if saved:
        tensors, (history, best_score, stale) = saved
        best, before = tensors.pop("best", {}), tensors.pop("taken", {})
        for part, values in tensors.items():
            for name, value in values.items():
                live[part][name].copy_(value)
        done = len(before.get("loss", ()))
        log.info("go on after epoch %d%s, from %s", len(history), f" and {done} steps" if done else "", checkpoint)

    size = min(trainer.unlabelled_batch(config), len(unlabelled))
    of_epochs = draws(
        config, len(targets), len(unlabelled), size, steps_per_epoch, rng_labelled, rng_unlabelled, smallest
    )
    taken = []
    keeper = checkpoints.Keeper(
        checkpoint,
        identity,
        lambda: ({**live, "best": best, "taken": _packed(taken)}, [history, best_score, stale]),
    )
    with keeper:
        for epoch, (chosen, drawn) in enumerate(of_epochs):
            if epoch < len(history):
                continue  # only its draws are repeated
            if config.early_stopping != "none" and config.patience and stale >= config.patience:
                log.info("validation %s has not improved for %d epochs: stop", config.early_stopping, stale)
                break
            first = epoch * steps_per_epoch
            plan = [
                (labels.index[mine], None if others is None else unlabelled[others])
                for mine, others in zip(chosen, drawn, strict=True)
            ]
            _train_mode(model)
            taken[:] = _unpacked(before, [others for _, others in plan], device)
            before, done = {}, len(taken)
            learning_rate = config.learning_rate * learning_rate_factor(config, first + steps_per_epoch - 1, num_steps)
            of_labelled = on_device([labels.label[at] for at in chosen[done:]], device)
            of_steps = views.batches(epoch, first + done, steps.of_rank(plan[done:])) if done < len(plan) else ()
            examples = zip(of_steps, of_labelled, on_device(drawn[done:], device), strict=True)
            for number in itertools.count(first + done):
                with keeper.waiting():
                    example = next(examples, None)
                if example is None:
                    break
                (labelled, weak, strong), label, at = example
                forward.begin(len(label), 0 if at is None else len(at))
                step = objective(forward, Batch(labelled, label, at, weak, strong), number)
                forward.backward(step.loss)
                if config.max_gradient_norm:
                    torch.nn.utils.clip_grad_norm_(parameters, config.max_gradient_norm)
                optimiser.step(config.learning_rate * learning_rate_factor(config, number, num_steps))
                taken.append(Step(*(None if part is None else part.detach() for part in step)))
                keeper.stepped()
            with keeper.waiting():
                record = {
                    "epoch": epoch + 1,
                    "steps": first + steps_per_epoch,
                    "learning_rate": learning_rate,
                    **_means(taken, [others for _, others in plan], truth),
                    **_validated(model, validation, precision),
                }
                record = ranks.told(record)
            history.append(record)
            log.info(
                "epoch %(epoch)d: train loss %(train_loss).4f, validation loss %(val_loss).4f, "
                "validation accuracy %(val_accuracy).4f, mask rate %(mask_rate).3f",
                record,
            )
            # A state with a NaN has an accuracy as well, but is never the best.
            loss = record["train_loss" if validation is None else "val_loss"]
            score = -record["val_accuracy"] if config.early_stopping == "accuracy" else loss
            if not math.isfinite(loss):
                score = math.inf
            stale += 1
            if config.early_stopping == "none" or score < best_score:
                best_score, stale = score, 0
                best = {name: value.clone() for name, value in live["model"].items()}
            taken.clear()
    if not math.isfinite(best_score):
        raise FloatingPointError("the loss was never finite: lower the learning rate")
    model.load_state_dict(best)
    model.eval()
    return history


def learning_statistics(model):
    """The layers that learn statistics of batches (BatchNorm) when all of `model` that is not frozen is trained.

    Statistics are no parameters: a frozen layer in training mode would go on averaging what it sees, at any learning
    rate. In a model of which nothing is frozen, layers without parameters learn, too.
    """
    whole = all(parameter.requires_grad for parameter in model.parameters())
    layers = [module for module in model.modules() if isinstance(module, _NormBase)]
    return [layer for layer in layers if whole or any(parameter.requires_grad for parameter in layer.parameters())]


def _train_mode(model):
    """Put the model in training mode, all but the statistics of what is frozen."""
    learning = learning_statistics(model)
    model.train()
    for module in model.modules():
        if isinstance(module, _NormBase) and module not in learning:
            module.eval()


def _validated(model, validation, precision):
    """Loss and accuracy on the validation split for an epoch's record; NaN where there is none."""
    if validation is None:
        return {"val_loss": math.nan, "val_accuracy": math.nan}
    batches, labels = validation
    labels, log_likelihood, right, begin = torch.as_tensor(labels), [], 0, 0
    for logits in ranks.in_turn(outputs(model, batches(), precision)):
        own, begin = labels[begin : begin + len(logits)], begin + len(logits)
        log_likelihood.append(logits.log_softmax(1).gather(1, own[:, None]))
        right += int((logits.argmax(1) == own).sum())
    if ranks.own():
        return {}  # the first rank has them
    # Summed as the cross-entropy of all logits (n, K) would be, to the bit, without holding them.
    loss = F.nll_loss(torch.cat(log_likelihood), torch.zeros_like(labels))
    return {"val_loss": float(loss), "val_accuracy": float(torch.tensor(right) / len(labels))}


def _packed(taken):
    """The steps of an epoch so far as a few tensors, by name; none where there were none."""
    if not taken:
        return {}
    packed = {name: torch.stack([getattr(step, name) for step in taken]) for name in ("loss", "supervised")}
    if semi := [step for step in taken if step.weights is not None]:
        packed["unsupervised"] = torch.stack([step.unsupervised for step in semi])
        packed |= {name: torch.cat([getattr(step, name) for step in semi]) for name in ("weights", "pseudo")}
    return packed


def _unpacked(packed, unlabelled, device):
    """What `_packed` made tensors of. unlabelled: the unlabelled examples of each of the epoch's steps, or None."""
    if not packed:
        return []
    packed = {name: tensor.to(device) for name, tensor in packed.items()}
    so_far = unlabelled[: len(packed["loss"])]
    sizes = [len(at) for at in so_far if at is not None]
    semi = iter(())
    if sizes:
        parts = [packed["weights"].split(sizes), packed["pseudo"].split(sizes)]
        semi = zip(packed["unsupervised"].unbind(), *parts, strict=True)
    pairs = zip(packed["loss"].unbind(), packed["supervised"].unbind(), so_far, strict=True)
    return [Step(*pair, *(next(semi) if at is not None else ())) for *pair, at in pairs]


def _means(taken, unlabelled, truth):
    """An epoch's means for its record. unlabelled: the pool positions (U,) of each step's unlabelled examples."""

    def mean(values):
        return float(torch.stack(values).mean()) if values else math.nan

    semi = [step for step in taken if step.weights is not None]
    right = math.nan
    if truth is not None and semi:
        weights = torch.cat([step.weights for step in semi]).cpu()
        pseudo = torch.cat([step.pseudo for step in semi]).cpu()
        true = torch.as_tensor(truth[np.concatenate([at for at in unlabelled if at is not None])])
        weights = weights * (true >= 0)  # −1: what the image shows is not known, so neither is who is right
        right = float((weights * (pseudo == true)).sum() / weights.sum())
    return {
        "train_loss": mean([step.loss for step in taken]),
        "supervised_loss": mean([step.supervised for step in taken]),
        "unsupervised_loss": mean([step.unsupervised for step in semi]),
        "mask_rate": mean([step.weights for step in semi]),
        "pseudo_label_accuracy": right,
    }
