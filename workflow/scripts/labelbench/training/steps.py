"""How the logits of a step and their gradient are computed: at once, in parts one after another, or by several ranks.

An objective is a function of the logits of all of a step's examples, and not always a mean over them: thresholds and
fairness see the batch as a whole. So it always gets the logits of all. Where a step is computed in parts, or by ranks,
the objective's gradient by the logits is carried back through the model, part by part, and summed over the ranks: that
is the gradient of the whole step, whatever the objective. Parts are computed twice, first without what a gradient
takes (Gao et al. 2021, arXiv 2101.06983, §3.2). The layers of BatchNorm get statistics of all ranks.
"""

import contextlib

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from labelbench.common import ranks


def in_precision(model, precision, device):
    """The model as a function to float32 outputs that computes in `float32` or `bfloat16`, all but its `Classifier`."""
    kind = torch.device(device).type

    def forward(x):
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16"):
            return model(x).float()

    return forward


class Model:
    """What objectives call: views → float32 logits; then `backward` of the loss that they make of these.

    model: on `device`; precision: what it computes in; parts: of a step that are computed one after another; mixing:
    whether what the model makes of an example depends on the others of its batch.
    """

    def __init__(self, model, precision="float32", device="cpu", parts=1, mixing=False):
        self._model, self._device, self._parts, self._mixing = model, torch.device(device), parts, mixing
        self._forward, self._sizes, self._pending = in_precision(model, precision, device), (0, 0), []

    def begin(self, labelled, unlabelled):
        """The numbers of labelled and unlabelled examples of the step that comes, in all ranks together."""
        self._sizes = labelled, unlabelled

    def __call__(self, labelled, *unlabelled):
        """The logits of labelled examples' views, and of any number of views of all unlabelled ones, as one batch.

        labelled: (b, …), or None; unlabelled: (u, …) each. Views are of this rank's share of the step; the logits
        (n, K) are those of all its examples: one tensor, or a tuple of them where there are several.
        """
        views = [part for part in (labelled, *unlabelled) if part is not None]
        if ranks.count() == 1 and self._parts == 1:
            logits = self._forward(torch.cat(views) if len(views) > 1 else views[0])
            return logits if len(views) == 1 else logits.split([len(part) for part in views])
        examples = [self._sizes[0]] * (labelled is not None) + [self._sizes[1]] * len(unlabelled)
        if self._mixing:  # no example but those of the share may be among what is averaged
            views = [part[: len(ranks.share(n))] for part, n in zip(views, examples, strict=True)]
        x, learning = torch.cat(views), torch.is_grad_enabled()
        random = _random_state(self._device) if learning and self._parts > 1 else None
        with torch.set_grad_enabled(learning and self._parts == 1), self._statistics_of_all():
            local = torch.cat([self._forward(part) for part in self._split(x)])
        of_views = local.detach().split([len(part) for part in views])
        logits = tuple(
            ranks.gathered(rows, n) if ranks.count() > 1 else rows.clone()
            for rows, n in zip(of_views, examples, strict=True)
        )
        if learning:
            logits = tuple(rows.requires_grad_() for rows in logits)
            self._pending.append((x, local, random, [len(part) for part in views], logits))
        return logits if len(logits) > 1 else logits[0]

    def backward(self, loss):
        """Add the gradient of a loss, which is of the logits of the last step, to the parameters' gradients."""
        loss.backward()
        for x, local, random, sizes, logits in self._pending:
            gradient = torch.cat([_own(rows, size) for rows, size in zip(logits, sizes, strict=True)])
            if self._parts == 1:
                local.backward(gradient)
                continue
            _set_random_state(self._device, random)  # what a model drops out, it drops out again
            for part, own in zip(self._split(x), self._split(gradient), strict=True):
                self._forward(part).backward(own)
        self._pending.clear()
        if ranks.count() > 1:
            ranks.sum_gradients(self._model.parameters())

    def _split(self, x):
        return x.split(max(-(-len(x) // self._parts), 1))

    def _statistics_of_all(self):
        return _Together() if self._mixing and ranks.count() > 1 else contextlib.nullcontext()


def of_rank(plan):
    """The part of an epoch's plan (`training.CachedViews.batches`) of which this rank loads the views.

    That of a rank without a share is the first example. It is computed, so that all ranks do the same, and counts for
    nothing.
    """
    if ranks.count() == 1:
        return plan

    def own(at):
        if at is None:
            return None
        mine = at[ranks.share(len(at))]
        return mine if len(mine) else at[:1]

    return [(own(labelled), own(unlabelled)) for labelled, unlabelled in plan]


def _own(logits, size):
    """The gradient (size, K) by the rows of this rank, by those of all; 0 for what is no share of it."""
    if logits.grad is None:  # the objective did not use them
        return logits.new_zeros(size, logits.shape[1])
    if ranks.count() == 1:
        return logits.grad
    mine = ranks.share_on(len(logits), logits.device)
    gradient = logits.grad.index_select(0, mine)
    return gradient if len(gradient) == size else logits.new_zeros(size, logits.shape[1])


def _random_state(device):
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(device, state):
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the ranks; so is its gradient."""

    @staticmethod
    def forward(ctx, x):
        return ranks.summed(x)

    @staticmethod
    def backward(ctx, gradient):
        return ranks.summed(gradient)


class _Together(TorchFunctionMode):
    """Within it, BatchNorm that learns normalises by the statistics of all ranks' examples.

    torch's own SyncBatchNorm does so on GPUs alone, and takes from layers of timm what they have besides.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """torch's function of that name, of x (n, C, …) of which n examples are over all ranks."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    others = [0, *range(2, x.ndim)]
    shape = [1, -1] + [1] * (x.ndim - 2)
    values = x.float()
    number = ranks.summed(values.new_tensor([x.numel() / x.shape[1]]))
    mean = _Sum.apply(values.sum(others)) / number
    centred = values - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(others)) / number
    if running_mean is not None:
        running_mean.lerp_(mean.detach(), momentum)
        running_var.lerp_(variance.detach() * (number / (number - 1)), momentum)
    normalised = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        normalised = normalised * weight.view(shape) + bias.view(shape)
    return normalised.to(x.dtype)
