"""Statistics over paired trials: intervals, paired differences, areas under learning curves, ranks over settings.

A trial is one initial label set with its seeds, shared by every strategy. Curves are arrays (trials, rounds), rows in
the same order of trials for every strategy, so that what one trial's luck did to all strategies cancels in differences.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from labelbench.common import seeds

EXACT_FLIPS = 20  # up to here every sign assignment is visited: 2^20
RANDOM_FLIPS = 100_000  # above
EXACT_ORDERS = 1_000_000  # of ranks in all blocks: up to here every one is visited
RANDOM_ORDERS = 100_000  # above


def bootstrap():
    """The generator of a comparison's draws: always the same, so that an interval does not depend on what else ran."""
    return seeds.generator(0, 0, 0, "bootstrap")


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


def aulc(labels, scores):
    """Area under learning curves over the logarithm of the labels, divided by its width: a mean score, (trials,).

    `labels` (rounds,) strictly increasing, `scores` (trials, rounds). Trapezoids, so that the first and the last round
    count half. NaN for a single round. Doubling the labels counts the same wherever it happens, so that a long schedule
    does not drown its beginning.
    """
    scores = np.asarray(scores, dtype=np.float64)
    return scores @ aulc_weights(labels) if len(labels) > 1 else np.full(len(scores), np.nan)


def aulc_weights(labels):
    """Weight of each round in `aulc`: (rounds,) float64 that sum to 1."""
    steps = np.diff(np.log(np.asarray(labels, dtype=np.float64)))
    ends = np.concatenate([steps, [0.0]]) + np.concatenate([[0.0], steps])
    return ends / ends.sum()


def student_t_p(differences):
    """Two-sided p-value of the paired t test that `differences` (n,) centre on zero; NaN for fewer than two trials.

    The test that belongs to the interval of `estimate`.
    """
    difference = estimate(differences)
    if len(differences) < 2:
        return math.nan
    if difference.se == 0:
        return 1.0 if difference.mean == 0 else 0.0
    return float(2 * special.stdtr(len(differences) - 1, -abs(difference.mean / difference.se)))


def holm(p_values):
    """Holm's step-down adjusted p-values (m,), NaN where unknown; the unknown ones are no part of the family.

    S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6(2), 1979.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p_values.shape, np.nan)
    order = [i for i in np.argsort(p_values) if not math.isnan(p_values[i])]
    steps = np.array([p_values[i] * (len(order) - rank) for rank, i in enumerate(order)])
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if order else []
    return adjusted


def verdict(low, high, p_adjusted, equivalence, alpha=0.05):
    """What a difference with its 95 % interval says: "tie", "better", "worse" or "undecided"; "" without an interval.

    "tie": the whole interval lies within ±`equivalence`, a difference too small to matter in practice, whether zero is
    in it or not. "better", "worse": the interval lies on one side of zero, and the p-value after correction for all
    strategies that were compared agrees. Anything else is undecided, which is not the same as equal.
    """
    if math.isnan(low) or math.isnan(high):
        return ""
    if -equivalence <= low and high <= equivalence:
        return "tie"
    if p_adjusted < alpha and (low > 0 or high < 0):
        return "better" if low > 0 else "worse"
    return "undecided"


def deviation_interval(deviation, freedom, level=0.95):
    """(low, high) of a standard deviation that was estimated with `freedom` degrees of freedom, of normal numbers."""
    tail = (1 - level) / 2
    return tuple(deviation * math.sqrt(freedom / special.chdtri(freedom, t)) for t in (tail, 1 - tail))


def trial_weights(n, rng, draws):
    """Bootstrap weights of n trials, (draws, n) float64; each row sums to 1.

    A multiplier bootstrap: w = 1/n + (z − mean z) / √(n (n − 1)) · √((n − 1) / χ²), with standard normal z (n,) and a
    chi-squared number of n − 1 degrees of freedom. The weighted mean of any score then has the distribution that
    Student's interval has, mean + t_{n-1} · s/√n. Resampling whole trials does not: it never leaves the range of the
    trials, so with four of them no interval that is made of it can cover more than 1 − 2 · 2^-4 = 87.5 %.

    Draws are a scrambled Sobol sequence, for quantiles that move little with the generator: `draws` a power of 2 (A. B.
    Owen, Scrambled Net Variance for Integrals of Smooth Functions, Annals of Statistics 25(4), 1997).
    """
    from scipy.stats import qmc  # slow to import

    even = np.clip(qmc.Sobol(n, scramble=True, rng=rng).random(draws), 1e-12, 1 - 1e-12)
    # z less its mean has n − 1 dimensions; Helmert's rows span them.
    row, column = np.arange(1, n)[:, None], np.arange(n)[None]
    basis = np.where(column < row, 1.0, np.where(column == row, -row, 0.0)) / np.sqrt(row * (row + 1))
    z = special.ndtri(even[:, :-1]) @ basis
    stretch = np.sqrt((n - 1) / special.chdtri(n - 1, even[:, -1:]))
    return 1 / n + stretch * z / math.sqrt(n * (n - 1))


ENOUGH = 4  # trials from which they are enough to tell something by themselves


def pooled(gaps):
    """(mean, standard error, degrees of freedom) of paired differences over several settings that share their trials.

    gaps: a list of Series by trial, of two trials or more each. The mean is that of the settings' means. Settings share
    a trial's luck: its first labels, and all that random sampling buys. With `ENOUGH` trials in all of the settings,
    the unit is the trial: standard error and degrees of freedom are those of its means over the settings, whatever
    these share. With fewer, that would decide nothing: the standard error is that of one setting (the root of the mean
    of their squares), so that more settings do not make it smaller, with the degrees of freedom of all. Where settings
    share half of their variance or less this covers (Satterthwaite's formula gives at least as many degrees of freedom
    for the variance as it then is too large); docs/statistics.md has what happens where they share more.
    """
    found = [estimate(gap) for gap in gaps]
    mean = float(np.mean([gap.mean for gap in found]))
    by_trial = pd.concat(gaps, axis=1)
    if len(by_trial) >= ENOUGH and by_trial.notna().all(axis=None):
        return mean, float(estimate(by_trial.mean(axis=1)).se), len(by_trial) - 1
    se = math.sqrt(np.mean([float(gap.se) ** 2 for gap in found]))
    return mean, se, sum(len(gap) - 1 for gap in gaps)


@dataclass(frozen=True)
class Ranks:
    """Strategies ranked in every block: `mean` ranks (k,), 1 is best; `p` of Friedman's test; critical difference.

    Two mean ranks that lie further apart than `critical` differ at the 5 % level (Nemenyi). NaN: not defined, with
    fewer than two independent blocks or three strategies.
    """

    mean: np.ndarray
    p: float
    critical: float


def ranks(scores, groups=None, level=0.95):
    """`Ranks` of k strategies by their scores (settings, k), higher is better; equal ones share their mean rank.

    J. Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006, section 3.2.2: Friedman's
    test (`friedman_p`), and Nemenyi's critical difference q · √(k (k + 1) / 6N), q the studentised range over √2. Its N
    blocks must be independent. groups: (settings,) what the settings share, such as the images; ranks are averaged
    within a group, and the strategies ranked anew by these averages; groups are the blocks. One group alone has the
    mean ranks of its settings, and no test. None: every setting is a block.
    """
    from scipy import stats  # slow to import

    own = stats.rankdata(-np.asarray(scores, dtype=np.float64), axis=1)
    groups = list(range(len(own)) if groups is None else groups)
    names = dict.fromkeys(groups)
    if len(names) < 2:
        return Ranks(own.mean(axis=0), math.nan, math.nan)
    averages = np.array([own[[g == name for g in groups]].mean(axis=0) for name in names])
    blocks = stats.rankdata(averages, axis=1)
    mean, (n, k) = blocks.mean(axis=0), blocks.shape
    if k < 3:
        return Ranks(mean, math.nan, math.nan)
    p = friedman_p(blocks, bootstrap())
    q = stats.studentized_range.ppf(level, k, np.inf) / math.sqrt(2)
    return Ranks(mean, p, float(q * math.sqrt(k * (k + 1) / (6 * n))))


def friedman_p(blocks, rng):
    """p-value of Friedman's test that k strategies are equal, from their ranks (blocks, k) in independent blocks.

    The share of the orders that ranks can have within blocks whose rank sums lie as far apart, in squares, as the
    observed ones: exact where there are at most `EXACT_ORDERS` of them (the first block's may stand), else of
    `RANDOM_ORDERS` drawn from `rng` with the observed one counted in. The usual chi-squared approximation is far off
    with few blocks: of seven strategies that two blocks rank alike it makes p 0.062 instead of 1/5040.
    """
    blocks = np.asarray(blocks, dtype=np.float64)
    n, k = blocks.shape
    centre = n * (k + 1) / 2

    def spread(sums):
        return ((sums - centre) ** 2).sum(axis=-1)

    observed = spread(blocks.sum(axis=0)) * (1 - 1e-12)
    if math.lgamma(k + 1) * (n - 1) <= math.log(EXACT_ORDERS):
        sums = blocks[:1]
        for block in blocks[1:]:
            orders = np.array(list(itertools.permutations(block)))
            sums = (sums[:, None] + orders).reshape(-1, k)
        return float(np.mean(spread(sums) >= observed))
    sums = np.tile(blocks[0], (RANDOM_ORDERS, 1))
    for block in blocks[1:]:
        sums += rng.permuted(np.tile(block, (RANDOM_ORDERS, 1)), axis=1)
    return float((1 + np.sum(spread(sums) >= observed)) / (1 + RANDOM_ORDERS))
