"""DropQuery: examples whose prediction does not survive dropout, one for each cluster (Gupte et al. 2024)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Head, Pool

USES = ("features", "head")

# Candidates for each pick that the authors' code asks for before it clusters; the paper does not say.
CANDIDATES = 25

# Examples whose dropped features are in memory at a time; and what float32 may lose, in lengths of its factors, in the
# difference of two products of a few thousand terms.
ROWS = 512
ROUNDING = 1e-5


@dataclass(frozen=True)
class Config:
    """passes: dropout passes M. dropout: probability that a feature is dropped."""

    passes: int = 3
    dropout: float = 0.75

    def __post_init__(self):
        if self.passes < 1:
            raise ValueError(f"passes must be at least 1, not {self.passes}")
        if not 0 < self.dropout < 1:
            raise ValueError(f"dropout must be between 0 and 1, not {self.dropout}")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`, at most: where all examples are candidates."""
    return sizes.features(sizes.unlabelled) + sizes.k_means(sizes.unlabelled, sizes.budget)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, uncertain under dropout and diverse: (budget,) int64.

    The features go through the head M times with dropout. Candidates are the examples whose predicted class differs
    from that without dropout in more than M/2 passes; while there are fewer than 25 times the budget, one pass less is
    asked for, down to one. The candidates' features, scaled to unit length, are clustered by k-means into as many
    clusters as the budget, and the candidate nearest to each centre is picked. Should there be fewer candidates than
    the budget, all of them are picked and the rest is uniform.
    O(MUKd) time and k-means of the candidates; memory for their features. Raises UserError if fewer than `budget`
    examples are unlabelled.
    Gupte et al., "Revisiting active learning in the era of vision foundation models", TMLR 2024 (arXiv 2401.14555).
    The scaling and the uniform rest are those of the authors' code; their centroid initialisation is another strategy.
    """
    pool.check_budget(budget)
    from labelbench.selection.representatives import representatives

    few, others = candidates(pool, budget, config, rng)
    if len(few) < budget:
        return np.append(few, rng.choice(others, budget - len(few), replace=False))
    return few[representatives(pool.features(few), budget, rng)]


def candidates(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The unlabelled examples that a batch is chosen from, and all others: two ascending int64 arrays of indices."""
    changed = _changed(pool, config, rng)
    needed = config.passes // 2 + 1
    while needed > 1 and (changed >= needed).sum() < CANDIDATES * budget:
        needed -= 1
    return pool.unlabelled[changed >= needed], pool.unlabelled[changed < needed]


def _changed(pool, config, rng):
    """In how many passes the prediction of each unlabelled example differs: (U,) int64."""
    import torch

    changed = torch.empty(len(pool.unlabelled), dtype=torch.int64)
    predict = _Predictions(pool.head)
    for rows, features in pool.feature_chunks(pool.unlabelled):
        for part, of in zip(changed[rows].split(ROWS), features.split(ROWS), strict=True):
            # Drawn example after example, so that the size of the chunks makes no difference.
            drawn = rng.random((len(of), config.passes, of.shape[1]), dtype=np.float32)
            kept = torch.from_numpy(drawn >= np.float32(config.dropout)).to(of.device)
            dropped = torch.where(kept, of[:, None], 0).flatten(0, 1)
            predicted, after = predict(of, 1.0), predict(dropped, 1 - config.dropout)
            part.copy_((after.view(-1, config.passes) != predicted[:, None]).sum(1))
    return changed.numpy()


class _Predictions:
    """Predicted classes of features as float64 has them, from products in float32 where these leave no doubt."""

    def __init__(self, head):
        self._head, self._double = head, Head(head.weight.double(), head.bias.double())
        self._largest = float(head.weight.norm(dim=1).max()), float(head.bias.abs().max())

    def __call__(self, x, scale):
        """Classes (m,) int64 of x (m, d) float32 divided by `scale`."""
        import torch

        weight, bias = self._largest
        logits = torch.addmm(self._head.bias * scale, x, self._head.weight.T)
        largest, predicted = logits.max(1)
        doubt = ROUNDING * (weight * x.norm(dim=1) + bias)
        unsure = ((logits >= (largest - doubt)[:, None]).sum(1) > 1).nonzero()[:, 0]
        predicted[unsure] = self._double.logits(x[unsure].double() / scale).argmax(1)
        return predicted
