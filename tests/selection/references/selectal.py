import warnings

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from labelbench.selection import clustering
from labelbench.selection.strategies.typiclust import Config as TypiclustConfig
from references import badge, random, typiclust
from references._coverage import unit

# The refits here are those of scikit-learn, run to convergence, without classes that have no label.
SAME_PICKS = False


def select(view, budget, config, rng):
    kind = kind_missed_most(view, config, rng) if len(view.labelled) > 2 else "typical"
    reference, config = {
        "typical": (typiclust, TypiclustConfig()),
        "atypical": (badge, None),
        "any": (random, None),
    }[kind]
    return reference.select(view, budget, config, rng)


def kind_missed_most(view, config, rng):
    x, y = view.features[view.labelled], view.labels
    z = unit(x)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    x = np.column_stack([x, np.ones(len(x))])
    right = {"typical": 0, "atypical": 0, "any": 0}
    for held_out in np.array_split(rng.permutation(len(x)), min(config.folds, len(x))):
        kept = [i for i in range(len(x)) if i not in held_out]
        clusters = min(max(round(config.share * len(kept)), 1), len(kept) - 1)
        # The clustering itself is the library's, with tests of its own.
        cluster = clustering.k_means(torch.tensor(z[kept], dtype=torch.float32), clusters, rng)[1].numpy()
        lost = {"typical": [], "atypical": []}
        for k in sorted(set(cluster)):
            members = [i for i, own in zip(kept, cluster, strict=True) if own == k]
            total = {i: np.round(sum(np.linalg.norm(z[i] - z[j]) for j in members), 6) for i in members}
            lost["typical"].append(min(members, key=lambda i: (total[i], i)))
            lost["atypical"].append(min(members, key=lambda i: (-total[i], i)))
        lost["any"] = np.array(kept)[rng.choice(len(kept), len(lost["typical"]), replace=False)]
        for kind, gone in lost.items():
            right[kind] += hits(x, y, [i for i in kept if i not in gone], held_out)
    fewest = [kind for kind in right if right[kind] == min(right.values())]
    return fewest[0] if len(fewest) == 1 else "any"


def hits(x, y, rows, held_out):
    if len(set(y[rows])) == 1:
        return np.sum(y[held_out] == y[rows][0])
    model = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-8, max_iter=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x[rows], y[rows])
    return np.sum(model.predict(x[held_out]) == y[held_out])
