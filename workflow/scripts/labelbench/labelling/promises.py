"""Labels by a model under a promise: of all labels delivered at most a share ε is wrong, with probability 1 − α.

PAC labels (Candès, Ilyas & Zrnic, "Probably approximately correct labels", 2025, arXiv 2506.10908), with an exact
hypergeometric bound. The probability is over the draw of the audit; nothing is assumed about the model, except that it
was frozen before the audit was labelled, and that people are right.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from labelbench.labelling import batch_files

GRID = np.arange(2, 101, 2) / 100  # shares of the unlabelled images that thresholds let through


class Promise(NamedTuple):
    """What can be delivered. threshold: least confidence of a label by the model, None where none can be; automatic:
    images above it; wrong_at_most: wrong labels among all that are delivered, at level 1 − α.
    """

    threshold: float | None
    automatic: int
    wrong_at_most: int


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


def promise(confidence, audit_confidence, audit_wrong, delivered, epsilon, alpha):
    """The `Promise` that an audit allows.

    confidence: (R,) of the frozen model on all images without an answer; audit_confidence, audit_wrong: (n,) of those
    that were drawn from them at random, and whether the model's label is wrong; delivered: N, all labels delivered;
    epsilon, alpha: shares. Thresholds go from strict to lenient, and the first that fails ends it: wrong labels above
    a threshold only grow as it falls, so no correction for many thresholds is needed (§2 of the paper).
    """
    ranked = np.sort(np.asarray(confidence))[::-1]
    audit_confidence, audit_wrong = np.asarray(audit_confidence), np.asarray(audit_wrong, bool)
    best = Promise(None, 0, 0)
    for share in GRID:
        threshold = ranked[max(math.ceil(share * len(ranked)), 1) - 1]
        seen = int((audit_wrong & (audit_confidence >= threshold)).sum())
        wrong = most_wrong(len(ranked), len(audit_wrong), seen, alpha)
        if wrong > epsilon * delivered:
            break
        best = Promise(float(threshold), int((ranked >= threshold).sum()), wrong)
    return best


def audit_size(remaining, delivered, epsilon, alpha, allowance=0.5):
    """Audit images that a promise needs: so many that the bound holds where `allowance`·ε of the labels turn out wrong.

    remaining: R; delivered: N. At least what a faultless audit needs; never more than there are.
    """
    for n in range(1, remaining + 1):
        seen = math.floor(allowance * epsilon * delivered / remaining * n)
        if most_wrong(remaining, n, seen, alpha) <= epsilon * delivered:
            return n
    return remaining


def of_audit(batch, answers, epsilon, alpha):
    """(`Promise`, class by hash, confidence by hash) of an audit whose images are answered.

    batch: the `campaign.Batch` of kind promise; answers: `Answered` by hash. An audit image that has no label (skipped,
    none of these, unsure, a conflict) counts as a mistake of the model. All of the audit is delivered with its answers.
    """
    predicted, confidence = batch_files.read_frozen(batch)
    drawn = [image.sha256 for image in batch.images]
    wrong = [answers[name].status != "label" or answers[name].label != predicted[name] for name in drawn]
    # Answers that came after the audit was drawn change neither the model nor what it was frozen on.
    others = sum(a.status == "label" and name not in predicted for name, a in answers.items())
    found = promise(
        np.array(list(confidence.values())),
        np.array([confidence[name] for name in drawn]),
        np.array(wrong),
        others + len(predicted),
        epsilon,
        alpha,
    )
    return found, predicted, confidence


def passed(promise, confidence):
    """Hashes of the images whose label by the model is delivered."""
    if promise.threshold is None:
        return frozenset()
    return frozenset(name for name, score in confidence.items() if score >= promise.threshold)


def sentence(promise, percent, confidence, n):
    """The promise in words, with its numbers."""
    if promise.threshold is None:
        return (
            f"No label of the model is delivered: the audit of {n} images cannot show that at most {percent:g} % would "
            "be wrong. Label more batches, or promise less."
        )
    return (
        f"Of all labels, at most {percent:g} % are wrong, with {confidence:g} % confidence: {promise.automatic} labels "
        f"of the model with a confidence of {promise.threshold:.3f} or more, of which at most "
        f"{promise.wrong_at_most} are wrong, as an audit of {n} images drawn at random shows. It holds for these "
        "images, not for new ones."
    )
