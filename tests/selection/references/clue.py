import numpy as np
import torch

from labelbench.selection import clustering
from references._representatives import nearest_to_centres

SAME_PICKS = True


def select(view, budget, config, rng):
    candidates = view.unlabelled
    p = view.probabilities[candidates] ** (1 / config.temperature)
    p /= p.sum(1, keepdims=True)
    entropy = np.array([-sum(q * np.log(q) for q in row if q > 0) for row in p])
    weights = torch.tensor(np.round(entropy * 2.0**30) / 2.0**30)
    if weights.max() == 0:
        return nearest_to_centres(view, candidates, budget, rng)

    def clusters(x, count, rng):
        return clustering.weighted_k_means(x, weights, count, rng)

    return nearest_to_centres(view, candidates, budget, rng, clusters)
