import bisect

import numpy as np
import torch

from labelbench.selection import clustering
from references._coverage import greedy, squared_distances, unit

SAME_PICKS = True


def radius(x, clusters, purity):
    """The largest of the distances between examples for which enough open balls are pure; infinite in one cluster."""
    d2 = squared_distances(x, x)
    other = clusters[:, None] != clusters

    def impure(squared_radius):
        """Whether too many balls of the radius hold two clusters; the larger the radius, the more do."""
        return np.sum((other & (d2 < squared_radius * (1 - 1e-9))).any(1)) > (1 - purity) * len(x) + 1e-6

    candidates = [*np.unique(d2[other]), np.inf]
    return np.sqrt(candidates[bisect.bisect(candidates, False, key=impure) - 1])


def pure_radius(x, num_classes, purity, rng):
    # The clustering itself is the library's, with tests of its own.
    _, clusters = clustering.k_means(torch.tensor(x, dtype=torch.float32), min(num_classes, len(x)), rng)
    return radius(x, clusters.numpy(), purity)


def select(view, budget, config, rng):
    delta = config.delta
    if delta is None:
        delta = pure_radius(unit(view.features), view.num_classes, config.purity, rng)
    return greedy(view, budget, lambda d2: (d2 < delta**2 - 1e-9).astype(float), np.ones(len(view.features)), rng)
