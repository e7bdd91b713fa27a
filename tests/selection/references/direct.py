import math

import numpy as np

from references.galaxy import one_vs_rest_order

SAME_PICKS = True


def select(view, budget, config, rng, oracle):
    k_all = view.num_classes
    orders = [one_vs_rest_order(view, k) for k in range(k_all)]
    labels = dict(zip(view.labelled.tolist(), view.labels.tolist(), strict=True))
    counts = [view.labels.tolist().count(k) for k in range(k_all)]
    picks = []

    def buy(example):
        picks.append(example)
        labels[example] = oracle(example)

    searched = k_all
    while searched and budget // 2 < searched * config.min_budget_per_class:
        searched -= 1
    for k in sorted(range(k_all), key=lambda k: (counts[k], k))[:searched]:
        reduce_version_space(orders[k], k, labels, budget // 2 // searched, config.parallel_labels, rng, buy)

    left = budget - len(picks)
    for turn, k in enumerate(rng.permutation(k_all)):
        share = left * (turn + 1) // k_all - left * turn // k_all
        order = orders[k]
        threshold = middle_best({j: loss(order, k, labels, j) for j in range(len(order) + 1)})
        by_distance = [p for step in range(len(order)) for p in (threshold - 1 - step, threshold + step)]
        nearest = [order[p] for p in by_distance if 0 <= p < len(order) and order[p] not in labels]
        for example in nearest[:share]:
            buy(example)
    return np.array(picks)


def loss(order, k, labels, threshold):
    """Labelled examples that the threshold gets wrong."""
    return sum((labels[i] == k) != (p < threshold) for p, i in enumerate(order) if i in labels)


def middle_best(losses):
    """The key of smallest loss, of equal ones the middle one."""
    smallest = min(losses.values())
    best = sorted(key for key in losses if losses[key] == smallest)
    return best[(len(best) - 1) // 2]


def reduce_version_space(order, k, labels, budget, parallel, rng, buy):
    """Algorithm 2 (VReduce)."""
    n = len(order)
    answers = [bool(labels[i] == k) if i in labels else None for i in order]
    low = max([p + 1 for p in range(n) if answers[p] and False not in answers[:p]], default=0)
    high = min([p for p in range(n) if answers[p] is False and True not in answers[p:]], default=n)
    rounds = math.ceil(budget / parallel)
    start = high - low
    while budget > 0:
        candidates = [p for p in range(low, high) if order[p] not in labels]
        if not candidates:
            return
        for p in rng.choice(candidates, min(parallel, budget, len(candidates)), replace=False):
            buy(order[p])
            budget -= 1
        length = math.ceil((high - low) / start ** (1 / rounds))
        at_ends = {j: loss(order, k, labels, j) for j in range(low, high + 1)}
        low = middle_best({j: max(at_ends[j], at_ends[j + length]) for j in range(low, high - length + 1)})
        high = low + length
