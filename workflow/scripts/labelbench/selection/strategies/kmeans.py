"""k-means: the examples nearest to as many centroids as there are labels to buy."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features",)


@dataclass(frozen=True)
class Config:
    """No settings."""


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: all features."""
    return sizes.features(sizes.unlabelled) + sizes.k_means(sizes.unlabelled, sizes.budget)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, the one nearest to the centre of each k-means cluster: (budget,) int64.

    Clusters of the unlabelled examples' features at unit length. It uses no label and no model, so a first round can
    begin with it. O(U·budget·d) time an iteration, by two levels of clusters O(U·√budget·d) in large pools
    (`selection.clustering`), O(Ud) memory. Raises UserError if fewer than `budget` examples are unlabelled.
    Gupte et al., "Revisiting active learning in the era of vision foundation models", TMLR 2024 (as initialisation).
    """
    pool.check_budget(budget)
    from labelbench.selection.representatives import representatives

    return pool.unlabelled[representatives(pool.features(pool.unlabelled), budget, rng)]
