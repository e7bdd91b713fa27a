"""Settings of a trainer chosen from candidates (`tune` in its definition).

By default as in the LabelBench paper (Appendix F.3): every candidate learns from a random 10 % of the pool's labels and
is judged on the validation split, once for all rounds and strategies. For budgets that these labels would dwarf, each
round chooses anew by cross-validation on the labels it has.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from labelbench.common import json_files
from labelbench.training import metrics


@dataclass(frozen=True)
class Config:
    """How candidates are compared. by: on the `validation` split, or by `cross_validation`.

    fraction: for `validation`, the share of the pool whose labels are spent on it. folds: for `cross_validation`.
    """

    by: Literal["validation", "cross_validation"] = "validation"
    fraction: float = 0.1
    folds: int = 5

    def __post_init__(self):
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is a share of the pool in (0, 1], not {self.fraction}")
        if self.folds < 2:
            raise ValueError(f"folds must be at least 2, not {self.folds}")


def draw(pool_size, fraction, rng):
    """Pool positions (n,) int64 of a random share of the pool. From one generator, a smaller share begins a larger."""
    return rng.permutation(pool_size)[: round(fraction * pool_size)]


def best(scores):
    """Position of the highest score, the first of equal ones."""
    return int(np.argmax(scores))


def stratified(labels, folds, rng):
    """The fold (n,) int64 of each example: sizes differ by at most one, in every class and altogether."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def cross_validated(candidates, labels, fold, num_classes, metric, predict):
    """One score per candidate: the metric of all labels together, each predicted by a model that had not learned it.

    candidates: dicts of settings; labels: the round's LabelSet, whose labels, mistakes included, are the truth here;
    fold: (n,) int64 as from `stratified`; metric: a name that `metrics.classification` knows; predict: from candidate,
    LabelSet to learn from and pool positions (m,) to classes (m,) int64. Held-out images stay in the pool, as
    unlabelled as those that nobody bought.
    """
    scores = []
    for candidate in candidates:
        predicted = np.empty_like(labels.label)
        for held_out in (fold == k for k in np.unique(fold)):
            learned = replace(
                labels, index=labels.index[~held_out], label=labels.label[~held_out], round=labels.round[~held_out]
            )
            predicted[held_out] = predict(candidate, learned, labels.index[held_out])
        scores.append(metrics.classification(labels.label, predicted, num_classes)[metric])
    return scores


def settled(spec, path, labels, num_classes, rng, predict, log):
    """The settings that a job trains with: those in its `spec`, with the best candidate's in their place if it has any.

    path: the file that the rule `tune` wrote, or nothing; with `cross_validation` in the spec, the job finds the best
    candidate itself, on its labels. rng: numpy Generator that draws the folds; the rest as for `cross_validated`.
    Training stops early by the validation split then too; the folds only judge.
    """
    settings, how = spec["trainer"], spec.get("cross_validation")
    if path:
        return {**settings, **json_files.read(path, ("chosen",))["chosen"]}
    if not how:
        return settings
    candidates = [{**settings, **candidate} for candidate in how["candidates"]]
    fold = stratified(labels.label, how["folds"], rng)
    scores = cross_validated(candidates, labels, fold, num_classes, how["metric"], predict)
    at = best(scores)
    log.info("chose %s, of %s by cross-validation: %s", how["candidates"][at], how["metric"], scores)
    return candidates[at]
