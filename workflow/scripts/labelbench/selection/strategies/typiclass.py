"""TypiClass: the most central example of each class in turn, by the true labels (Huseljic et al. 2026)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features", "labels")
UPPER_BOUND = True


@dataclass(frozen=True)
class Config:
    """No settings."""


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: all features, the same in float64, and of one class."""
    return (3 * sizes.classes + 6) * sizes.features(sizes.unlabelled) // sizes.classes


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator, true_labels: np.ndarray) -> np.ndarray:
    """Indices of `budget` unlabelled examples, central to their classes: (budget,) int64, in pick order.

    true_labels: (N,) int64, of the whole pool. No annotator could choose so: it is one of those who propose batches to
    the bound `oracle`. Each time the class with the fewest labels, of these the first, gives the example that is
    nearest to the mean of what is unlabelled of it, at unit length; picks count as labels.
    O(budget·U/K·d) time, memory for the features. Raises UserError if fewer than `budget` examples are unlabelled.
    Huseljic et al., "BoSS: a best-of-strategies selector as an oracle for deep active learning", 2026 (arXiv
    2603.13109), as in its authors' code, which leaves the features at their lengths.
    """
    pool.check_budget(budget)
    from labelbench.selection.strategies._classwise import central

    known = np.bincount(pool.labels, minlength=pool.num_classes)
    features = pool.features(pool.unlabelled)
    return pool.unlabelled[central(features, true_labels[pool.unlabelled], known, budget)]
