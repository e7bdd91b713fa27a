"""Coreset: greedy k-centre in feature space (Sener & Savarese 2018)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features",)


@dataclass(frozen=True)
class Config:
    """No settings."""


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: all features.

    Where distances tie, blocks grow to 0.4 GB at most, which is not counted.
    """
    return sizes.features(sizes.examples) + 32 * sizes.unlabelled


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, each the farthest from all labelled and picked ones: (budget,) int64.

    Euclidean distance between the model's features; probabilities play no part. Of equally far examples the lower
    index comes first; `rng` is not used. O(U(L + budget)d) time in matrix products (`selection.greedy`), O((U + L)d)
    memory. Raises UserError if fewer than `budget` examples are unlabelled.
    Sener & Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR 2018, algorithm 1.
    """
    pool.check_budget(budget)
    from labelbench.selection import greedy

    candidates = greedy.points(pool.features(pool.unlabelled))
    return pool.unlabelled[greedy.k_centre(candidates, pool.features(pool.labelled), budget)]
