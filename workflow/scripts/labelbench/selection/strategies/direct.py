"""DIRECT: labels near the threshold that best separates each class from the rest (Nuggehalli et al. 2025)."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from labelbench.common.progress import track
from labelbench.selection.pool import Pool
from labelbench.selection.strategies._one_vs_rest import orders

USES = ("probabilities", "labels")
SEQUENTIAL = True


@dataclass(frozen=True)
class Config:
    """parallel_labels: labels bought at a time in the search for a threshold (B_parallel in the paper), at least 1.

    min_budget_per_class: labels that the search for a threshold needs, at least 1. Where half of the budget does not
    give every class as many, only the classes with the fewest labels are searched.
    """

    parallel_labels: int = 20
    min_budget_per_class: int = 1

    def __post_init__(self):
        if self.parallel_labels < 1:
            raise ValueError(f"parallel_labels must be at least 1, not {self.parallel_labels}")
        if self.min_budget_per_class < 1:
            raise ValueError(f"min_budget_per_class must be at least 1, not {self.min_budget_per_class}")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: an order of all examples for each class."""
    return sizes.probabilities(sizes.examples)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator, oracle) -> np.ndarray:
    """Indices of `budget` unlabelled examples: (budget,) int64, in the order in which they are bought and used.

    All examples, labelled ones too, are put in the one-vs-rest order of each class k (`_one_vs_rest.orders`). Threshold
    j in 0 ... N calls the first j of them k and the rest not k; its loss is the number of labelled ones it gets wrong.

    1. Half of the budget, in equal parts (`Config`), goes to the classes with the fewest labels first (of equal ones to
       the lower class). The search of a class starts from the interval of thresholds between the last example that has
       only k above it and the first that has only others below it, among the labelled. It buys `parallel_labels`
       uniformly random unlabelled examples of the interval, then shrinks it to the subinterval of 1/c of its length
       with the smallest larger loss at its two ends, and so on; c is such that the last shrinking leaves length 1.
    2. The rest, in equal parts, goes to the classes in random order: to the unlabelled examples nearest to the
       threshold of smallest loss, alternately before and after it.

    Of equally good subintervals or thresholds the middle one counts (of two middles the one nearer the confident end).
    All losses are those of the labels as the oracle gives them, noisy or not.

    The paper gives every class budget/2K labels in step 1, as this does by default unless budget < 2K. The published
    numbers are those of LabelBench, which moves the worse end of the interval by one example at a time and, on ties, a
    random end; counts only unlabelled examples as length; takes the first of equally good thresholds; caps the part of
    a class in step 1 at its `min_budget_per_class` of 60, and never leaves a class out; and reads true labels where the
    annotated ones are noisy.

    Draws: for each purchase of step 1 `rng.choice` without replacement of the unlabelled positions of the interval;
    then `rng.permutation(K)`. O(KN log N + N·budget/parallel_labels) time for N = L + U, 4·K·N bytes.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Nuggehalli, Zhang, Jain & Nowak, "Improved algorithm for deep active learning under imbalance via optimal
    separation", ICML 2025 (arXiv 2312.09196), algorithms 1 and 2.
    """
    pool.check_budget(budget)
    indices = np.union1d(pool.labelled, pool.unlabelled)
    order = orders(pool, indices)
    labels = np.full(len(indices), -1, dtype=np.int32)
    labels[np.searchsorted(indices, pool.labelled)] = pool.labels
    picks = []

    with track(budget, "DIRECT") as progress:

        def answers(k):
            """1 at the positions labelled k, −1 at those labelled otherwise, 0 at the unlabelled: (N,) int8."""
            given = labels[order[k]]
            return (given == k).astype(np.int8) - ((given >= 0) & (given != k))

        def buy(k, positions):
            """Buys these positions of class k, in this order, and returns their answers as above."""
            bought = order[k][positions]
            labels[bought] = oracle.buy(indices[bought])
            picks.extend(indices[bought].tolist())
            progress.update(len(bought))
            return np.where(labels[bought] == k, 1, -1)

        half = budget // 2
        searched = min(pool.num_classes, half // config.min_budget_per_class)
        counts = np.bincount(pool.labels, minlength=pool.num_classes)
        for k in np.argsort(counts, kind="stable")[:searched]:
            _search(answers(k), half // searched, config.parallel_labels, rng, partial(buy, k))

        shares = np.diff((budget - len(picks)) * np.arange(pool.num_classes + 1) // pool.num_classes)
        for k, share in zip(rng.permutation(pool.num_classes), shares, strict=True):
            if share:
                buy(k, _around_threshold(answers(k), share))
    return np.array(picks, dtype=np.int64)


def _losses(answers):
    """Loss of every threshold, less that of threshold 0: (N + 1,) for answers (N,)."""
    return np.append(0, -np.cumsum(answers, dtype=np.int32))


def _middle_smallest(values):
    """Position of the smallest value, of equal ones the middle one, of two middles the first."""
    smallest = np.flatnonzero(values == values.min())
    return smallest[(len(smallest) - 1) // 2]


def _search(answers, budget, parallel_labels, rng, buy):
    """Step 1 for one class: spends `budget`, or less if the interval has fewer, and keeps `answers` up to date."""
    positive, negative = answers > 0, answers < 0
    # argmax finds the first; a sentinel at the end stands for there being none.
    first_negative = np.append(negative, True).argmax()
    low = first_negative - np.append(positive[:first_negative][::-1], True).argmax()
    after_last_positive = len(answers) - np.append(positive[::-1], True).argmax()
    high = after_last_positive + np.append(negative[after_last_positive:], True).argmax()

    shrinking = (high - low) ** (1 / math.ceil(budget / parallel_labels))
    while budget:
        unlabelled = low + np.flatnonzero(answers[low:high] == 0)
        if not len(unlabelled):
            break
        asked = rng.choice(unlabelled, min(parallel_labels, budget, len(unlabelled)), replace=False)
        answers[asked] = buy(asked)
        budget -= len(asked)
        length = math.ceil((high - low) / shrinking)
        losses = _losses(answers[low:high])
        low += _middle_smallest(np.maximum(losses[: len(losses) - length], losses[length:]))
        high = low + length


def _around_threshold(answers, count):
    """Positions of the `count` unlabelled examples nearest to the best threshold, nearest first."""
    threshold = _middle_smallest(_losses(answers))
    unlabelled = np.flatnonzero(answers == 0)
    at = np.searchsorted(unlabelled, threshold)
    near = unlabelled[max(at - count, 0) : at + count]
    away = np.where(near < threshold, 2 * (threshold - 1 - near), 2 * (near - threshold) + 1)
    return near[np.argsort(away)[:count]]
