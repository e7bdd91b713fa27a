import numpy as np

from references import smallest

SAME_PICKS = True


def select(view, budget, config, rng):
    p = view.probabilities
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)
    # Rounded, so that rows which differ only in the order of the classes are equal.
    return smallest(view, terms.sum(1).astype(np.float32), budget)
