import numpy as np

from references._representatives import nearest_to_centres

SAME_PICKS = True


def select(view, budget, config, rng):
    changed = {}
    for i in view.unlabelled:
        x = view.features[i]
        predicted = np.argmax(view.weight @ x + view.bias)
        changed[i] = 0
        for draws in rng.random((config.passes, len(x)), dtype=np.float32):
            dropped = np.where(draws < config.dropout, 0, x) / (1 - config.dropout)
            changed[i] += np.argmax(view.weight @ dropped + view.bias) != predicted
    for threshold in range(config.passes // 2, -1, -1):
        candidates = [i for i in view.unlabelled if changed[i] > threshold]
        if len(candidates) >= 25 * budget:
            break
    if len(candidates) < budget:
        others = [i for i in view.unlabelled if i not in candidates]
        return np.append(candidates, rng.choice(others, budget - len(candidates), replace=False)).astype(np.int64)
    return nearest_to_centres(view, np.array(candidates), budget, rng)
