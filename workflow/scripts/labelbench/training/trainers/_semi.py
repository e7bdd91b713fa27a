"""What the trainers that learn from unlabelled examples share; each of their files is its formula."""

from dataclasses import dataclass

from labelbench.training.trainers._common import Optimisation, supervised


@dataclass(frozen=True, kw_only=True)
class SemiSupervised(Optimisation):
    """The optimiser's settings and those of the unlabelled loss, whatever it is.

    unlabelled_ratio: μ, unlabelled examples per labelled one in a step. unlabelled_weight: λ_u. supervised_warmup:
    fraction of all steps before the unlabelled loss sets in; ramp: fraction of all steps over which its weight then
    rises linearly to λ_u. Without the two, a model that starts from few labels becomes over-confident in its first,
    wrong pseudo-labels.
    """

    unlabelled_ratio: int = 5
    unlabelled_weight: float = 1.0
    supervised_warmup: float = 0.0
    ramp: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.unlabelled_ratio < 1:
            raise ValueError("unlabelled_ratio must be at least 1 (trainer passive uses no unlabelled examples)")
        if self.unlabelled_weight < 0:
            raise ValueError("unlabelled_weight cannot be negative")
        if not (self.supervised_warmup >= 0 and self.ramp >= 0 and self.supervised_warmup + self.ramp <= 1):
            raise ValueError("supervised_warmup and ramp are fractions of all steps that add up to at most 1")

    def unlabelled_weight_at(self, progress):
        """Weight of the loss on unlabelled examples after the fraction `progress` of all steps."""
        since = progress - self.supervised_warmup
        if since < 0:
            return 0.0
        return self.unlabelled_weight * (min(1.0, since / self.ramp) if self.ramp else 1.0)


def check_threshold(threshold):
    """Raise ValueError unless it is a probability that some predictions pass and some do not."""
    if not 0 < threshold < 1:
        raise ValueError("threshold is a probability: above 0, below 1")


def unlabelled_batch(config):
    """Unlabelled examples per step: μB."""
    return config.batch_size * config.unlabelled_ratio


def momentum(config, problem):
    """The factor m of moving averages a ← m a + (1 − m) value, one per step: `config.ema` in long trainings.

    Papers give m = 0.999, a half-life of 693 steps, for about a million steps. In a training of a few hundred such an
    average never leaves its initial value, so its half-life is at most a fiftieth of all steps: m ≤ 2^(−50/steps).
    """
    return min(config.ema, 0.5 ** (50 / problem.steps))


def consistency(config, problem, teach, student="strong", extra=None):
    """One step of L = CE(labelled) + λ_u · mean_i w_i · CE(p(student view of i), t_i).

    teach: (probabilities q (U, K) of the weak views, positions (U,) among the unlabelled examples) → weights w (U,)
    float32 and targets t, classes (U,) int64 or distributions (U, K); called without gradient. student: the view that
    learns, strong or weak. extra: (logits (U, K) of the student view, w) → a scalar to add to L, not weighted by λ_u.

    All views pass through a model with BatchNorm as one batch, as in FixMatch and USB (Wang et al. 2022): it is
    normalised by the statistics of all, which are updated once a step. In other models rows are on their own, and the
    teacher's views pass first, without the memory that a gradient takes.
    """
    import torch
    import torch.nn.functional as F

    from labelbench.training.training import Step

    cross_entropy = supervised(config, problem)

    def step(model, batch, number):
        weight = config.unlabelled_weight_at(number / problem.steps)
        if weight == 0 or batch.weak is None:
            loss = cross_entropy(model(batch.labelled), batch.labels)
            return Step(loss, loss)
        if student == "weak":
            labelled, taught = model(batch.labelled, batch.weak)
            teacher = taught
        elif problem.mixing:
            labelled, taught, teacher = model(batch.labelled, batch.strong, batch.weak)
        else:
            with torch.no_grad():
                teacher = model(None, batch.weak)
            labelled, taught = model(batch.labelled, batch.strong)
        with torch.no_grad():
            weights, targets = teach(teacher.softmax(1), batch.unlabelled)
        of_labelled = cross_entropy(labelled, batch.labels)
        unsupervised = (F.cross_entropy(taught, targets, reduction="none") * weights).mean()
        loss = of_labelled + weight * unsupervised
        if extra is not None:
            loss = loss + extra(taught, weights)
        pseudo = targets if targets.ndim == 1 else targets.argmax(1)
        return Step(loss, of_labelled, unsupervised, weights, pseudo)

    return step
