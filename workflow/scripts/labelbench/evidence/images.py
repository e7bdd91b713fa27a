"""The luck of the test images: what a difference between two strategies would do on other images of the same kind.

Trials say how far a difference moves with other first labels and seeds, on the very same test images. A test set is a
sample too. Which of its images each model had right (`training.hits`) says how far the difference moves with it: both
sides are judged on the same images, so that only images count on which they disagree.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from labelbench.training import hits

METRICS = ("accuracy", "balanced_accuracy")  # means over images, whose spread over images is that of a mean


@dataclass(frozen=True)
class Hits:
    """bits: (trials, rounds, images) bool, images in the order of their classes; sizes: (classes,) int64 of these;
    reading: (rounds, n) weights of the rounds in the n points at which the curve is read (`study.between`)."""

    bits: np.ndarray
    sizes: np.ndarray
    reading: np.ndarray

    def read(self, trials, reading):
        """Of the trials where `trials` (trials,) is true, read at other points."""
        return Hits(self.bits[trials], self.sizes, reading)

    def weighed(self, weights):
        """Sums of hits over the curve, with `weights` (n,) of the points where it is read: (trials, images) float64."""
        return np.einsum("tri,r->ti", self.bits, self.reading @ weights, optimize=True)


class TestImages:
    """The hits of a study's models on its test sets, by what the model is."""

    def __init__(self, rows):
        """rows: dicts with the columns of `study.IDENTITY`, `split`, and `value`, the text of `training.hits`."""
        self._texts = {}
        for row in rows:
            key = (*(row[field] for field in _MODEL), row["split"])
            self._texts.setdefault(key, {})[int(row["trial"]), int(row["round"])] = row["value"]

    def of(self, dataset, setting, strategy, split, stage, model, trials, rounds):
        """`Hits` of a curve's trials and rounds, or None unless all of its models kept them."""
        texts = self._texts.get((dataset, *setting, strategy, stage, model, split), {})
        if not all((t, r) in texts for t in trials for r in rounds):
            return None
        found = [[hits.decode(texts[t, r]) for r in rounds] for t in trials]
        sizes = found[0][0][1]
        bits = np.array([[bits for bits, _ in of_trial] for of_trial in found])
        return Hits(bits, sizes, np.eye(len(rounds)))


_MODEL = ("dataset", "encoder", "selector", "trainer", "strategy", "stage", "model")


@dataclass(frozen=True)
class Luck:
    """What other test images would do to a mean paired difference: its standard error from the images alone.

    se: float; images: how many there are.
    """

    se: float
    images: int


def luck(own, other, weights, measure):
    """`Luck` of the mean difference of two curves with `Hits`, each point weighed by `weights` (n,).

    None where hits were not kept, or a measure is no mean over images.
    """
    if own is None or other is None or measure not in METRICS or not len(own.bits):
        return None
    return luck_of(own.weighed(weights) - other.weighed(weights), own.sizes, measure)


def luck_of(gaps, sizes, measure):
    """`Luck` of the mean of differences per image, (trials, images) float; sizes: of the true classes, as in `Hits`.

    The table holds two random samples that cross. The variance of its mean is that between trials, and that between
    images, less what is in both, for a trial's chance on each image is in the means of images as well (Cornfield &
    Tukey, Average Values of Mean Squares in Factorials, Ann. Math. Statist. 27(4), 1956). One trial cannot tell the two
    apart: then the images' share holds both.
    """
    sizes = sizes[sizes > 0] if measure == "balanced_accuracy" else np.array([gaps.shape[1]])
    images, both = np.zeros(len(sizes)), np.zeros(len(sizes))
    n = len(gaps)
    for i, part in enumerate(np.split(gaps, np.cumsum(sizes)[:-1], axis=1)):
        means = part.mean(axis=0)
        images[i] = ((means - means.mean()) ** 2).sum()
        rest = part - means - part.mean(axis=1, keepdims=True) + part.mean()
        both[i] = (rest**2).sum()
    freedom = sizes - 1

    # A class of one image has no spread of its own: it is given that of all.
    def mean_square(squares):
        pooled = squares.sum() / max(freedom.sum(), 1)
        return np.where(freedom > 0, squares / np.maximum(freedom, 1), pooled)

    variance = (mean_square(images) / sizes).sum() / len(sizes) ** 2
    if n > 1:
        variance -= (mean_square(both) / (n - 1) / n / sizes).sum() / len(sizes) ** 2
    return Luck(math.sqrt(max(variance, 0.0)), gaps.shape[1])


def half_width(se, n, images, level=0.95):
    """Half the interval of a mean difference about other images: se over n trials, and `images`, that of `Luck`.

    √((t · se)² + (z · images)²), t of n − 1 degrees of freedom and z normal: each part is stretched for what is known
    of it, so that it never is narrower than the interval on these images (Howe, Approximate Confidence Limits on the
    Mean of X + Y, JASA 69, 1974).
    """
    tail = (1 + level) / 2
    return math.hypot(special.stdtrit(n - 1, tail) * se, special.ndtri(tail) * images)


def p_value(difference, se, n, images):
    """Two-sided p of a mean difference: 1 − the level at which the interval of `half_width` just reaches zero."""
    if n < 2 or math.isnan(se):
        return math.nan
    if se == 0 and images == 0:
        return 1.0 if difference == 0 else 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        p = (low + high) / 2
        inside = half_width(se, n, images, 1 - p) >= abs(difference)
        low, high = (p, high) if inside else (low, p)
    return high


MOST_TRIALS = 100


def trials_needed(gaps, images, tests, alpha=0.05):
    """Trials at which a mean difference like that of `gaps` (n,) would be told from zero after correction; float.

    With the mean, the spread and the images' standard error as they are (NaN: not known, or no images), and the first
    step of Holm's correction for `tests`. Inf where more than `MOST_TRIALS` would be needed; NaN for one trial.
    """
    n = len(gaps)
    if n < 2:
        return math.nan
    spread, images = float(np.std(gaps, ddof=1)), 0.0 if math.isnan(images) else images
    for trials in range(2, MOST_TRIALS + 1):
        if half_width(spread / math.sqrt(trials), trials, images, 1 - alpha / tests) < abs(np.mean(gaps)):
            return float(trials)
    return math.inf
