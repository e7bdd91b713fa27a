"""The noise floor: how much scores differ between trainings on identical labels, and what that does to differences."""

import math
from dataclasses import dataclass

import numpy as np

from labelbench.evidence import study


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
        """The standard deviation at `labels` (n,): interpolated in log labels, constant beyond what was measured."""
        return np.sqrt(np.interp(np.log(labels), np.log(self.labels), self.sd**2))

    def of_difference(self, models, trials):
        """Standard deviation that noise alone gives to a mean paired difference of a score over `trials`.

        models: (labels, weights), arrays (n,), of the models that one side has in the difference and of those that the
        other has. As if both had bought the same labels, and had trained with other seeds.
        """
        parts = [np.asarray(weights) * self.at(labels) for labels, weights in models]
        return float(np.linalg.norm(np.concatenate(parts)) / math.sqrt(trials))


def measured(metrics, dataset, setting, split, metric, stage="proxy", model=""):
    """`Noise` of a model's score, or None where nothing was trained twice on the same labels.

    Trainings on the same labels are a model and its replicates: rows of stage `replicate1`, `replicate2`, …; and the
    first rounds of strategies that began with the same labels (`pair`) and trained apart, as the authors of the paper
    did, which other scores show: what differs between them is the training's own noise, whatever its seeds were. Where
    strategies share one model they have one score, and nothing is measured.
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

    for (_, _, num_labels), first in own[own["round"] == 1].groupby(["trial", "pair", "num_labels"]):
        if first["value"].nunique() > 1:
            add(1, num_labels, first["value"])
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
