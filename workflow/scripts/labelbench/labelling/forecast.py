"""How many labels a target will need: a range from the audit of all models so far, or nothing where it cannot be told.

The error of a model is taken for a power law over a floor, error(n) = c + a n^−b, of its training labels n (Viering &
Loog, "The shape of learning curves", 2021, arXiv 2103.10948). A hundred audit images tell little of three numbers, so
what they leave open is drawn: the images by a Bayesian bootstrap (Rubin 1981), which keeps that all models were judged
on the same ones, the floor and the exponent from what learning curves usually show. The range is that of the labels
over all draws; most of its width is honest ignorance.
"""

import math
from typing import NamedTuple

import numpy as np

# Set by campaigns on digits and Fashion-MNIST, so that ranges hold the truth; checked on others (docs/measured.md).
FLOOR = 0.5  # of the present error, at most, that no label will mend: the share is drawn uniformly up to here
EXPONENT = 1.0, 0.6  # mean and deviation of b before anything is seen
JITTER = 0.25  # deviation of a model's log error around its curve: training from scratch
DRAWS = 20_000
ENOUGH = 100.0  # weight of all draws together, below which they contradict all that is known of learning curves
SEEN = 5  # wrong images of the audit at the target, below which its luck decides whether the target seems reached
AHEAD = 4  # times the labels so far, beyond which a curve says nothing


class Forecast(NamedTuple):
    """Training labels in all at which the target is reached. high None: not within what can be looked ahead to."""

    low: int
    high: int | None


def labels_to(target, labels, hits, most, rng, coverage=0.8):
    """The `Forecast` of the training labels at which accuracy reaches `target` (a share), or None for "cannot tell".

    labels: (R,) training labels of the models so far, rising; hits: (R, n) bool, which of n audit images each had
    right; most: training labels that there could be at all; coverage: of the range. None is said where fewer than
    two numbers of labels were judged, where the audit would have fewer than `SEEN` images wrong at the target, and
    where the range goes from the present labels to beyond `AHEAD` times as many.
    """
    labels, hits = np.asarray(labels, float), np.asarray(hits, bool)
    if len(labels) < 2 or labels[0] == labels[-1] or hits.shape[1] * (1 - target) < SEEN:
        return None
    now = int(labels[-1])
    reach = min(AHEAD * now, most)
    needed, weights = _reached(1 - target, labels, ~hits, rng)
    if weights.sum() < ENOUGH:
        return None
    low, high = _quantiles(needed, weights, [(1 - coverage) / 2, (1 + coverage) / 2])
    low, high = max(now, math.floor(min(low, reach))), None if high > reach else max(now, math.ceil(high))
    return None if high is None and low <= now else Forecast(low, high)


def _reached(error, labels, wrong, rng):
    """(labels (DRAWS,) at which curves have this error, infinite where their floor is above it; weights (DRAWS,))."""
    # An image that all have right and one that all have wrong, half of each: no error is drawn as 0.
    wrong = np.concatenate([wrong, np.zeros((len(labels), 1), bool), np.ones((len(labels), 1), bool)], axis=1)
    shares = rng.gamma([1.0] * (wrong.shape[1] - 2) + [0.5, 0.5], size=(DRAWS, wrong.shape[1]))
    errors = np.maximum((shares @ wrong.T) / shares.sum(1, keepdims=True), 1e-9)
    floor = rng.uniform(0, FLOOR, DRAWS) * errors.min(1)
    log_error = np.log(errors - floor[:, None])
    # A least-squares line through log error over log n, whose value now and slope err by the bootstrap and by JITTER.
    x = np.log(labels / labels[-1])
    centred = x - x.mean()
    square = (centred**2).sum()
    exponent = -(log_error @ centred) / square + rng.normal(size=DRAWS) * JITTER / math.sqrt(square)
    middle = log_error.mean(1) + rng.normal(size=DRAWS) * JITTER / math.sqrt(len(labels))
    now = middle + exponent * x.mean()
    mean, deviation = EXPONENT
    weights = np.where(exponent > 0, np.exp(-((exponent - mean) ** 2) / (2 * deviation**2)), 0.0)
    needed = np.full(DRAWS, np.inf)
    reachable = (error > floor) & (exponent > 0)
    steps = (now[reachable] - np.log(error - floor[reachable])) / exponent[reachable]
    needed[reachable] = labels[-1] * np.exp(np.minimum(steps, 50))
    return needed, weights


def _quantiles(values, weights, shares):
    """Weighted quantiles of `values` (n,)."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return [values[order][np.searchsorted(below, share * below[-1])] for share in shares]


def sentence(forecast, now, target):
    """What a `Forecast` amounts to for a reader. now: training labels so far; target: a share."""
    told = f"Labels to {100 * target:g} %"
    if forecast is None:
        return f"{told}: cannot tell yet."
    if forecast.high is None:
        return f"{told}: at least {forecast.low - now} more, perhaps more than can be looked ahead to (80 % range)."
    if forecast.high <= now:
        return f"{told}: the model may be there already; more audit answers would show it."
    if forecast.low <= now:
        return f"{told}: at most {forecast.high - now} more, at the present strategy (80 % range)."
    low, high = forecast.low - now, forecast.high - now
    return f"{told}: {low} to {high} more, at the present strategy (80 % range)."
