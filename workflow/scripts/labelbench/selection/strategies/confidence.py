"""Confidence sampling (least confidence; Lewis & Gale 1994)."""

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
    """Indices of the `budget` unlabelled examples with the smallest max_k p_k: (budget,) int64, least confident first.

    Of equal scores the lower index comes first; `rng` is not used. O(UK) time, one chunk of the pool in memory.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Lewis & Gale, "A sequential algorithm for training text classifiers", SIGIR 1994.
    """
    return smallest(pool, budget, lambda p: p.amax(1))
