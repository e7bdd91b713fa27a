"""What the references share that cover the pool greedily."""

import numpy as np


def unit(x):
    norms = np.sqrt(np.square(x).sum(1, keepdims=True))
    return x / np.where(norms > 0, norms, 1)


def squared_distances(x, y):
    return np.square(x[:, None] - y).sum(2)


def greedy(view, budget, kernel, weights, rng):
    """Greedy maximisation of Σ_i weights_i max over s of k(i, s); `kernel` takes squared distances.

    weights: (N,) of all examples. Gains are rounded, so that ties are ties; without any the rest is drawn uniformly.
    """
    x = unit(view.features)
    k = kernel(squared_distances(x, x))
    covered = np.zeros(len(x))
    for i in view.labelled:
        covered = np.maximum(covered, k[i])
    grid = 2.0**-34 * weights[view.unlabelled].sum()
    picks = []
    while len(picks) < budget:
        gains = np.array([(weights * np.maximum(k[i] - covered, 0)).sum() for i in view.unlabelled])
        gains = np.round(gains / max(grid, 1e-40))
        gains[np.isin(view.unlabelled, picks)] = 0
        if gains.max() <= 0:
            break
        picks.append(view.unlabelled[gains.argmax()])
        covered = np.maximum(covered, k[picks[-1]])
    rest = np.setdiff1d(view.unlabelled, picks)
    return np.append(np.array(picks, dtype=np.int64), rng.choice(rest, budget - len(picks), replace=False))
