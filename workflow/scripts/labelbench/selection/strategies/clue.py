"""CLUE: one example for each cluster of the features, weighted by uncertainty (Prabhu et al. 2021)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features", "probabilities")


@dataclass(frozen=True)
class Config:
    """temperature: of the softmax behind the entropy, T > 0; below 1 few examples weigh much."""

    temperature: float = 1.0

    def __post_init__(self):
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, not {self.temperature}")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: features and probabilities, and centres in float64."""
    held = sizes.features(sizes.unlabelled) + sizes.probabilities(sizes.unlabelled) + 32 * sizes.unlabelled
    return held + 36 * sizes.budget * sizes.dim


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, one for each uncertain region of the features: (budget,) int64.

    The features, scaled to unit length as in all strategies here that cluster, are clustered by k-means into as many
    clusters as the budget, each example weighing as much as the entropy of its class probabilities at temperature T.
    The example nearest to each centre is picked. Seeds are drawn by D² sampling without the weights, which decide where
    the centres move (the authors' scikit-learn also draws seeds with them). All examples weigh alike where all
    entropies vanish. One level of clusters, O(U·budget·d) time an iteration; Ud memory.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Prabhu, Chandrasekaran, Saenko & Hoffman, "Active domain adaptation via clustering uncertainty-weighted
    embeddings", ICCV 2021 (arXiv 2010.08666).
    """
    pool.check_budget(budget)
    from labelbench.selection import temporaries
    from labelbench.selection.representatives import representatives

    features, probabilities = pool.features_and_probabilities(pool.unlabelled)
    parts = probabilities.split(max(temporaries.elements(probabilities) // probabilities.shape[1], 64))
    weights = temporaries.joined((_entropy(part, config.temperature) for part in parts), len(probabilities))
    return pool.unlabelled[representatives(features, budget, rng, weights if weights.max() > 0 else None)]


def _entropy(probabilities, temperature):
    """Entropy (m,) float64 of probabilities (m, K) at a temperature, rounded: the order of classes leaves no trace."""
    import torch

    tempered = probabilities.double().pow(1 / temperature)
    tempered /= tempered.sum(1, keepdim=True)
    return torch.special.entr(tempered).sum(1).mul_(2.0**30).round_().mul_(2.0**-30)
