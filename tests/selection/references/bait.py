import numpy as np
from scipy.linalg import helmert

from references._fisher import first_best, gains

SAME_PICKS = True


def select(view, budget, config, rng):
    x = view.features - view.features.mean(0)
    _, spread, directions = np.linalg.svd(x, full_matrices=False)
    scale = np.sqrt(np.square(view.features).sum())
    x = x @ directions[: config.pca_dim][spread[: config.pca_dim] > 1e-7 * scale].T
    p = view.probabilities / view.probabilities.sum(1, keepdims=True)
    q = helmert(view.num_classes).T
    variances = [q.T @ (np.diag(row) - np.outer(row, row)) @ q for row in p]
    informations = np.array([np.kron(v, np.outer(row, row)) for v, row in zip(variances, x, strict=True)])
    total = informations.sum(0)

    order = rng.permutation(view.unlabelled)
    batch, rest = order[:budget], order[budget:]
    if len(rest) == 0 or np.trace(total) == 0:
        return batch
    size = len(view.labelled) + budget
    ridge = config.ridge * np.trace(total) / len(total) * size / len(x)
    for at in list(range(budget)) * config.swaps:
        drawn = rng.choice(len(rest), min(config.num_proposals, len(rest)), replace=False)
        others = np.concatenate([view.labelled, np.delete(batch, at)])
        information = ridge * np.eye(len(total)) + informations[others].sum(0)
        choices = np.append(batch[at], rest[drawn])
        best = first_best(gains(information, total, informations[choices], 1))
        if best > 0:
            batch[at], rest[drawn[best - 1]] = rest[drawn[best - 1]], batch[at]
    return batch
