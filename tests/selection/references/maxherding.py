import numpy as np

from references._coverage import greedy

SAME_PICKS = True


def select(view, budget, config, rng):
    return greedy(view, budget, lambda d2: np.exp(-d2 / config.sigma**2), np.ones(len(view.features)), rng)
