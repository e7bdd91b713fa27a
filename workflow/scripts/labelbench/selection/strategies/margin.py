"""Margin sampling (Scheffer et al. 2001)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool
from labelbench.selection.strategies._scores import smallest

USES = ("probabilities",)


@dataclass(frozen=True)
class Config:
    """No settings."""


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: one chunk only."""
    return 0


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of the `budget` unlabelled examples with the smallest p(1) − p(2): (budget,) int64, smallest first.

    p(1) and p(2) are the two largest class probabilities. Of equal scores the lower index comes first; `rng` is not
    used. O(UK) time, one chunk of the pool in memory. Raises UserError if fewer than `budget` examples are unlabelled.
    Scheffer, Decomain & Wrobel, "Active hidden Markov models for information extraction", IDA 2001.
    """
    return smallest(pool, budget, _margin)


def _margin(probabilities):
    first, second = probabilities.topk(2, dim=1).values.unbind(1)
    return first - second
