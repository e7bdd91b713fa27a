import numpy as np

from references._fisher import forward_backward

SAME_PICKS = True


def select(view, budget, config, rng):
    p = view.probabilities.max(1)
    informations = np.einsum("n,ni,nj->nij", p * (1 - p), view.features, view.features)
    return forward_backward(view, informations, config.ridge, budget)
