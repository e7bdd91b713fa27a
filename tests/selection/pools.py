"""Pools for the tests of strategies, and how a strategy and its plain reference select from them."""

import numpy as np
import torch
from hypothesis import strategies as st
from scipy import stats

import references
from labelbench.common import registry
from labelbench.data.oracle import Oracle
from labelbench.selection.pool import Head, Pool

NAMES = registry.names("strategies")
SEQUENTIAL = [n for n in NAMES if getattr(registry.load("strategies", n), "SEQUENTIAL", False)]
UPPER_BOUNDS = [n for n in NAMES if getattr(registry.load("strategies", n), "UPPER_BOUND", False)]


# Settings of strategies that would take minutes in hundreds of small pools.
FEWER = {"refine": {"depth": 2, "proposals": 9}, "oracle": {"candidates": 16}}


def truth_of(features, num_classes):
    """True labels (N,) that nobody chose by hand: the same for the same shape."""
    return np.random.default_rng(len(features)).integers(num_classes, size=len(features))


def head_of(features, num_classes):
    """Weight (K, d) and bias (K,) of whole numbers, the same for the same shape."""
    rng = np.random.default_rng(features.shape[1])
    weight = rng.integers(-2, 3, size=(num_classes, features.shape[1])).astype(np.float32)
    return weight, rng.integers(-1, 2, size=num_classes).astype(np.float32)


def run(name, features, probabilities, labelled, budget, seed=0, chunk_size=8192, truth=None, head=None, **settings):
    """Picks of a strategy from (N, d) features and (N, K) probabilities; `truth` (N,) and `head` default to the above.

    `settings` are those of its Config. Of a sequential strategy, checks that it bought what it picked, in that order.
    """
    k = probabilities.shape[1]
    module, settings = registry.load("strategies", name), FEWER.get(name, {}) | settings
    truth = truth_of(features, k) if truth is None else truth
    weight, bias = head_of(features, k) if head is None else head
    pool = Pool.from_arrays(
        features,
        probabilities,
        labelled,
        truth[np.asarray(labelled, dtype=np.int64)],
        head=Head(torch.as_tensor(weight), torch.as_tensor(bias)),
        chunk_size=chunk_size,
    )
    extra, oracle = {}, Oracle(truth, budget)
    if name in SEQUENTIAL:
        extra["oracle"] = oracle
    if name in UPPER_BOUNDS:
        extra["true_labels"] = truth
    picks = module.select(pool, budget, module.Config(**settings), np.random.default_rng(seed), **extra)
    if name in SEQUENTIAL:
        assert oracle.bought == picks.tolist()
    return picks


def expect(name, features, probabilities, labelled, budget, seed=0, truth=None, head=None, **settings):
    """Picks of the plain reference for the same arguments, in float64."""
    k = probabilities.shape[1]
    truth = truth_of(features, k) if truth is None else truth
    weight, bias = head_of(features, k) if head is None else head
    labelled = np.asarray(labelled, dtype=np.int64)
    features, probabilities, weight, bias = (x.astype(np.float64) for x in (features, probabilities, weight, bias))
    view = references.View(features, probabilities, labelled, truth[labelled], k, weight, bias)
    extra = {}
    if name in SEQUENTIAL:
        extra["oracle"] = lambda index: int(truth[index])
    if name in UPPER_BOUNDS:
        extra["true_labels"] = truth
    config = registry.load("strategies", name).Config(**FEWER.get(name, {}) | settings)
    return references.load(name).select(view, budget, config, np.random.default_rng(seed), **extra)


def blobs(n=400, k=5, d=8, labelled=20, seed=0, sharpness=1.0):
    """A pool without structure: normal features, softmax of normal logits, the indices of some labelled examples."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((n, k))
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    features = rng.standard_normal((n, d))
    return features.astype(np.float32), probabilities.astype(np.float32), rng.choice(n, labelled, replace=False)


def classes(n=300, k=4, d=6, labelled=12, seed=0, spread=1.5):
    """A pool as a linear model sees it: Gaussian classes of unequal size, whose truth a head knows more or less.

    Returns the positional arguments of `run` before the budget, and a dict of its `truth` and `head`.
    """
    rng = np.random.default_rng(seed)
    truth = rng.choice(k, size=n, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())
    means = spread * rng.standard_normal((k, d))
    features = (means[truth] + rng.standard_normal((n, d))).astype(np.float32)
    weight = (means + 0.3 * rng.standard_normal((k, d))).astype(np.float32)
    bias = (-0.5 * np.square(means).sum(1)).astype(np.float32)
    probabilities = (torch.tensor(features) @ torch.tensor(weight).T + torch.tensor(bias)).softmax(1).numpy()
    chosen = rng.choice(n, labelled, replace=False)
    return (features, probabilities, chosen), {"truth": truth, "head": (weight, bias)}


@st.composite
def small_pools(draw):
    """Pools with everything that is awkward: copies, ties, zero features, saturated rows, K = 2, all that is left.

    Returns the positional arguments of `run`, the budget last. Often whole classes have no label yet.
    """
    n, k, d = draw(st.integers(2, 30)), draw(st.integers(2, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features = rng.integers(-2, 3, size=(n, d)).astype(np.float32)
    # Sixteenths: exact in float32, full of ties, with zeros and ones among them.
    cuts = np.sort(rng.integers(0, 17, size=(n, k - 1)), axis=1)
    probabilities = np.diff(cuts, axis=1, prepend=0, append=16).astype(np.float32) / 16
    if draw(st.booleans()):
        rows = rng.integers(draw(st.integers(1, n)), size=n)
        features, probabilities = features[rows], probabilities[rows]
    labelled = rng.choice(n, draw(st.integers(0, n - 1)), replace=False)
    left = n - len(labelled)
    return features, probabilities, labelled, draw(st.one_of(st.just(left), st.integers(1, left)))


def goodness_of_fit(draws, expected):
    """p-value of χ² over all outcomes, those expected fewer than 5 times taken together; 0 for an impossible draw."""
    outcomes = sorted(expected)
    at = {outcome: i for i, outcome in enumerate(outcomes)}
    if not set(draws) <= set(at):
        return 0.0
    counts = np.bincount([at[d] for d in draws], minlength=len(outcomes))
    means = np.array([expected[o] for o in outcomes]) * len(draws)
    rare = means < 5
    counts, means = (np.append(x[~rare], x[rare].sum()) for x in (counts, means))
    if means[-1] == 0:
        counts, means = counts[:-1], means[:-1]
    return stats.chisquare(counts, means).pvalue
