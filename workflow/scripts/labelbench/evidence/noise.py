"""The noise floor: how much scores differ between trainings on identical labels, and what that does to differences."""

import math
from dataclasses import dataclass

import numpy as np

from labelbench.evidence import study

_NEAR = 1.1  # times the labels at which noise was measured that it is taken for the same


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a score between trainings on the same labels, where it was measured.

    labels: (rounds,) int64; sd: (rounds,) float64, pooled over trials; freedom: degrees of freedom behind all of them,
    the trainings beyond the first of each label set.
    """

    labels: np.ndarray
    sd: np.ndarray
    freedom: int

    def at(self, labels):
        """The standard deviation at `labels` (n,): interpolated in log labels.

        NaN more than a tenth beyond what was measured: noise falls as labels grow, nobody knows how fast.
        """
        labels = np.asarray(labels, dtype=np.float64)
        known = (labels >= self.labels[0] / _NEAR) & (labels <= self.labels[-1] * _NEAR)
        return np.where(known, np.sqrt(np.interp(np.log(labels), np.log(self.labels), self.sd**2)), np.nan)

    def of_difference(self, models, trials):
        """Standard deviation that noise alone gives to a mean paired difference of a score over `trials`.

        models: (labels, weights), arrays (n,), of the models that one side has in the difference and of those that the
        other has. As if both had bought the same labels, and had trained with other seeds. NaN where noise was not
        measured for one of the models.
        """
        parts = [np.where(np.equal(weights, 0), 0.0, weights * self.at(labels)) for labels, weights in models]
        return float(np.linalg.norm(np.concatenate(parts)) / math.sqrt(trials))


def measured(metrics, dataset, setting, split, metric, stage="proxy", model=""):
    """`Noise` of a model's score, or None where nothing was trained twice on the same labels.

    Trainings on the same labels are a model and its replicates: rows of stage `replicate1`, `replicate2`, …; and the
    first rounds of strategies that began with the same labels (`pair`) and trained apart, as the authors of the paper
    did: what differs between them is the training's own noise, whatever its seeds were. First rounds of which all
    scores are the same to the last bit are one model, which strategies share or which was computed again, and count
    once.
    """
    chosen, split = metrics, study.stored(split)
    for column, value in zip((*study.SETTING, "split", "metric"), (dataset, *setting, split, metric), strict=True):
        chosen = chosen[chosen[column] == value]
    own = chosen[(chosen["stage"] == stage) & (chosen["model"] == model)]
    replicates = chosen[chosen["stage"].str.startswith(study.REPLICATE)]
    again = replicates[replicates["model"] == model]
    if stage == "proxy" and again.empty:
        # An encoder that selects is trained by its setting's trainer; its replicates name that as their model.
        again = replicates[replicates["model"] == setting[2]]
    squares, freedom, labels = {}, {}, {}

    def add(round_, num_labels, values):
        labels[round_] = int(num_labels)
        squares[round_] = squares.get(round_, 0.0) + np.var(values) * len(values)
        freedom[round_] = freedom.get(round_, 0) + len(values) - 1

    for num_labels, values in _first_rounds(metrics, dataset, setting, stage, model, split, metric):
        if len(values) > 1:
            add(1, num_labels, values)
    for (round_, trial), others in again.groupby(["round", "trial"]):
        # Under each strategy that shares the model, it and its replicates stand once more.
        models = own[(own["round"] == round_) & (own["trial"] == trial) & own["strategy"].isin(others["strategy"])][:1]
        values = [*models["value"], *others.drop_duplicates("stage")["value"]]
        if len(values) < 2:
            continue
        add(round_, others["num_labels"].iloc[0], values)
    if not freedom:
        return None
    rounds = sorted(freedom)
    sd = np.array([math.sqrt(squares[r] / freedom[r]) for r in rounds])
    return Noise(np.array([labels[r] for r in rounds], dtype=np.int64), sd, sum(freedom.values()))


def _first_rounds(metrics, dataset, setting, stage, model, split, metric):
    """(number of labels, scores of the models that were trained on the same first labels), for each such labels."""
    chosen = metrics[metrics["round"].eq(1) & metrics["split"].ne("")]
    for column, value in zip((*study.SETTING, "stage", "model"), (dataset, *setting, stage, model), strict=True):
        chosen = chosen[chosen[column] == value]
    begun = ["trial", "pair", "num_labels"]
    for (_, _, num_labels), first in chosen.groupby(begun):
        scores = first.pivot_table(index="strategy", columns=["split", "metric"], values="value").dropna(axis=1)
        if (split, metric) in scores:
            yield num_labels, scores.drop_duplicates()[split, metric].to_numpy()
