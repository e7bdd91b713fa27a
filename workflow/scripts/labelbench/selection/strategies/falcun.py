"""FALCUN: uncertain examples, far apart in the space of class probabilities (Gilhuber et al. 2024)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("probabilities",)


@dataclass(frozen=True)
class Config:
    """gamma: exponent γ of the relevance; 0 would be uniform sampling, the larger the greedier."""

    gamma: float = 10.0

    def __post_init__(self):
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"gamma must be finite and not negative, not {self.gamma}")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: all probabilities."""
    return sizes.probabilities(sizes.unlabelled) + 48 * sizes.unlabelled


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, uncertain and diverse: (budget,) int64, in pick order.

    u = 1 − (p(1) − p(2)) is an example's uncertainty, and at first its diversity d as well. Each pick is drawn with
    probability ∝ (u + d)^γ. After each, d falls to the L1 distance of the class probabilities to those of the pick
    where that is smaller, and is scaled to [0, 1] over the unlabelled examples, picks included, as
    scikit-activeml's version does. Only the picks of this batch count. Where all relevances vanish, the pick is
    uniform.
    O(U·budget·K) time and O(UK) memory. Raises UserError if fewer than `budget` examples are unlabelled.
    Gilhuber, Beer, Ma & Seidl, "FALCUN: a simple and efficient deep active learning strategy", ECML PKDD 2024.
    """
    pool.check_budget(budget)
    import torch

    from labelbench.common.progress import track

    # Float64 sums of few float32 numbers, rounded: the order of the classes and of threads decides nothing.
    probabilities = pool.probabilities(pool.unlabelled)
    first, second = probabilities.topk(2, dim=1).values.double().unbind(1)
    uncertainty = (1 - (first - second)).clamp_(min=0)
    diversity = uncertainty.clone()
    picks = []
    with track(budget, "falcun") as counter:
        while True:
            relevance = (uncertainty + diversity).pow(config.gamma)
            relevance[picks] = 0
            cumulative = relevance.cpu().numpy().cumsum()
            if cumulative[-1] > 0:
                # Below the last positive step, whatever the rounding of the product.
                drawn = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
                drawn = min(drawn, int(np.flatnonzero(relevance.cpu().numpy())[-1]))
            else:
                drawn = int(rng.choice(np.setdiff1d(np.arange(len(relevance)), picks)))
            picks.append(drawn)
            counter.update(1)
            if len(picks) == budget:
                return pool.unlabelled[picks]
            distance = _distances(probabilities, drawn)
            diversity = torch.minimum(diversity, distance)
            low, high = diversity.aminmax()
            diversity = (diversity - low) / (high - low if high > low else 1)


def _distances(probabilities, at):
    """L1 distance of each row of probabilities (m, K) to the row `at`: (m,) float64."""
    from labelbench.selection import temporaries

    centre = probabilities[at].double()
    rows = max(temporaries.elements(probabilities) // len(centre), 64)
    parts = ((part.double() - centre).abs_().sum(1) for part in probabilities.split(rows))
    return temporaries.joined(parts, len(probabilities)).mul_(2.0**34).round_().mul_(2.0**-34)
