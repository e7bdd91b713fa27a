"""Plain one-at-a-time references: what the strategies must pick, written for reading and not for speed.

Each takes the whole pool as arrays, `features` (N, d) and `probabilities` (N, K), computes in the type of these, and
returns the picks as (budget,) indices into the pool in pick order. Of equal scores the lower index comes first.
"""

import numpy as np


def _unlabelled(features, labelled):
    return np.setdiff1d(np.arange(len(features)), labelled)


def _smallest(scores, features, labelled, budget):
    unlabelled = _unlabelled(features, labelled)
    return np.array(sorted(unlabelled, key=lambda i: (scores[i], i))[:budget])


def random(features, probabilities, labelled, budget, rng):
    return rng.choice(_unlabelled(features, labelled), budget, replace=False)


def confidence(features, probabilities, labelled, budget, rng):
    return _smallest(probabilities.max(1), features, labelled, budget)


def margin(features, probabilities, labelled, budget, rng):
    ordered = np.sort(probabilities, axis=1)
    return _smallest(ordered[:, -1] - ordered[:, -2], features, labelled, budget)


def entropy(features, probabilities, labelled, budget, rng):
    p = probabilities.astype(np.float64)
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0)
    # Rounded, so that rows which differ only in the order of the classes are equal.
    return _smallest(terms.sum(1).astype(np.float32), features, labelled, budget)


def coreset(features, probabilities, labelled, budget, rng):
    norms = np.square(features).sum(1)

    def distance_to(i):
        return np.maximum(norms + norms[i] - 2 * (features @ features[i]), 0)

    nearest = np.full(len(features), np.inf, dtype=features.dtype)
    for i in labelled:
        np.minimum(nearest, distance_to(i), out=nearest)
    nearest[labelled] = -1
    picks = []
    for _ in range(budget):
        pick = int(nearest.argmax())
        picks.append(pick)
        np.minimum(nearest, distance_to(pick), out=nearest)
        nearest[pick] = -1
    return np.array(picks)


def badge(features, probabilities, labelled, budget, rng):
    unlabelled = _unlabelled(features, labelled)
    v, q = features[unlabelled], probabilities[unlabelled].copy()
    q[np.arange(len(q)), q.argmax(1)] -= 1
    norms = np.square(v).sum(1) * np.square(q).sum(1)
    picks = [int(norms.argmax())]
    nearest = np.full(len(v), np.inf, dtype=v.dtype)
    while len(picks) < budget:
        i = picks[-1]
        np.minimum(nearest, np.maximum(norms + norms[i] - 2 * (v @ v[i]) * (q @ q[i]), 0), out=nearest)
        nearest[picks] = 0
        weights = nearest.astype(np.float64)
        if weights.sum() == 0:
            weights[:] = 1
            weights[picks] = 0
        picks.append(int(rng.choice(len(v), p=weights / weights.sum())))
    return unlabelled[picks]
