"""BASE: balanced selection near the decision boundaries (Emam et al. 2021)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features", "head")


@dataclass(frozen=True)
class Config:
    """No settings."""


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: all distances."""
    return sizes.probabilities(sizes.unlabelled) + sizes.chunk_in_float64()


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, for each class as many near its boundary: (budget,) int64.

    In feature space, the boundary between classes a and b of a linear head is |z_a − z_b| / ‖w_a − w_b‖ away, with
    logits z and weights w. The distance of an example to the boundary of class c is that to the boundary between c and
    its predicted class or, if c is predicted, that to the nearest one of c. Class after class takes the nearest
    examples that no other has taken, nearest first, of equal ones the lower index. The authors go through the classes
    by number and let the first ones have what cannot be shared evenly; here both follow a random order, as else a
    budget below K would never reach the last classes.
    O(UKd) time and U·K float32 of memory for the distances (5 GB at ImageNet's size). Raises UserError if fewer than
    `budget` examples are unlabelled.
    Emam et al., "Active learning at the ImageNet scale", 2021 (arXiv 2111.12880).
    """
    pool.check_budget(budget)
    distances = _distances(pool)
    share, more = divmod(budget, pool.num_classes)
    picks = np.empty(0, dtype=np.int64)
    for turn, c in enumerate(rng.permutation(pool.num_classes)):
        count = share + (turn < more)
        if count:
            distances[c, picks] = np.inf
            picks = np.append(picks, _smallest(distances[c], count))
    return pool.unlabelled[picks]


def _distances(pool):
    """Distance of every unlabelled example to the boundary of every class: (K, U) float32, finite."""
    import torch

    weight, bias = pool.head.weight.double(), pool.head.bias.double()
    between = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")
    # Classes of the same weights have no boundary in between; it counts as farther away than any other.
    none = torch.finfo(torch.float32).max
    distances = np.empty((len(bias), len(pool.unlabelled)), dtype=np.float32)
    for rows, features in pool.feature_chunks(pool.unlabelled):
        logits = torch.addmm(bias, features.double(), weight.T)
        largest, predicted = logits.max(1, keepdim=True)
        apart = between[predicted[:, 0]]
        to_class = ((largest - logits) / apart).masked_fill_(apart == 0, none)
        to_class.scatter_(1, predicted, to_class.scatter(1, predicted, none).amin(1, keepdim=True))
        # In float32 again, true ties are ties.
        distances[:, rows] = to_class.float().T.cpu().numpy()
    return distances


def _smallest(values, count):
    """Positions of the `count` smallest values, smallest first, of equal ones the first."""
    found = np.flatnonzero(values <= np.partition(values, count - 1)[count - 1])
    return found[np.argsort(values[found], kind="stable")[:count]]
