import numpy as np

from references._representatives import nearest_to_centres

SAME_PICKS = True


def candidates(view, budget, config, rng):
    changed = {}
    for i in view.unlabelled:
        x = view.features[i]
        predicted = np.argmax(view.weight @ x + view.bias)
        changed[i] = 0
        for draws in rng.random((config.passes, len(x)), dtype=np.float32):
            dropped = np.where(draws < config.dropout, 0, x) / (1 - config.dropout)
            changed[i] += np.argmax(view.weight @ dropped + view.bias) != predicted
    for threshold in range(config.passes // 2, -1, -1):
        found = [i for i in view.unlabelled if changed[i] > threshold]
        if len(found) >= 25 * budget:
            break
    return np.array(found, dtype=np.int64)


def select(view, budget, config, rng):
    found = candidates(view, budget, config, rng)
    if len(found) < budget:
        others = np.setdiff1d(view.unlabelled, found)
        return np.append(found, rng.choice(others, budget - len(found), replace=False)).astype(np.int64)
    return nearest_to_centres(view, found, budget, rng)
