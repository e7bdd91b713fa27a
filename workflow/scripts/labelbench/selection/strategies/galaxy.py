"""GALAXY: bisection between differently labelled neighbours in the order of a class (Zhang et al. 2022)."""

from dataclasses import dataclass

import numpy as np

from labelbench.common.progress import track
from labelbench.selection.pool import Pool
from labelbench.selection.strategies._one_vs_rest import orders

USES = ("probabilities", "labels")
SEQUENTIAL = True


@dataclass(frozen=True)
class Config:
    """No settings."""


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: an order of all examples for each class."""
    return sizes.probabilities(sizes.examples) + 8 * sizes.classes * (sizes.labelled + sizes.budget)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator, oracle) -> np.ndarray:
    """Indices of `budget` unlabelled examples: (budget,) int64, in pick order; each is bought before the next is made.

    Every class k has a linear graph: all examples, labelled ones too, in its one-vs-rest order (`_one_vs_rest.orders`),
    each joined to the next. For each pick a class is drawn uniformly. A cut of its graph is a pair of labelled examples
    with no labelled one between them, of which exactly one is labelled k.

    * Where cuts have unlabelled examples between them, the pick is the middle of the shortest such run (of equally
      short ones the run nearer the confident end; of two middles the one nearer that end).
    * Where all cuts are closed, it is the unlabelled example nearest to a cut, counted in steps to the cut's farther
      end; of two equally near, the one nearer the confident end. The paper adds edges between examples 2, 3, ... steps
      apart until there is a path again, which comes to the same.
    * Where there is no cut, it is any unlabelled example, uniformly.

    The shortest path is sought in one class, drawn at random, as in LabelBench. Where all cuts are closed LabelBench
    counts only those that go from "not k" up to k, and picks at random where there are none; the paper, and this, count
    both kinds. LabelBench also reads true labels where the annotated ones are noisy; this knows what the oracle
    answered.

    Draws: `rng.integers(K)` for each pick; where there is no cut, then `rng.choice` of the unlabelled, ascending.
    O(KN log N + budget·N) time for N = L + U, where the last N is one comparison of integers; 4·K·(N + L + budget)
    bytes. Raises UserError if fewer than `budget` examples are unlabelled.
    Zhang, Katz-Samuels & Nowak, "GALAXY: graph-based active learning at the extreme", ICML 2022, the multi-class
    algorithm; Dasarathy, Nowak & Zhu, "S2: an efficient graph based active learning algorithm", COLT 2015, algorithm 1.
    """
    pool.check_budget(budget)
    indices = np.union1d(pool.labelled, pool.unlabelled)
    ranks = orders(pool, indices)
    for row in ranks:
        order = row.copy()
        row[order] = np.arange(len(order), dtype=np.int32)

    known = len(pool.labelled)
    labelled, labels = np.empty((2, known + budget), dtype=np.int64)
    labelled[:known], labels[:known] = np.searchsorted(indices, pool.labelled), pool.labels
    unlabelled = np.ones(len(indices), dtype=bool)
    unlabelled[labelled[:known]] = False
    # Of the labels a class knew when it was drawn last, rank and answer as one integer: sorted, they stay together.
    keys = [np.empty(0, dtype=np.int32)] * pool.num_classes
    with track(budget, "GALAXY") as progress:
        for now in range(known, known + budget):
            k = rng.integers(pool.num_classes)
            since = slice(len(keys[k]), now)
            new = 2 * ranks[k][labelled[since]] + (labels[since] == k)
            new.sort()
            keys[k] = np.sort(np.append(keys[k], new), kind="stable")  # merges two sorted runs
            rank = _query(keys[k] >> 1, keys[k] & 1, len(indices))
            pick = rng.choice(np.flatnonzero(unlabelled)) if rank is None else (ranks[k] == rank).argmax()
            labelled[now], labels[now] = pick, oracle.buy(indices[pick])[0]
            unlabelled[pick] = False
            progress.update()
    return indices[labelled[known:]]


def _query(ranks, answers, n):
    """Rank to query in a graph of `n` examples, whose labelled ones have ascending `ranks` and `answers`, or None."""
    cuts = np.flatnonzero(answers[1:] != answers[:-1])
    if not len(cuts):
        return None
    steps = ranks[cuts + 1] - ranks[cuts]
    if steps.max() > 1:
        shortest = cuts[np.where(steps > 1, steps, n).argmin()]
        return (ranks[shortest] + ranks[shortest + 1]) // 2
    # Cuts are closed, so each lies in a block of labelled neighbours, and the unlabelled ends of the block are nearest.
    ends = np.append(np.flatnonzero(np.diff(ranks) > 1), len(ranks) - 1)
    block = np.searchsorted(ends, cuts)
    before, after = ranks[np.append(0, ends[:-1] + 1)][block] - 1, ranks[ends][block] + 1
    candidates = np.stack([before, after])
    away = np.stack([ranks[cuts + 1] - before, after - ranks[cuts]])
    away[(candidates < 0) | (candidates >= n)] = n + 1
    return candidates[away == away.min()].min()
