"""FlexMatch (Zhang et al. 2021, arXiv 2110.08263): FixMatch with a confidence threshold per class."""

from dataclasses import dataclass

from labelbench.trainers._common import Optimisation


@dataclass(frozen=True, kw_only=True)
class Config(Optimisation):
    """FlexMatch's settings and the optimiser's.

    threshold: τ. unlabelled_ratio: μ, unlabelled examples per labelled one in a step. unlabelled_weight: λ_u.
    supervised_warmup: fraction of all steps before the unlabelled loss sets in; ramp: fraction of all steps over which
    its weight then rises linearly to λ_u. Without the two, a model that starts from few labels becomes over-confident
    in its first, wrong pseudo-labels.
    """

    threshold: float = 0.95
    unlabelled_ratio: int = 5
    unlabelled_weight: float = 1.0
    supervised_warmup: float = 0.0
    ramp: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.threshold < 1:
            raise ValueError("threshold is a probability: above 0, below 1")
        if self.unlabelled_ratio < 1:
            raise ValueError("unlabelled_ratio must be at least 1 (trainer passive uses no unlabelled examples)")
        if not (self.supervised_warmup >= 0 and self.ramp >= 0 and self.supervised_warmup + self.ramp <= 1):
            raise ValueError("supervised_warmup and ramp are fractions of all steps that add up to at most 1")


def unlabelled_batch(config):
    """Unlabelled examples per step: μB."""
    return config.batch_size * config.unlabelled_ratio


def objective(config, num_unlabelled, num_classes, device):
    """The loss of one step.

        L = CE(labelled, weak view) + λ_u · mean_i 1[max q_i ≥ τ · β_c/(2 − β_c)] · CE(p(strong view), c)

    with q_i the prediction on the weak view without gradient, c its argmax, β_c = σ_c / max(max_k σ_k, N₀); σ_c counts
    the unlabelled examples whose last prediction above τ was c, N₀ those that never had one (§3.2, equations 5–8, with
    the threshold warm-up of equation 11 and the convex mapping of equation 12). Counts are kept up to date from the
    batch; an example occurs at most once in a batch. Returns the loss and the fraction of the mask that is open.
    """
    import torch
    import torch.nn.functional as F

    last = torch.full((num_unlabelled,), num_classes, device=device)  # class `num_classes`: never confident
    counts = torch.zeros(num_classes + 1, device=device)
    counts[num_classes] = num_unlabelled

    def weight(progress):
        since = progress - config.supervised_warmup
        if since < 0:
            return 0.0
        return config.unlabelled_weight * (min(1.0, since / config.ramp) if config.ramp else 1.0)

    def loss(model, batch, progress):
        lam = weight(progress)
        if lam == 0 or batch.weak is None:
            return F.cross_entropy(model(batch.labelled), batch.labels), None
        with torch.no_grad():
            confidence, pseudo = model(batch.weak).softmax(1).max(1)
            beta = counts[:num_classes] / counts.max()
            mask = (confidence >= config.threshold * (beta / (2 - beta))[pseudo]).float()
            confident = confidence >= config.threshold
            seen = torch.where(confident, pseudo, last[batch.unlabelled])
            counts.add_(torch.bincount(seen, minlength=num_classes + 1))
            counts.sub_(torch.bincount(last[batch.unlabelled], minlength=num_classes + 1))
            last[batch.unlabelled] = seen
        logits = model(torch.cat([batch.labelled, batch.strong]))
        labelled, strong = logits.split([len(batch.labels), len(pseudo)])
        unsupervised = (F.cross_entropy(strong, pseudo, reduction="none") * mask).mean()
        return F.cross_entropy(labelled, batch.labels) + lam * unsupervised, mask.mean()

    return loss
