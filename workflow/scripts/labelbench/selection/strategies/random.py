"""Random sampling: the baseline that every strategy has to beat."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ()


@dataclass(frozen=True)
class Config:
    """No settings."""


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: nothing."""
    return 0


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` distinct unlabelled examples, uniformly without replacement: (budget,) int64.

    O(U) time. Raises UserError if fewer than `budget` examples are unlabelled.
    """
    pool.check_budget(budget)
    return rng.choice(pool.unlabelled, budget, replace=False)
