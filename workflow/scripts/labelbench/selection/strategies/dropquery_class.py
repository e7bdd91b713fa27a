"""DropQuery, with the classes by the true labels in the place of clusters (Huseljic et al. 2026)."""

import numpy as np

from labelbench.selection.pool import Pool
from labelbench.selection.strategies import dropquery

USES = ("features", "head", "labels")
UPPER_BOUND = True

Config = dropquery.Config


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`, at most: where all examples are candidates."""
    return (3 * sizes.classes + 6) * sizes.features(sizes.unlabelled) // sizes.classes


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator, true_labels: np.ndarray) -> np.ndarray:
    """Indices of `budget` unlabelled examples, uncertain under dropout and central to their classes: (budget,) int64.

    true_labels: (N,) int64, of the whole pool. No annotator could choose so: it is one of those who propose batches to
    the bound `oracle`. The candidates are those of `dropquery`; among them, each time the class with the fewest labels,
    of these the first, gives the example that is nearest to the mean of its candidates that are left, at unit length;
    picks count as labels. Should there be fewer candidates than the budget, all of them are picked and the rest is
    uniform.
    O(MUKd) time for the candidates; memory for their features. Raises UserError if fewer than `budget` examples are
    unlabelled.
    Huseljic et al., "BoSS: a best-of-strategies selector as an oracle for deep active learning", 2026 (arXiv
    2603.13109), as in its authors' code.
    """
    pool.check_budget(budget)
    from labelbench.selection.strategies._classwise import central

    few, others = dropquery.candidates(pool, budget, config, rng)
    if len(few) < budget:
        return np.append(few, rng.choice(others, budget - len(few), replace=False))
    known = np.bincount(pool.labels, minlength=pool.num_classes)
    return few[central(pool.features(few), true_labels[few], known, budget)]
