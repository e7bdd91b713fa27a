"""BAIT with the expectation over the most probable classes (Huseljic et al. 2024)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features", "probabilities")


@dataclass(frozen=True)
class Config:
    """classes: c, over how many of the most probable classes the expectation is taken, all if there are fewer.
    pca_dim: principal components of the centred features that are kept; None for the features as they are.
    ridge: λ, added to the diagonal of the information of what is labelled; positive.
    """

    classes: int = 2
    pca_dim: int | None = None
    ridge: float = 1.0

    def __post_init__(self):
        if self.classes < 1 or (self.pca_dim is not None and self.pca_dim < 1):
            raise ValueError("classes and pca_dim must be at least 1")
        if not self.ridge > 0:
            raise ValueError("ridge must be positive")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: features in float64, and 5 matrices."""
    dim = min(sizes.dim, config.pca_dim or sizes.dim)
    matrices = 5 * sizes.matrix(dim)
    gains = 2 * 8 * sizes.unlabelled * min(config.classes, sizes.classes) ** 2
    held = 8 * sizes.examples * dim + sizes.probabilities(sizes.examples) + gains
    return held + max(matrices + sizes.products(1, 1) // 2, sizes.products(dim, sizes.classes))


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples that inform the last layer about the whole pool: (budget,) int64.

    The Fisher information of an example with features x is Σ_k q_k (e_k − p)(e_k − p)ᵀ ⊗ xxᵀ over its c most probable
    classes, whose probabilities are made to sum to 1: q (as in the authors' code). Minimises
    tr[(λI + Σ over labelled and picked)⁻¹ Σ over all] greedily: 2·budget examples are added, then all but `budget` are
    removed again, each time the best. Of equal examples the lower index is added first and the last added is removed
    first; what is left is returned in the order in which it was added. `rng` is not used.

    The gradients are written in K − 1 coordinates, without the direction in which all of them are 0; this changes no
    score. With D = (K − 1)d, d features or principal components: O(U·(D² + K²c)) time at the start, O(cD(U + D)) per
    pick; 4 matrices of D² float64, for a moment 8, U·(d + 2c²) float64 and U·K float32 values of memory.
    Raises UserError if fewer than `budget` examples are unlabelled or D is too large.
    Huseljic et al., "Fast Fishing: approximating BAIT for efficient and scalable deep active image classification",
    ECML PKDD 2024 ("BAIT (Exp)"); the objective and the two passes: Ash et al., "Gone fishing: neural active learning
    with Fisher embeddings", NeurIPS 2021, algorithm 1.
    """
    pool.check_budget(budget)
    import torch

    from labelbench.common.progress import track
    from labelbench.selection import fisher

    everything = np.append(pool.unlabelled, pool.labelled)
    features, probabilities = pool.features_and_probabilities(everything)
    fisher.check_size(pool.num_classes, features.shape[1], config.pca_dim)
    features = fisher.principal(features, config.pca_dim) if config.pca_dim else features.double()
    examples = fisher.Softmax(features, probabilities, min(config.classes, pool.num_classes))
    left = len(pool.unlabelled)
    labelled = examples.take(slice(left, None)).information()
    total = labelled + examples.take(slice(left)).information()
    labelled.diagonal().add_(config.ridge)

    candidates = examples.take(slice(left))
    state = fisher.Inverse(labelled, total)
    gains = fisher.Gains.of(candidates, state)
    added, gone = [], torch.zeros(left, dtype=torch.bool, device=features.device)
    with track(min(2 * budget, left), "bait_topc: adding") as progress:
        while len(added) < min(2 * budget, left):
            _, best = fisher.first_best(gains.scores(1).masked_fill_(gone, -torch.inf))
            change = state.effect(candidates, best, 1)
            state.apply(change)
            gains.follow(change)
            added.append(best)
            gone[best : best + 1].fill_(True)
            progress.update(1)

    last_first = added[::-1]
    candidates = candidates.take(last_first)
    gains = fisher.Gains.of(candidates, state)
    removed, gone = [], torch.zeros(len(added), dtype=torch.bool, device=features.device)
    with track(len(added) - budget, "bait_topc: removing") as progress:
        while len(added) - len(removed) > budget:
            _, best = fisher.first_best(gains.scores(-1).masked_fill_(gone, -torch.inf))
            change = state.effect(candidates, best, -1)
            state.apply(change)
            gains.follow(change)
            removed.append(best)
            gone[best : best + 1].fill_(True)
            progress.update(1)
    return pool.unlabelled[np.delete(last_first, removed)[::-1]]
