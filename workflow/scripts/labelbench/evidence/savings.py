"""Label savings: how many times the labels random sampling needs for the accuracy that a strategy reaches.

Curves are averaged over trials, made non-decreasing by isotonic regression (more labels never hurt on average) and read
off in log labels. Nothing here is a running maximum, which would count a lucky round for all that follow it.
"""

import math
from dataclasses import dataclass

import numpy as np

from labelbench.evidence import statistics

DRAWS = 4096  # of the bootstrap
LEVELS = 16  # accuracies that a geometric mean averages over
_BLOCK = 4_000_000  # numbers that isotonic regression holds at once


@dataclass(frozen=True)
class Bounded:
    """A number that may be known only from one side: sign ">" means more than `value`, "<" less, "" exactly."""

    value: float
    sign: str = ""

    def __str__(self):
        """As tables in CSV have it: six digits; nothing for NaN."""
        return "" if math.isnan(self.value) else f"{self.sign}{self.value:.6g}"


UNKNOWN = Bounded(math.nan)


@dataclass(frozen=True)
class Savings:
    """Label savings of a strategy over random sampling (`label_savings`)."""

    target: float  # the accuracy at which labels are compared
    reached: bool  # whether it is random's final accuracy
    factor: Bounded  # labels random needs / labels the strategy needs for `target`
    low: Bounded
    high: Bounded
    random_labels: Bounded  # labels random needs for the strategy's own final accuracy
    mean: Bounded  # geometric mean of the factor over accuracies
    mean_low: Bounded
    mean_high: Bounded


@dataclass(frozen=True)
class SavingsCurve:
    """The savings factor by accuracy, with its 95 % interval point by point: arrays (accuracies,) float64."""

    targets: np.ndarray
    factor: np.ndarray
    low: np.ndarray
    high: np.ndarray


def isotonic(curves):
    """The non-decreasing curves nearest to `curves` (…, rounds) in least squares.

    By the max-min formula, max over j ≤ i of min over k ≥ i of the mean from j to k: many curves at once.
    """
    curves = np.asarray(curves, dtype=np.float64)
    rounds = curves.shape[-1]
    flat, fitted = curves.reshape(-1, rounds), []
    first, last = np.arange(rounds)[:, None], np.arange(rounds)[None]
    inside, lengths = last >= first, np.maximum(last - first + 1, 1)
    for part in np.array_split(flat, -(-flat.size * rounds // _BLOCK)):
        sums = np.pad(part.cumsum(axis=1), ((0, 0), (1, 0)))
        means = np.where(inside, (sums[:, None, 1:] - sums[:, :-1, None]) / lengths, np.inf)
        lowest = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        fitted.append(np.where(inside, lowest, -np.inf).max(axis=1))
    # Rounding must not undo the order, on which the reading off relies.
    return np.maximum.accumulate(np.concatenate(fitted), axis=-1).reshape(curves.shape)


def labels_to_reach(labels, fitted, targets):
    """The smallest numbers of labels at which curves reach their targets, interpolated in log labels: (logs, signs).

    `labels` (rounds,) strictly increasing; `fitted` (…, rounds) non-decreasing; `targets` (…). Both results have the
    shape of the targets. Sign −1: the first round is there already, so that fewer labels may do; +1: no round gets
    there, and the last one's labels are too few; 0: exact.
    """
    logs = np.log(np.asarray(labels, dtype=np.float64))
    after = (fitted < np.asarray(targets)[..., None]).sum(axis=-1)
    signs = np.where(after == 0, -1, np.where(after == len(logs), 1, 0))
    if len(logs) == 1:
        return np.full(after.shape, logs[0]), signs
    at = np.clip(after, 1, len(logs) - 1)
    below, above = (np.take_along_axis(fitted, (at + i)[..., None], -1)[..., 0] for i in (-1, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = logs[at - 1] + (targets - below) / (above - below) * (logs[at] - logs[at - 1])
    return np.where(signs == 0, inside, np.where(signs < 0, logs[0], logs[-1])), signs


def label_savings(labels, curves, random_labels, random_curves, rng, level=0.95):
    """How many times the labels random sampling needs for the same accuracy, with a joint paired bootstrap interval.

    `labels` (rounds,) and `curves` (trials, rounds) of the strategy, `random_labels` and `random_curves` of random
    sampling; trials in the same order. Savings are compared at the highest accuracy that both reach: random's final
    accuracy for a strategy that is better in the end (factor above 1), the strategy's final accuracy for one that is
    worse (below 1). A factor is censored (">" or "<") when one of the two is there in its first round already.
    `random_labels` answers the other question, what random needs for the strategy's own final accuracy: ">" its whole
    budget if it never does. `mean` is the geometric mean of the factor over the accuracies between those of random's
    10 % and 100 % budgets, as far as both curves go through them, evenly spaced.

    The interval weighs whole trials anew (`statistics.trial_weights`), the same for both curves, so that what a trial's
    luck did to both cancels. It is symmetric in the logarithm of the factor: estimate ± the 95 % quantile of the
    distance of the draws from it (P. Hall, On Symmetric Bootstrap Confidence Intervals, JRSS B 50(1), 1988), for the
    draws lean towards 1, and percentiles would take this over. An end carries a sign when more draws are censored on
    its side than may lie beyond it. NaN ends with one trial.
    """
    curves, random_curves = _paired(curves, random_curves)
    own, other = isotonic(curves.mean(axis=0)), isotonic(random_curves.mean(axis=0))
    logs, sign = _factor(labels, own, random_labels, other)
    needed, beyond = labels_to_reach(random_labels, other, own[-1])
    mean = _mean_factor(labels, own, random_labels, other)
    known = {
        "target": float(min(own[-1], other[-1])),
        "reached": bool(own[-1] >= other[-1]),
        "factor": _bounded(logs, sign),
        "random_labels": _bounded(needed, beyond),
        "mean": _bounded(mean, 0),
    }
    n = len(curves)
    if n < 2:
        return Savings(**known, low=UNKNOWN, high=UNKNOWN, mean_low=UNKNOWN, mean_high=UNKNOWN)
    weights = statistics.trial_weights(n, rng, DRAWS)
    own, other = isotonic(weights @ curves), isotonic(weights @ random_curves)
    low, high = _interval(logs, sign, *_factor(labels, own, random_labels, other), level)
    means = _mean_factor(labels, own, random_labels, other)
    means = means[~np.isnan(means)]
    ends = (UNKNOWN, UNKNOWN)
    if len(means) and not np.isnan(mean):
        ends = _interval(mean, 0, means, np.zeros(len(means), dtype=int), level)
    return Savings(**known, low=low, high=high, mean_low=ends[0], mean_high=ends[1])


def labels_saved(savings, budget):
    """Labels that the strategy of a `Savings` needs fewer than random sampling's `budget`, for random's final accuracy.

    With the ends of the 95 % interval: three `Bounded`. A strategy that does not get there within the budget saves less
    than none: "<0", with no interval.
    """
    if not savings.reached:
        return Bounded(0.0, "<"), UNKNOWN, UNKNOWN
    return tuple(Bounded(budget * (1 - 1 / x.value), x.sign) for x in (savings.factor, savings.low, savings.high))


def savings_curve(labels, curves, random_labels, random_curves, rng, level=0.95, points=61):
    """`SavingsCurve` over the accuracies that both mean curves pass through; None if there are none.

    Arguments and interval as for `label_savings`; a draw that does not reach an accuracy counts with the last labels of
    its curve. NaN ends with one trial.
    """
    curves, random_curves = _paired(curves, random_curves)
    own, other = isotonic(curves.mean(axis=0)), isotonic(random_curves.mean(axis=0))
    lowest, highest = max(own[0], other[0]), min(own[-1], other[-1])
    if highest <= lowest:
        return None
    targets = np.linspace(lowest, highest, points)
    factor = _log_ratio(labels, own[None], random_labels, other[None], targets)
    n = len(curves)
    if n < 2:
        return SavingsCurve(targets, np.exp(factor), *np.full((2, points), np.nan))
    weights = statistics.trial_weights(n, rng, DRAWS)
    own, other = isotonic(weights @ curves), isotonic(weights @ random_curves)
    spread = np.array(
        [
            np.quantile(np.abs(_log_ratio(labels, own, random_labels, other, np.full(DRAWS, t)) - at), level)
            for t, at in zip(targets, factor, strict=True)
        ]
    )
    return SavingsCurve(targets, np.exp(factor), np.exp(factor - spread), np.exp(factor + spread))


def _paired(curves, random_curves):
    curves, random_curves = (np.asarray(c, dtype=np.float64) for c in (curves, random_curves))
    if len(curves) != len(random_curves):
        raise ValueError(f"label savings pair trials: {len(curves)} against {len(random_curves)}")
    return curves, random_curves


def _bounded(log, sign):
    return Bounded(float(np.exp(log)), ["", ">", "<"][int(sign)])


def _log_ratio(labels, own, random_labels, other, targets):
    """log(random's labels / the strategy's) of fitted curves (…, rounds) at `targets` (…)."""
    return labels_to_reach(random_labels, other, targets)[0] - labels_to_reach(labels, own, targets)[0]


def _factor(labels, own, random_labels, other):
    """(logs, signs) of the savings factor at the highest accuracy that both fitted curves (…, rounds) reach."""
    target = np.minimum(own[..., -1], other[..., -1])
    needed, sign = labels_to_reach(labels, own, target)
    random_needed, random_sign = labels_to_reach(random_labels, other, target)
    # Both there from the start is no censoring: they are equal as far as the curves go.
    return random_needed - needed, np.where(sign == random_sign, 0, random_sign - sign)


def _mean_factor(labels, own, random_labels, other):
    """Mean over accuracies of the log of the factor, of fitted curves (…, rounds): (…), NaN where none is shared."""
    logs = np.log(np.asarray(random_labels, dtype=np.float64))
    if len(logs) == 1:
        return np.full(other.shape[:-1], np.nan)
    tenth = max(logs[-1] + math.log(0.1), logs[0])
    after = min(max(int(np.searchsorted(logs, tenth)), 1), len(logs) - 1)
    share = (tenth - logs[after - 1]) / (logs[after] - logs[after - 1])
    start = other[..., after - 1] + share * (other[..., after] - other[..., after - 1])
    lowest = np.maximum(start, own[..., 0])
    highest = np.minimum(own[..., -1], other[..., -1])
    total = 0.0
    for level in (np.arange(LEVELS) + 0.5) / LEVELS:
        target = lowest + level * (highest - lowest)
        total = total + _log_ratio(labels, own, random_labels, other, target)
    return np.where(highest > lowest, total / LEVELS, np.nan)


def _interval(estimate, sign, draws, signs, level):
    """Ends of the interval of a log factor, from its draws (draws,) and their signs: two `Bounded`."""
    tail = (1 - level) / 2
    if sign:
        # Known from one side only, it has no distance to anything: the interval is that of the draws.
        order = np.lexsort((signs, draws))
        at = [math.floor(tail * (len(order) - 1)), math.ceil((1 - tail) * (len(order) - 1))]
        return tuple(_bounded(draws[order[i]], signs[order[i]]) for i in at)
    half = np.quantile(np.abs(draws - estimate), level)
    below, above = np.mean(signs < 0) > tail, np.mean(signs > 0) > tail
    return _bounded(estimate - half, -1 if below else 0), _bounded(estimate + half, 1 if above else 0)
