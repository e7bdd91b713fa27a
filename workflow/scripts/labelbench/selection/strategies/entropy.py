"""Entropy sampling (Settles 2009)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool
from labelbench.selection.strategies._scores import smallest

USES = ("probabilities",)


@dataclass(frozen=True)
class Config:
    """No settings."""


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: the chunk's probabilities in float64."""
    return sizes.chunk_in_float64()


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of the `budget` unlabelled examples with the largest −Σ_k p_k log p_k: (budget,) int64, largest first.

    Of equal scores the lower index comes first; `rng` is not used. O(UK) time, one chunk of the pool in memory.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Settles, "Active learning literature survey", University of Wisconsin–Madison TR 1648, 2009, section 3.1.
    """
    return smallest(pool, budget, _negative_entropy)


def _negative_entropy(probabilities):
    import torch

    # Summed in float64 and rounded, the order of the classes leaves no trace: permuted rows tie, as they should.
    return -torch.special.entr(probabilities.double()).sum(1).float()
