"""One example for each cluster: how strategies that have many candidates pick a diverse batch of them."""

import numpy as np
import torch

from labelbench.selection import clustering, temporaries
from labelbench.selection.greedy import RESOLUTION


def representatives(features: torch.Tensor, count: int, rng: np.random.Generator, weights=None) -> np.ndarray:
    """Positions (count,) int64 of the example nearest to the centre of each of `count` k-means clusters.

    weights: (n,) float64, not negative, what each example counts for its centre; None: all alike.
    features: (n, d) float32, n >= count; scaled to unit length here (zeros stay), which overwrites them. Of equally
    near examples the first is taken. Where fewer than `count` clusters have members (copies), the first of the other
    examples make up the number.
    """
    torch.nn.functional.normalize(features, dim=1, out=features)
    if weights is None:
        centres, cluster = clustering.k_means(features, count, rng)
    else:
        centres, cluster = clustering.weighted_k_means(features, weights, count, rng)
    parts = zip(features.split(1024), cluster.split(1024), strict=True)
    apart = ((part.double() - centres[own].double()).square().sum(1) for part, own in parts)
    squared = temporaries.joined(apart, len(features))
    # Rounded: both members of a cluster of two are as far from its centre.
    steps = squared.div_(RESOLUTION).round_().cpu().numpy()
    cluster = cluster.cpu().numpy()
    nearest_first = np.lexsort((steps, cluster))
    _, first = np.unique(cluster[nearest_first], return_index=True)
    picks = nearest_first[first]
    others = np.setdiff1d(np.arange(len(cluster)), picks)
    return np.append(picks, others[: count - len(picks)])
