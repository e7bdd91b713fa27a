import numpy as np

from references import dropquery, typiclass

SAME_PICKS = True


def select(view, budget, config, rng, true_labels):
    candidates = dropquery.candidates(view, budget, config, rng)
    if len(candidates) < budget:
        others = np.setdiff1d(view.unlabelled, candidates)
        return np.append(candidates, rng.choice(others, budget - len(candidates), replace=False)).astype(np.int64)
    return typiclass.central(view, candidates, budget, true_labels)
