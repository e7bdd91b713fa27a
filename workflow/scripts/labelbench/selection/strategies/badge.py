"""BADGE: k-means++ seeding on hallucinated gradients (Ash et al. 2020)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features", "probabilities")


@dataclass(frozen=True)
class Config:
    """No settings."""


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: features and residuals."""
    return sizes.features(sizes.unlabelled) + sizes.probabilities(sizes.unlabelled) + 32 * sizes.unlabelled


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, uncertain and diverse: (budget,) int64, in pick order.

    The gradient of the cross-entropy at the predicted class ŷ, in the last layer, is g = q ⊗ v with q = p − onehot(ŷ)
    and v the features. Examples are drawn by k-means++ seeding on g: each with probability proportional to the squared
    distance to the nearest one drawn so far. k-means++ draws the first uniformly; the authors' code and LabelBench
    start from the largest ‖g‖, and so does this. Once all that is left coincides with something drawn, the rest is
    uniform. O(U·budget·(d + K)) time in matrix products (`selection.greedy`), O(U(d + K)) memory; the K·d gradient
    is never formed. Raises UserError if fewer than `budget` examples are unlabelled.
    Ash et al., "Deep batch active learning by diverse, uncertain gradient lower bounds", ICLR 2020, algorithm 1; the
    factored distance: LabelBench, Appendix G.
    """
    pool.check_budget(budget)
    from labelbench.selection import greedy

    features, residuals = pool.features_and_probabilities(pool.unlabelled)
    predicted = residuals.argmax(1, keepdim=True)
    residuals.scatter_add_(1, predicted, residuals.new_full(predicted.shape, -1))
    return pool.unlabelled[greedy.d2_sampling(greedy.points(features, residuals), budget, rng)]
