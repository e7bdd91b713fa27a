import numpy as np

SAME_PICKS = True


def select(view, budget, config, rng):
    p = view.probabilities[view.unlabelled]
    ordered = np.sort(p, axis=1)
    u = 1 - (ordered[:, -1] - ordered[:, -2])
    d = u.copy()
    picks = []
    while True:
        relevance = (u + d) ** config.gamma
        relevance[picks] = 0
        if relevance.sum() > 0:
            steps = np.cumsum(relevance)
            where = rng.random() * steps[-1]
            picks.append(next(i for i in range(len(p)) if where < steps[i]))
        else:
            picks.append(rng.choice([i for i in range(len(p)) if i not in picks]))
        if len(picks) == budget:
            return view.unlabelled[picks]
        d = np.minimum(d, np.round(np.abs(p - p[picks[-1]]).sum(1) * 2.0**34) / 2.0**34)
        d = (d - d.min()) / (np.ptp(d) if np.ptp(d) > 0 else 1)
