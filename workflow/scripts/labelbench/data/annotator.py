"""The annotator of a trial: true labels, or labels with mistakes (label noise).

Mistakes belong to the annotator and not to the data: they are drawn once per trial, before its first round, for all of
the pool, so that every round, strategy and selector of the trial buys from the same annotator and stays comparable.
Only what is bought is wrong. The dataset keeps its true labels: validation and test sets are untouched, and the pool's
metrics are judged by the truth.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from labelbench.common import seeds
from labelbench.common.errors import UserError

SUM_TOLERANCE = 1e-3  # matrices are often written with three decimals


@dataclass(frozen=True)
class Config:
    """kind: `symmetric`, `matrix` or `column`. rate: for `symmetric`, the probability of a wrong label.

    matrix: for `matrix`, K rows of K probabilities, row: true class, column: the annotator's label; a list of lists or
    the path of a CSV file without a header. `column` gives what a second annotator of the dataset said, the same in all
    trials.
    """

    kind: Literal["symmetric", "matrix", "column"]
    rate: float = 0.0
    matrix: str | tuple[tuple[float, ...], ...] = ""

    def __post_init__(self):
        if self.kind == "symmetric" and not 0 < self.rate <= 1:
            raise ValueError(f"noise of kind symmetric needs a rate in (0, 1], not {self.rate}")
        if self.kind == "matrix" and not self.matrix:
            raise ValueError("noise of kind matrix needs a matrix: rows of probabilities, or the path of a CSV file")
        for kind, setting in (("symmetric", "rate"), ("matrix", "matrix")):
            if getattr(self, setting) and self.kind != kind:
                raise ValueError(f"{setting} belongs to noise of kind {kind}, not {self.kind}")


def check(noise, classes, answers):
    """Raise `UserError` where noise, settings of `Config`, does not suit a dataset of so many classes (None: unknown).

    answers: whether a second annotator may have labelled it.
    """
    config = Config(**noise)
    if config.kind == "matrix" and classes is not None:
        _matrix(config, classes)
    if config.kind == "column" and not answers:
        raise UserError(_NO_ANSWERS)


_NO_ANSWERS = (
    "Noise of kind column asks for a second annotator's labels, and the dataset has none. Datasets of the plug-in "
    "`table` have them where `annotator` names their column; else choose another kind of noise."
)


def of_trial(dataset, noise, seed, trial):
    """The annotator's labels (N,) int64 for all of the pool, −1 where there is no answer.

    noise: settings of `Config`, or None for one who makes no mistakes. Raises `UserError` where noise and dataset do
    not fit together.
    """
    pool = dataset.splits["pool"]
    if noise is None:
        return pool.labels
    config = Config(**noise)
    if config.kind != "column":
        return answers(pool.labels, dataset.num_classes, config, seeds.generator(seed, trial, 0, "annotator"))
    if pool.annotated is None:
        raise UserError(_NO_ANSWERS)
    return pool.annotated


def answers(true_labels, num_classes, config, rng):
    """Labels (N,) int64 that an annotator with mistakes of kind `symmetric` or `matrix` gives; −1 stays −1.

    symmetric: each label is replaced with probability `rate`, by one of the K − 1 *other* classes, all equally likely:
    `rate` is the share of wrong labels. (Some papers draw from all K classes, and have rate·(K − 1)/K wrong ones.)
    matrix: the label is drawn from the row of the true class (class-conditional noise; Patrini et al. 2017, arXiv
    1609.03683). One uniform number per example decides, whatever the other labels are.
    """
    if config.kind == "symmetric":
        wrong = rng.random(len(true_labels)) < config.rate
        other = (true_labels + rng.integers(1, num_classes, len(true_labels))) % num_classes
        return np.where(wrong & (true_labels >= 0), other, true_labels)
    matrix, drawn = _matrix(config, num_classes), rng.random(len(true_labels))
    given = true_labels.copy()
    for label, row in enumerate(matrix):
        at = np.flatnonzero(true_labels == label)
        cumulative = row.cumsum()
        given[at] = np.searchsorted(cumulative / cumulative[-1], drawn[at], side="right")
    return given


def _matrix(config, num_classes):
    """(K, K) float64. Raises `UserError` unless it is one and its rows are distributions."""
    where = f"the file {config.matrix}" if isinstance(config.matrix, str) else "the config's matrix"
    try:
        matrix = (
            np.loadtxt(Path(config.matrix), delimiter=",", ndmin=2)
            if isinstance(config.matrix, str)
            else np.array(config.matrix, dtype=float)
        )
    except (OSError, ValueError) as error:
        raise UserError(f"noise of kind matrix: {where} cannot be read as rows of numbers: {error}") from None
    if matrix.shape != (num_classes, num_classes):
        raise UserError(
            f"noise of kind matrix: {where} has shape {matrix.shape}, but the dataset has {num_classes} classes. Write "
            "one row and one column per class, in the order of the classes."
        )
    bad = np.flatnonzero((matrix < 0).any(1) | ~(np.abs(matrix.sum(1) - 1) <= SUM_TOLERANCE))
    if len(bad):
        raise UserError(
            f"noise of kind matrix: in {where} row {bad[0] + 1} holds negative numbers or does not sum to 1 "
            f"(sum {matrix[bad[0]].sum():.4g}). Each row has the probabilities of the labels given to one true class."
        )
    return matrix
