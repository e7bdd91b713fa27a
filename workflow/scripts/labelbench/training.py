"""The training loop shared by all trainers, on cached embeddings and on images."""

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.adamw import adamw

EVALUATION_BATCH = 4096


class Batch(NamedTuple):
    """One step's examples.

    labelled (B, …) weak views and labels (B,) int64; unlabelled (U,) int64 positions among the unlabelled examples with
    their weak and strong views (U, …), or None where the trainer uses none or none are left.
    """

    labelled: torch.Tensor
    labels: torch.Tensor
    unlabelled: torch.Tensor | None
    weak: torch.Tensor | None
    strong: torch.Tensor | None


class CachedViews:
    """Weak and strong views from embedding files: epoch e uses augmentation seed e mod n (LabelBench paper, §3.2)."""

    def __init__(self, weak, strong, device):
        self.device = device
        self._weak = [torch.from_numpy(a).to(device) for a in weak]
        self._strong = [torch.from_numpy(a).to(device) for a in strong]

    def weak(self, indices, epoch):
        return self._weak[epoch % len(self._weak)].index_select(0, torch.from_numpy(indices).to(self.device))

    def pair(self, indices, epoch):
        at = torch.from_numpy(indices).to(self.device)
        # index_select copies whole rows, several times faster than indexing with [].
        return tuple(views[epoch % len(views)].index_select(0, at) for views in (self._weak, self._strong))


def cycle(n, size, rng):
    """Endless batches of `size` distinct positions among n: random permutations, each without its incomplete rest."""
    while True:
        order = rng.permutation(n)
        for begin in range(0, n - size + 1, size):
            yield order[begin : begin + size]


def passes(n, size, steps, rng):
    """Batches of one epoch: `steps` batches from passes over n positions, the last of each pass possibly smaller."""
    made = 0
    while made < steps:
        order = rng.permutation(n)
        for begin in range(0, n, size):
            if made == steps:
                return
            yield order[begin : begin + size]
            made += 1


class AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) by torch's own functional form.

    The constructor of `torch.optim.AdamW` imports torch's compiler, which takes as long as all the rest of a short job.
    """

    def __init__(self, parameters, weight_decay):
        self.parameters, self.weight_decay = parameters, weight_decay
        self._mean = [torch.zeros_like(p) for p in parameters]
        self._square = [torch.zeros_like(p) for p in parameters]
        self._steps = [torch.zeros((), device=p.device) for p in parameters]

    @torch.no_grad()
    def step(self, learning_rate):
        """Update the parameters from their gradients and clear these."""
        adamw(
            self.parameters, [p.grad for p in self.parameters], self._mean, self._square, [], self._steps, fused=True,
            amsgrad=False, beta1=0.9, beta2=0.999, lr=learning_rate, weight_decay=self.weight_decay, eps=1e-8,
            maximize=False,
        )  # fmt: skip
        for parameter in self.parameters:
            parameter.grad = None


def learning_rate_factor(step, steps, warmup):
    """Linear warm-up over the first `warmup` fraction of steps, then a cosine over 7/16 of a period (FixMatch)."""
    first = warmup * steps
    if step < first:
        return (step + 1) / (first + 1)
    return math.cos(7 * math.pi * (step - first) / (16 * max(1.0, steps - first)))


@torch.no_grad()
def predict(model, batches):
    """Logits (n, K) float32 on the CPU of inputs that come batch by batch."""
    was_training = model.training
    model.eval()
    logits = torch.cat([model(x).float().cpu() for x in batches])
    model.train(was_training)
    return logits


def fit(model, trainer, config, views, labels, pool_size, num_classes, validation, rng, log, device="cpu"):
    """Train `model` in place and leave it in its best state on validation loss.

    trainer: the plug-in's module; views: `weak(indices, epoch)` and `pair(indices, epoch)` for pool positions; labels:
    the LabelSet to learn from; validation: (function that yields input batches, labels (n,)); rng: numpy Generator
    that draws the mini-batches. Returns one dict per epoch: epoch, steps, train_loss, val_loss, val_accuracy,
    mask_rate (NaN where no unlabelled loss was used).
    """
    unlabelled = np.setdiff1d(np.arange(pool_size), labels.index)
    batch_unlabelled = min(trainer.unlabelled_batch(config), len(unlabelled))
    targets = torch.as_tensor(labels.label, device=device)
    steps_per_epoch = max(math.ceil(len(labels.index) / config.batch_size), config.min_steps_per_epoch)
    steps = steps_per_epoch * config.epochs
    step_loss = trainer.objective(config, len(unlabelled), num_classes, device)
    optimiser = AdamW([p for p in model.parameters() if p.requires_grad], config.weight_decay)
    draw_labelled, draw_unlabelled = rng.spawn(2)
    stream = cycle(len(unlabelled), batch_unlabelled, draw_unlabelled) if batch_unlabelled else None
    validation_batches, validation_labels = validation
    validation_labels = torch.as_tensor(validation_labels)
    history, best, best_loss, stale, step = [], None, math.inf, 0, 0
    for epoch in range(config.epochs):
        model.train()
        losses, masks = [], []
        for chosen in passes(len(labels.index), config.batch_size, steps_per_epoch, draw_labelled):
            at, weak, strong = None, None, None
            if stream is not None:
                drawn = next(stream)
                weak, strong = views.pair(unlabelled[drawn], epoch)
                at = torch.from_numpy(drawn).to(device)
            batch = Batch(views.weak(labels.index[chosen], epoch), targets[torch.from_numpy(chosen)], at, weak, strong)
            loss, mask = step_loss(model, batch, step / steps)
            loss.backward()
            optimiser.step(config.learning_rate * learning_rate_factor(step, steps, config.lr_warmup))
            step += 1
            losses.append(loss.detach())
            masks += [] if mask is None else [mask]
        logits = predict(model, validation_batches())
        record = {
            "epoch": epoch + 1,
            "steps": step,
            "train_loss": float(torch.stack(losses).mean()),
            "val_loss": float(F.cross_entropy(logits, validation_labels)),
            "val_accuracy": float((logits.argmax(1) == validation_labels).float().mean()),
            "mask_rate": float(torch.stack(masks).mean()) if masks else math.nan,
        }
        history.append(record)
        log.info(
            "epoch %(epoch)d: train loss %(train_loss).4f, validation loss %(val_loss).4f, "
            "validation accuracy %(val_accuracy).4f, mask rate %(mask_rate).3f",
            record,
        )
        if record["val_loss"] < best_loss:
            best_loss, stale, best = record["val_loss"], 0, copy.deepcopy(model.state_dict())
        else:
            stale += 1
            if config.patience and stale >= config.patience:
                log.info("validation loss has not fallen for %d epochs: stop", stale)
                break
    if best is None:
        raise FloatingPointError("validation loss was never finite: lower the learning rate")
    model.load_state_dict(best)
    model.eval()
    return history
