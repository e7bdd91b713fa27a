import numpy as np

SAME_PICKS = False


def select(view, budget, config, rng):
    v, q = view.features[view.unlabelled], view.probabilities[view.unlabelled]
    q[np.arange(len(q)), q.argmax(1)] -= 1
    norms = np.square(v).sum(1) * np.square(q).sum(1)
    picks = [int(norms.argmax())]
    nearest = np.full(len(v), np.inf)
    while len(picks) < budget:
        i = picks[-1]
        np.minimum(nearest, np.maximum(norms + norms[i] - 2 * (v @ v[i]) * (q @ q[i]), 0), out=nearest)
        nearest[picks] = 0
        weights = nearest.copy()
        if weights.sum() == 0:
            weights[:] = 1
            weights[picks] = 0
        picks.append(int(rng.choice(len(v), p=weights / weights.sum())))
    return view.unlabelled[picks]
