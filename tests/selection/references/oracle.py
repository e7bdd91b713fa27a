import warnings

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from labelbench.common import registry
from labelbench.selection.pool import Head, Pool

# The refits here are those of scikit-learn, run to convergence; ties between candidates differ.
SAME_PICKS = False


def select(view, budget, config, rng, true_labels):
    unlabelled = view.unlabelled
    evaluated = rng.choice(unlabelled, min(config.evaluated, len(unlabelled)), replace=False)
    batches = []
    for proposal in range(config.candidates):
        name = config.strategies[proposal % len(config.strategies)]
        subset = rng.choice(unlabelled, max(budget, min(config.subset, len(unlabelled) // 2)), replace=False)
        batches.append(propose(view, name, np.sort(subset), budget, rng, true_labels))
    scores = [accuracy(view, batch, evaluated, true_labels) for batch in batches]
    return batches[int(np.argmax(scores))]


def propose(view, name, subset, budget, rng, true_labels):
    module = registry.load("strategies", name)
    pool = Pool(
        labelled=view.labelled,
        labels=view.labels,
        unlabelled=subset,
        num_classes=view.num_classes,
        embed=lambda indices: view.features[indices],
        classify=lambda indices, _: view.probabilities[indices],
        head=Head(torch.tensor(view.weight).float(), torch.tensor(view.bias).float()),
    )
    extra = {"true_labels": true_labels} if name in ("typiclass", "dropquery_class") else {}
    return module.select(pool, budget, module.Config(), rng, **extra)


def accuracy(view, batch, evaluated, true_labels):
    both = view.features[np.append(view.labelled, evaluated)]
    x = (view.features - both.mean(0)) / np.where(both.std(0) > 0, both.std(0), 1)
    x = np.column_stack([x, np.ones(len(x))])
    known = np.append(view.labels, true_labels[batch])
    left = np.setdiff1d(evaluated, batch)
    if len(left) == 0:
        return 0.0
    if len(set(known)) == 1:
        return np.mean(true_labels[left] == known[0])
    model = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-8, max_iter=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x[np.append(view.labelled, batch)], known)
    return np.mean(model.predict(x[left]) == true_labels[left])
