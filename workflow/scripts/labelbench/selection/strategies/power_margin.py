"""Power-margin: margin sampling with the noise that a batch needs (Kirsch et al. 2023)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool
from labelbench.selection.strategies._scores import Smallest

USES = ("probabilities",)


@dataclass(frozen=True)
class Config:
    """beta: the coldness β > 0; 0 would be uniform sampling, infinity margin sampling."""

    beta: float = 1.0

    def __post_init__(self):
        if not 0 < self.beta < float("inf"):
            raise ValueError(f"beta must be positive and finite, not {self.beta}")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: one chunk only."""
    return 0


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, drawn without replacement with probability ∝ s^β: (budget,) int64.

    s = 1 − (p(1) − p(2)), with p(1) and p(2) the two largest class probabilities. Drawn by the Gumbel top-k trick: the
    `budget` largest log s + ε with ε ~ Gumbel(0, 1/β), largest first. Examples with s = 0 come last, in random order.
    O(UK) time, one chunk of the pool in memory. Raises UserError if fewer than `budget` examples are unlabelled.
    Kirsch et al., "Stochastic batch acquisition: a simple baseline for deep active learning", TMLR 2023
    (the power variant), with the margin as the score.
    """
    pool.check_budget(budget)
    found = Smallest(budget)
    for _, _, probabilities in pool.chunks(pool.unlabelled):
        first, second = probabilities.topk(2, dim=1).values.double().unbind(1)
        score = (1 - (first - second)).cpu().numpy()
        noise = rng.gumbel(scale=1 / config.beta, size=len(score))
        # Probabilities are rounded, so that the score of a tie can exceed 1 and that of a certain example be below 0.
        log_score = np.log(score, out=np.full_like(score, -np.inf), where=score > 0)
        found.add(-(log_score + noise), -noise)
    return pool.unlabelled[found.positions()]
