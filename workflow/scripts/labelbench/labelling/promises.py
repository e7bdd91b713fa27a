"""Labels by a model under a promise: of all labels delivered at most a share ε is wrong, with probability 1 − α.

PAC labels (Candès, Ilyas & Zrnic, "Probably approximately correct labels", 2025, arXiv 2506.10908), with an exact
hypergeometric bound. The probability is over the draw of the audit; nothing is assumed about the model, except that it
was frozen before the audit was labelled, and that people are right.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from labelbench.common.words import counted
from labelbench.labelling import batch_files

AGAIN = (
    "To ask again, answer at least one more batch (snakemake label …), then deliver: a new model is frozen, and a "
    "fresh audit is drawn."
)
GRID = np.arange(2, 101, 2) / 100  # shares of the unlabelled images that thresholds let through


class Promise(NamedTuple):
    """What can be delivered. threshold: least confidence of a label by the model, None where none can be; automatic:
    images above it; wrong_at_most: wrong labels among all that are delivered, at level 1 − α.
    """

    threshold: float | None
    automatic: int
    wrong_at_most: int


def risk(alpha, number):
    """The share of a campaign's risk α at which its promise `number` (1, 2, …) is tested: 4/5 α, 4/25 α, …

    A promise that fails may be followed by another one, with a new model and a fresh audit. However many there are,
    and whatever made one ask again, the chance that any of them is given and broken is at most their sum, below α. Most
    campaigns ask once, so the first has the most.
    """
    return alpha * 4 / 5**number


def most_wrong(pool, n, seen, alpha):
    """The largest number D of wrong labels in a pool of `pool` for which ≤ `seen` among `n` drawn is not too unlikely.

    D = max{D : P(Hypergeometric(pool, D, n) ≤ seen) > α}, by bisection: the probability falls with D.
    """
    low, high = seen, pool - (n - seen)
    while low < high:
        middle = (low + high + 1) // 2
        if stats.hypergeom.cdf(seen, pool, middle, n) > alpha:
            low = middle
        else:
            high = middle - 1
    return low


def promise(confidence, audit_confidence, audit_wrong, others, epsilon, alpha):
    """The `Promise` that an audit allows.

    confidence: (R,) of the frozen model on all images without an answer; audit_confidence, audit_wrong: (n,) of those
    that were drawn from them at random, and whether the model's label is wrong; others: labels by people besides;
    epsilon, alpha: shares. The promise is about all R + others labels, those below the threshold being left to people.
    Thresholds go from strict to lenient, and the first that fails ends it. Wrong labels above a threshold only grow as
    it falls; the first threshold that would break the promise is a fixed one, before any audit, and to go beyond it its
    own bound must have failed. So many thresholds need no correction (§2 of the paper).
    """
    ranked = np.sort(np.asarray(confidence))[::-1]
    audit_confidence, audit_wrong = np.asarray(audit_confidence), np.asarray(audit_wrong, bool)
    best = Promise(None, 0, 0)
    for share in GRID if len(ranked) else ():
        threshold = ranked[max(math.ceil(share * len(ranked)), 1) - 1]
        above = int((ranked >= threshold).sum())
        seen = int((audit_wrong & (audit_confidence >= threshold)).sum())
        wrong = most_wrong(len(ranked), len(audit_wrong), seen, alpha)
        if wrong > epsilon * (others + len(ranked)):
            break
        best = Promise(float(threshold), above, wrong)
    return best


def audit_size(remaining, others, epsilon, alpha):
    """Audit images that a promise on all labels needs, where half as much of the model's labels is wrong as it allows.

    remaining: R; others: labels by people.
    """
    allowed = epsilon * (others + remaining)
    share = 0.5 * allowed / remaining
    for n in range(1, remaining):
        if most_wrong(remaining, n, math.floor(share * n), alpha) <= allowed:
            return n
    return remaining


def of_audit(batch, number, answers, epsilon, alpha, classes, renames):
    """(`Promise`, class by hash, confidence by hash, a sentence about what was promised) of an answered audit.

    batch: the `campaign.Batch` of kind promise; number: the how many-th of the campaign it is; answers: `Answered` by
    hash; alpha: the risk of the campaign, of which this promise has its share; classes, renames: as of
    `batch_files.read_frozen`. An audit image that has no label (skipped, none of these, unsure, a conflict, or gone
    before it was answered) counts as a mistake of the model. Answers that came after the audit was drawn change neither
    the frozen predictions nor the images that they stand for.
    """
    predicted, confidence = batch_files.read_frozen(batch, classes, renames)
    drawn = [image.sha256 for image in batch.images if image.sha256 in predicted]
    said = [answers[name].label if name in answers and answers[name].status == "label" else None for name in drawn]
    wrong = [label != predicted[name] for name, label in zip(drawn, said, strict=True)]
    others = sum(answer.status == "label" and name not in predicted for name, answer in answers.items())
    scores = np.array(list(confidence.values()))
    audited, tested = np.array([confidence[name] for name in drawn]), risk(alpha, number)
    found = promise(scores, audited, np.array(wrong, bool), others, epsilon, tested)
    n, seen = len(drawn), sum(wrong)
    percent, level = 100 * epsilon, 100 * (1 - alpha)  # of the campaign, whatever share this promise has
    if found.threshold is None:
        told = (
            f"No label of the model is delivered: in an audit of {counted(n, 'image')} {seen} of its labels were "
            f"wrong, which cannot show that at most {percent:g} % are. {AGAIN}"
        )
        return found, predicted, confidence, told
    model = sum(score >= found.threshold and name not in answers for name, score in confidence.items())
    left = sum(score < found.threshold and name not in answers for name, score in confidence.items())
    later = f", once people have labelled the other {left}," if left else ""
    told = (
        f"With {level:g} % confidence at most {percent:g} % of all labels are wrong{later} as an audit of "
        f"{counted(n, 'image')} drawn at random shows ({seen} wrong). {model} labels are the model's, with its "
        f"confidence at {found.threshold:.3f} or above. This holds for these images, not for new ones."
    )
    return found, predicted, confidence, told


def passed(promise, confidence):
    """Hashes of the images whose label by the model is delivered."""
    if promise.threshold is None:
        return frozenset()
    return frozenset(name for name, score in confidence.items() if score >= promise.threshold)
