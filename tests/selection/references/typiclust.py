import numpy as np
import torch

from labelbench.selection import clustering

SAME_PICKS = True


def select(view, budget, config, rng):
    number = len(view.labelled) + budget
    x = torch.nn.functional.normalize(torch.tensor(view.features, dtype=torch.float32), dim=1)
    # The clustering itself is the library's, with tests of its own.
    cluster = clustering.k_means(x, number, rng)[1].numpy()
    x = x.numpy().astype(np.float64)
    unlabelled = set(view.unlabelled)
    picks = []
    sizes = [np.sum(cluster == k) for k in range(number)]
    labelled = [np.sum(cluster[view.labelled] == k) for k in range(number)]
    while len(picks) < budget:
        for k in sorted(range(number), key=lambda k: (labelled[k], -sizes[k], k)):
            members = np.flatnonzero(cluster == k)
            free = [i for i in members if i in unlabelled and i not in picks]
            if free and len(picks) < budget:
                picks.append(min(free, key=lambda i: (mean_distance(x, i, members, config.neighbours), i)))
    return np.array(picks)


def mean_distance(x, i, members, neighbours):
    others = members[members != i]
    if not len(others):
        return 0
    return np.round(np.sort(np.sqrt(np.square(x[others] - x[i]).sum(1)))[:neighbours].mean(), 6)
