"""Cluster-Margin: margin sampling, spread over clusters of the pool (Citovsky et al. 2021)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool
from labelbench.selection.strategies import margin
from labelbench.selection.strategies._turns import in_turn

USES = ("features", "probabilities")


@dataclass(frozen=True)
class Config:
    """candidates: examples of smallest margin for each pick, k_m/k_t. cluster_size: mean size of a cluster."""

    candidates: int = 10
    cluster_size: int = 10

    def __post_init__(self):
        for name in ("candidates", "cluster_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: all features, and all pairs of the largest cell, 8,192² at most."""
    return sizes.features(sizes.unlabelled) + 14 * min(sizes.unlabelled, 8192) ** 2 + 40_000_000


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples of small margin from as many clusters as possible: (budget,) int64.

    The unlabelled examples are clustered by average linkage on their features. Of the `candidates` · `budget` examples
    of smallest margin, one is drawn at random from each of their clusters in turn, from that with the fewest of them to
    that with the most, and again from the first, skipping those that are used up. Of clusters of one size that with the
    lowest index comes first. The paper cuts the tree at a distance ε; here ε follows from the mean size of a cluster,
    which needs no tuning to the features' scale. It clusters the whole pool once; here the features are those of the
    round's model, so that every round clusters what is still unlabelled. Above 8,192 examples clusters do not cross
    the cells of a k-means (`selection.linkage`); no example is left out.
    O(U·8192·d + UK) time, memory for the features and 1 GB. Raises UserError if fewer than `budget` examples are
    unlabelled.
    Citovsky et al., "Batch active learning at scale", NeurIPS 2021, algorithms 1 and 2.
    """
    pool.check_budget(budget)
    from labelbench.selection.linkage import average_linkage

    number = len(pool.unlabelled)
    cluster = average_linkage(pool.features(pool.unlabelled), -(-number // config.cluster_size), rng)
    candidates = margin.select(pool, min(config.candidates * budget, number), margin.Config(), rng)
    candidates = np.sort(candidates)
    _, first, own, size = np.unique(
        cluster[np.searchsorted(pool.unlabelled, candidates)],
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    turn = np.empty(len(first), dtype=np.int64)
    turn[np.lexsort((first, size))] = np.arange(len(first))
    shuffled = rng.permutation(len(candidates))
    return candidates[shuffled[in_turn(own[shuffled], turn, budget)]]
