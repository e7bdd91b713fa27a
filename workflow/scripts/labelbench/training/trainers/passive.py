"""Supervised training on the labelled examples alone ("passive" in the LabelBench paper, Figure 4c)."""

from dataclasses import dataclass

from labelbench.training.trainers._common import Optimisation, supervised


@dataclass(frozen=True, kw_only=True)
class Config(Optimisation):
    """The optimiser's settings, and mixup: α of the Beta distribution that mixes pairs of examples (0: no mixing)."""

    mixup: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.mixup < 0:
            raise ValueError("mixup cannot be negative")


def unlabelled_batch(config):
    """Unlabelled examples per step: none."""
    return 0


def objective(config, problem):
    """The loss of one step: cross-entropy of the weak views of the labelled batch, mixed or not.

        L = λ CE(p(x̃), y) + (1 − λ) CE(p(x̃), y'),   x̃ = λ x + (1 − λ) x',   λ ~ Beta(α, α)

    with (x', y') another example of the batch (mixup: Zhang et al. 2018, arXiv 1710.09412, §2: cross-entropy is linear
    in the mixed target). λ is one number per step, and the partner is the batch in reverse: its order is random.
    """
    cross_entropy = supervised(config, problem)
    shares = problem.rng.beta(config.mixup, config.mixup, problem.steps) if config.mixup else None

    from labelbench.training.training import Step

    def step(model, batch, number):
        if shares is None:
            loss = cross_entropy(model(batch.labelled), batch.labels)
        else:
            share, x = float(shares[number]), batch.labelled.float()
            logits = model(share * x + (1 - share) * x.flip(0))
            loss = share * cross_entropy(logits, batch.labels)
            loss = loss + (1 - share) * cross_entropy(logits, batch.labels.flip(0))
        return Step(loss, loss)

    return step, {}
