"""What the references share that minimise tr(M⁻¹F): informations as dense matrices, inverses from scratch."""

import numpy as np


def gains(information, total, changes, sign):
    """By how much tr(M⁻¹F) falls if each of `changes` (n, D, D) is added to M (`sign` 1) or taken from it (−1).

    M⁻¹ − (M + s·I)⁻¹ = (M + s·I)⁻¹ (s·I) M⁻¹, which unlike a difference of two traces keeps its digits.
    """
    after = np.linalg.inv(information + sign * changes)
    return sign * np.trace(after @ changes @ (np.linalg.inv(information) @ total), axis1=1, axis2=2)


def first_best(scores):
    """The first of the scores that is the largest but for rounding."""
    return int(np.flatnonzero(scores >= scores.max() - 1e-9 * abs(scores.max()))[0])


def forward_backward(view, informations, ridge, budget):
    """BAIT's algorithm 1: add the best 2·budget one at a time, then remove all but `budget` one at a time."""
    total = informations.sum(0)
    information = ridge * np.eye(total.shape[0]) + informations[view.labelled].sum(0)
    added = []
    for _ in range(min(2 * budget, len(view.unlabelled))):
        rest = np.setdiff1d(view.unlabelled, added)
        pick = rest[first_best(gains(information, total, informations[rest], 1))]
        information = information + informations[pick]
        added.append(pick)
    while len(added) > budget:
        last_first = added[::-1]
        pick = last_first[first_best(gains(information, total, informations[last_first], -1))]
        information = information - informations[pick]
        added.remove(pick)
    return np.array(added)
