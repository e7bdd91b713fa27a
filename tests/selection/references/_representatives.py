"""What the references share that pick one example for each cluster."""

import numpy as np
import torch

from labelbench.selection import clustering


def nearest_to_centres(view, candidates, count, rng, clusters=clustering.k_means):
    """The candidate nearest to each centre of `count` clusters of the unit vectors, in the order of the clusters.

    The clustering itself is the library's, with tests of its own, and so are float32 and the rounding of ties.
    """
    x = torch.nn.functional.normalize(torch.tensor(view.features[candidates], dtype=torch.float32), dim=1)
    centres, cluster = (out.numpy() for out in clusters(x, count, rng))
    x = x.numpy().astype(np.float64)
    picks = []
    for k in range(count):
        members = np.flatnonzero(cluster == k)
        if len(members):
            squared = [np.round(np.square(x[i] - centres[k]).sum() / 2e-6) for i in members]
            picks.append(candidates[members[np.argmin(squared)]])
    others = [i for i in candidates if i not in picks]
    return np.array(picks + others[: count - len(picks)])
