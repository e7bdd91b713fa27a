"""How good a campaign's models are, told by audit images: drawn at random, never chosen, never trained on.

Intervals are design-based: they need nothing but the random draw. Wilson's is for showing, the exact ones (Clopper &
Pearson 1934; hypergeometric in a finite pool) are for decisions and promises.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from labelbench.common.words import counted

ENOUGH = 30  # audit answers below which no accuracy is told
PER_CLASS = 10  # audit images of a class below which it gets no interval
STABLE = 0.99  # mean Cohen's kappa of consecutive models over three rounds (Bloodgood & Vijay-Shanker 2009)


class Interval(NamedTuple):
    """An estimate with its interval, as shares."""

    value: float
    low: float
    high: float


def accuracy(right, n, pool, confidence=0.95):
    """The `Interval` of the accuracy on a pool, from `right` of `n` audit images: Wilson's, for a finite pool.

    The sample is worth n (N − 1)/(N − n) images of an endless pool (Cochran, Sampling Techniques, 1977, §3.6).
    """
    if n >= pool:
        return Interval(right / n, right / n, right / n)
    worth = n * (pool - 1) / (pool - n)
    z = stats.norm.ppf((1 + confidence) / 2)
    share = right / n
    centre = (share + z**2 / (2 * worth)) / (1 + z**2 / worth)
    half = z * math.sqrt(share * (1 - share) / worth + z**2 / (4 * worth**2)) / (1 + z**2 / worth)
    # It holds the share itself: at 0 and 1 up to rounding.
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def lower_bound(right, n, alpha):
    """The exact one-sided lower bound of an accuracy at level `alpha` (Clopper & Pearson): 0 for no image."""
    return float(stats.beta.ppf(alpha, right, n - right + 1)) if right else 0.0


def paired_gain(before, after, confidence=0.95):
    """The `Interval` of accuracy(after) − accuracy(before), from both models' hits (n,) on the same images.

    Bonett & Price's interval: one image is added to each of the two cells in which the models differ ("Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data", Journal of Educational and
    Behavioral Statistics 37, 2012). It covers 93.9 % or more where n = 30 to 200 and few images change sides.
    """
    before, after = np.asarray(before, bool), np.asarray(after, bool)
    won, lost, n = int((~before & after).sum()), int((before & ~after).sum()), len(before)
    up, down, total = won + 1, lost + 1, n + 2
    difference = (up - down) / total
    spread = math.sqrt((up + down) - (up - down) ** 2 / total) / total
    half = stats.norm.ppf((1 + confidence) / 2) * spread
    return Interval((won - lost) / n, max(-1.0, difference - half), min(1.0, difference + half))


def kappa(one, other, classes):
    """Cohen's kappa of two models' predictions (n,); 1 where both say one and the same class of everything."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (np.asarray(one), np.asarray(other)), 1)
    agree = np.trace(counts) / counts.sum()
    chance = float(counts.sum(0) @ counts.sum(1)) / counts.sum() ** 2
    return 1.0 if chance == 1 else float((agree - chance) / (1 - chance))


def per_class(truth, said, classes, confidence=0.95):
    """For each class (audit images of it, `Interval` of the share of them that is recognised, or None for too few)."""
    found = []
    for c in range(classes):
        mine = np.asarray(truth) == c
        right, n = int((np.asarray(said)[mine] == c).sum()), int(mine.sum())
        interval = None
        if n >= PER_CLASS:
            exact = stats.binomtest(right, n).proportion_ci(confidence, method="wilson")
            interval = Interval(right / n, exact.low, exact.high)
        found.append((n, interval))
    return found


def confusions(truth, said, most=5):
    """The most frequent (true class, said class, count) among (n,) classes, most frequent first."""
    wrong = np.asarray(truth) != np.asarray(said)
    pairs, counts = np.unique(np.stack([truth, said])[:, wrong], axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [(int(pairs[0, n]), int(pairs[1, n]), int(counts[n])) for n in order]


def needed(half_width, share, pool, confidence=0.95):
    """Audit images for an interval of ± `half_width` where about `share` is right, in a pool of `pool` images."""
    z = stats.norm.ppf((1 + confidence) / 2)
    endless = z**2 * share * (1 - share) / half_width**2
    return math.ceil(endless / (1 + (endless - 1) / pool))


class Verdict(NamedTuple):
    """key: target, budget, worthless, stable, cannot tell or go on; sentence: the same with its numbers."""

    key: str
    sentence: str


class Worth(NamedTuple):
    """What decides whether another batch pays.

    gain: highest share of images that the next batch may mend; left: images without a person's label; mistake: what a
    wrong label costs; batch: the price of the next batch, in the same currency.
    """

    gain: float
    left: int
    mistake: float
    batch: float


def verdict(right, n, skipped, target, alpha, looks, look, bought, budget, kappas, worth=None, drawn=None):
    """What the numbers amount to, the first that holds: target, budget, not worth it, stable, cannot tell, go on.

    right, n: of the last model on the audit images that have a label; skipped: audit images without one, which the
    bound counts as wrong; target: share, 0 for none; alpha: of the whole campaign, shared by its `looks`, for every
    round is a look, this one being number `look`; bought, budget: labels, 0 for no limit; kappas: of consecutive
    models; worth: where prices are known; drawn: images of the audit, asked or not (None: all of them were asked).
    """
    level = alpha / looks
    drawn = n + skipped if drawn is None else max(drawn, n + skipped)
    bound = lower_bound(right, n + skipped, level) if n else 0.0
    if target and n >= ENOUGH and bound >= target and look <= looks:
        return Verdict(
            "target",
            f"Target reached: at least {100 * bound:.1f} % are right (exact bound, {100 * (1 - alpha):g} % over "
            f"{looks} looks), and {100 * target:g} % were asked for. You may stop.",
        )
    if budget and bought >= budget:
        return Verdict("budget", f"Budget spent: {bought:,} of {counted(budget, 'label')}.")
    if worth and worth.mistake and worth.gain * worth.left * worth.mistake < worth.batch:
        mended = worth.gain * worth.left
        return Verdict(
            "worthless",
            f"Not worth it: the next batch costs {worth.batch:,.2f}, and what it may mend at most, about "
            f"{counted(round(mended), 'mistake')}, costs {mended * worth.mistake:,.2f}.",
        )
    if len(kappas) >= 3 and np.mean(kappas[-3:]) >= STABLE:
        return Verdict(
            "stable",
            f"The last models agree (kappa {np.mean(kappas[-3:]):.3f} over three rounds): more labels of this kind "
            "change little. This is advice, not a bound.",
        )
    if not drawn:
        return Verdict("cannot tell", "Cannot tell: there is no audit. It is drawn with the first batch, by `audit`.")
    if n < ENOUGH:
        return Verdict("cannot tell", f"Cannot tell yet: {n} audit answers; {ENOUGH} are the least that show anything.")
    if not target:
        return Verdict("go on", "No target is set: label as long as the gain is worth it.")
    if look > looks:
        return Verdict(
            "cannot tell",
            f"Cannot tell: the audit was looked at {look} times, and `looks` planned for {looks}. Deliver under a "
            "promise: its audit is fresh.",
        )
    if lower_bound(drawn, drawn, level) >= target > lower_bound(n + skipped, n + skipped, level):
        return Verdict(
            "cannot tell",
            f"Cannot tell yet: {n} of {counted(drawn, 'audit image')} have an answer, too few to show "
            f"{100 * target:g} %.",
        )
    if lower_bound(drawn, drawn, level) < target:
        least = math.ceil(math.log(level) / math.log(target))
        return Verdict(
            "cannot tell",
            f"Cannot tell: with {counted(drawn, 'audit image')} not even a model without a mistake could show "
            f"{100 * target:g} %. It takes {least}, which a campaign has to set as `audit` before its first batch.",
        )
    return Verdict("go on", f"Not there yet: at least {100 * bound:.1f} % are right, the target is {100 * target:g} %.")
