"""BAIT with the binary likelihood (Huseljic et al. 2024)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features", "probabilities")


@dataclass(frozen=True)
class Config:
    """ridge: λ, added to the diagonal of the information of what is labelled; positive."""

    ridge: float = 1.0

    def __post_init__(self):
        if not self.ridge > 0:
            raise ValueError("ridge must be positive")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: all features, and those that are followed seven times, at most.

    How many are followed depends on the data; few labels, as here, let it be as many as there may be.
    """
    followed = min(sizes.unlabelled, (1 << 27) // sizes.dim)
    return sizes.features(sizes.examples) + 7 * sizes.features(followed) + 64 * sizes.examples


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples that inform a classifier of the whole pool: (budget,) int64.

    Whether the predicted class is right is taken as a binary problem: an example with features z and largest class
    probability p̂ has Fisher information p̂(1 − p̂)·z zᵀ. Minimises tr[(λI + Σ over labelled and picked)⁻¹ Σ over all]
    greedily: 2·budget examples are added, then all but `budget` are removed again, each time the best. Of equal
    examples the lower index is added first and the last added is removed first; what is left is returned in the order
    in which it was added. `rng` is not used.

    The picks are those of greedy one at a time in float64; `selection.fisher.trade` makes them in blocks, in O(Ud²)
    per block of picks and O(d³) per pick, with (U + budget)d float32 values in memory.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Huseljic et al., "Fast Fishing: approximating BAIT for efficient and scalable deep active image classification",
    ECML PKDD 2024 ("BAIT (Binary)"); the objective and the two passes: Ash et al., "Gone fishing: neural active
    learning with Fisher embeddings", NeurIPS 2021, algorithm 1.
    """
    pool.check_budget(budget)
    import torch

    from labelbench.selection import fisher

    labelled, candidates = (_examples(pool, indices) for indices in (pool.labelled, pool.unlabelled))
    information = labelled.information()
    total = information + candidates.information()
    information.diagonal().add_(config.ridge)

    # An example without information changes nothing: it is added only when no other is left, and removed first.
    informative = torch.nonzero(candidates.weights > 0)[:, 0]
    if len(informative) < len(candidates.weights):
        candidates = candidates.take(informative)
    count = min(2 * budget, len(informative))
    added = fisher.trade(candidates, information, total, count, 1, "bait_binary: adding")
    last_first = added[::-1].copy()
    surplus = max(count - budget, 0)
    removed = fisher.trade(
        candidates.take(torch.as_tensor(last_first, device=informative.device)),
        information,
        total,
        surplus,
        -1,
        "bait_binary: removing",
    )
    kept = pool.unlabelled[informative.cpu().numpy()[np.delete(last_first, removed)[::-1]]]
    rest = np.setdiff1d(pool.unlabelled, kept)
    return np.append(kept, rest[: budget - len(kept)])


def _examples(pool, indices):
    import torch

    from labelbench.selection import fisher

    features, weights = None, torch.empty(len(indices), dtype=torch.float64, device=pool.device)
    for rows, x, probabilities in pool.chunks(indices):
        features = torch.empty((len(indices), x.shape[1]), device=x.device) if features is None else features
        features[rows] = x
        largest = probabilities.amax(1).double()
        # No weight where the features are zero, so that a weight says whether there is any information.
        weights[rows] = largest * (1 - largest) * (x != 0).any(1)
    return fisher.RankOne(features, weights)
