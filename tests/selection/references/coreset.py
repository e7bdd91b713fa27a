import numpy as np

SAME_PICKS = True


def select(view, budget, config, rng):
    x = view.features
    norms = np.square(x).sum(1)

    def distance_to(i):
        return np.maximum(norms + norms[i] - 2 * (x @ x[i]), 0)

    nearest = np.full(len(x), np.inf)
    for i in view.labelled:
        np.minimum(nearest, distance_to(i), out=nearest)
    nearest[view.labelled] = -1
    picks = []
    for _ in range(budget):
        pick = int(nearest.argmax())
        picks.append(pick)
        np.minimum(nearest, distance_to(pick), out=nearest)
        nearest[pick] = -1
    return np.array(picks)
