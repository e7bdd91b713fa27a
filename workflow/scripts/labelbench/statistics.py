"""Statistics over paired trials: intervals, paired differences, label savings.

A trial is one initial label set with its seeds, shared by every strategy. Curves are arrays (trials, rounds), rows in
the same order of trials for every strategy, so that what one trial's luck did to all strategies cancels in differences.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.optimize import isotonic_regression

ENUMERATED_TRIALS = 6  # up to here every bootstrap resample is visited: C(11, 6) = 462 distinct ones
RESAMPLES = 2000  # above
EXACT_FLIPS = 20  # up to here every sign assignment is visited: 2^20
RANDOM_FLIPS = 100_000  # above


@dataclass(frozen=True)
class Estimate:
    """Mean over trials, its standard error, and the ends of its confidence interval; scalars or arrays (rounds,)."""

    mean: float | np.ndarray
    se: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray


def estimate(values, level=0.95):
    """Mean, standard error and Student-t interval over the first axis.

    `values`: (trials,) or (trials, rounds) float. The standard error is s/√n with the sample standard deviation
    (ddof 1); the interval is mean ± t_{n-1} · SE. One trial says nothing about its spread: SE and ends are NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    mean = values.mean(axis=0)
    if n < 2:
        unknown = np.full_like(mean, np.nan)
        return Estimate(mean, unknown, unknown, unknown)
    se = values.std(axis=0, ddof=1) / math.sqrt(n)
    half = special.stdtrit(n - 1, (1 + level) / 2) * se
    return Estimate(mean, se, mean - half, mean + half)


def paired_difference(values, reference, level=0.95):
    """`estimate` of values − reference, trial by trial: both (trials,) in the same order of trials."""
    return estimate(np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64), level)


def sign_flip_p(differences, rng):
    """Two-sided p-value of the sign-flip (one-sample permutation) test that paired differences centre on zero.

    The share of the 2^n assignments of signs to `differences` (n,) whose sum is at least as far from zero as the
    observed one. Exact up to 20 trials; above, of 100,000 assignments drawn from `rng` with the observed one counted
    in. With n trials it cannot fall below 2^(1-n): 0.125 for four. NaN for fewer than two trials.
    """
    differences = np.asarray(differences, dtype=np.float64)
    n = len(differences)
    if n < 2:
        return math.nan
    # Sums that are equal on paper differ in their last bits by the order of addition.
    observed = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    if n <= EXACT_FLIPS:
        sums = np.zeros(1)
        for difference in differences:
            sums = np.concatenate([sums + difference, sums - difference])
        return float(np.mean(np.abs(sums) >= observed))
    sums = (2 * rng.integers(0, 2, size=(RANDOM_FLIPS, n), dtype=np.int8) - 1) @ differences
    return float((1 + np.sum(np.abs(sums) >= observed)) / (1 + RANDOM_FLIPS))


@dataclass(frozen=True)
class Bounded:
    """A number that may be known only from one side: sign ">" means more than `value`, "<" less, "" exactly."""

    value: float
    sign: str = ""


@dataclass(frozen=True)
class Savings:
    """Label savings of a strategy over random sampling (`label_savings`)."""

    target: float  # the accuracy at which labels are compared
    factor: Bounded  # labels random needs / labels the strategy needs for `target`
    low: Bounded
    high: Bounded
    random_labels: Bounded  # labels random needs for the strategy's own final accuracy


def isotonic_curve(curve):
    """The non-decreasing curve (rounds,) nearest to `curve` in least squares: more labels never hurt on average."""
    return isotonic_regression(curve).x


def labels_to_reach(labels, fitted, target):
    """The smallest number of labels at which a curve reaches `target`, interpolated in log labels.

    `labels`: (rounds,) strictly increasing; `fitted`: (rounds,) non-decreasing. "<" the first round's labels when the
    first round is there already (it may have been reached before), ">" the last round's when no round gets there.
    """
    if target > fitted[-1]:
        return Bounded(float(labels[-1]), ">")
    after = int(np.searchsorted(fitted, target, side="left"))
    if after == 0:
        return Bounded(float(labels[0]), "<")
    share = (target - fitted[after - 1]) / (fitted[after] - fitted[after - 1])
    step = math.log(labels[after] / labels[after - 1])
    return Bounded(float(labels[after - 1] * math.exp(share * step)))


def label_savings(labels, curves, random_labels, random_curves, rng, level=0.95):
    """How many times the labels random sampling needs for the same accuracy, with a joint paired bootstrap interval.

    `labels` (rounds,) and `curves` (trials, rounds) of the strategy, `random_labels` and `random_curves` of random
    sampling; trials in the same order. Curves are averaged over trials, made non-decreasing by isotonic regression and
    read off in log labels. Savings are compared at the highest accuracy that both reach: random's final accuracy for a
    strategy that is better in the end (factor above 1), the strategy's final accuracy for one that is worse (below 1).
    A factor is censored (">" or "<") when one of the two is there in its first round already. `random_labels` answers
    the other question, what random needs for the strategy's own final accuracy: ">" its whole budget if it never does.

    The interval resamples whole trials, the same for both curves. With at most six trials every resample is counted
    with its probability, so that nothing is random; above, 2,000 are drawn from `rng`. Percentiles are expanded for
    the number of trials (T. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69(4),
    2015, section on the expanded percentile interval): plain ones are too narrow with few trials. An end that falls on
    a censored resample carries its sign. NaN ends with one trial.
    """
    curves = np.asarray(curves, dtype=np.float64)
    random_curves = np.asarray(random_curves, dtype=np.float64)
    if len(curves) != len(random_curves):
        raise ValueError(f"label savings pair trials: {len(curves)} against {len(random_curves)}")
    target, factor, needed = _savings(labels, curves.mean(axis=0), random_labels, random_curves.mean(axis=0))
    n = len(curves)
    if n < 2:
        return Savings(target, factor, Bounded(math.nan), Bounded(math.nan), needed)

    weights, probabilities = _resamples(n, rng)
    factors = [_savings(labels, w @ curves, random_labels, w @ random_curves)[1] for w in weights]
    order = sorted(range(len(factors)), key=lambda i: (factors[i].value, "< >".index(factors[i].sign or " ")))
    cumulative = np.cumsum(probabilities[order])
    tail = special.ndtr(-math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 + level) / 2))
    # The tolerance keeps a probability that equals the tail on paper from being missed by its last bits.
    low, high = np.searchsorted(cumulative, [tail - 1e-12, 1 - tail - 1e-12], side="left")
    return Savings(target, factor, factors[order[low]], factors[order[high]], needed)


def _savings(labels, curve, random_labels, random_curve):
    """Target, savings factor and random's labels for the strategy's final accuracy, of two mean curves."""
    fitted, random_fitted = isotonic_curve(curve), isotonic_curve(random_curve)
    target = float(min(fitted[-1], random_fitted[-1]))
    own = labels_to_reach(labels, fitted, target)
    other = labels_to_reach(random_labels, random_fitted, target)
    # Both there from the start is no censoring: they are equal as far as the curves go.
    sign = "" if own.sign == other.sign else other.sign or ">"
    return (
        target,
        Bounded(other.value / own.value, sign),
        labels_to_reach(random_labels, random_fitted, float(fitted[-1])),
    )


def _resamples(n, rng):
    """Bootstrap resamples of n trials as weights (resamples, n) that sum to 1, and their probabilities (resamples,)."""
    if n > ENUMERATED_TRIALS:
        counts = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        return counts / n, np.full(RESAMPLES, 1 / RESAMPLES)
    counts = np.array(
        [np.bincount(chosen, minlength=n) for chosen in itertools.combinations_with_replacement(range(n), n)]
    )
    # A multiset of trials stands for all the n^n ordered resamples that contain it.
    ways = [math.factorial(n) / math.prod(math.factorial(int(c)) for c in row) for row in counts]
    return counts / n, np.array(ways) / n**n
