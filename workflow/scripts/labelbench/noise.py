"""The noise floor: how much scores differ between trainings on identical labels, and what that does to differences."""

import math
from dataclasses import dataclass

import numpy as np

from labelbench import study


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

    def of_difference(self, labels, weights, trials):
        """Standard deviation that noise alone gives to a mean paired difference of two strategies over `trials`.

        weights: (rounds,), of the rounds at `labels` in the score, 0 for a round whose model both share. As if both had
        bought the same labels, and had trained with other seeds.
        """
        return float(math.sqrt(2 / trials) * np.linalg.norm(np.asarray(weights) * self.at(labels)))


def measured(metrics, dataset, setting, split, metric, stage="proxy", model=""):
    """`Noise` of a model's score, or None where nothing was trained twice on the same labels.

    Trainings on the same labels are a model and its replicates (rows of stage `replicate1`, `replicate2`, …), and in
    the first round the models of all strategies of a trial, where a study trained one for each instead of one for all.
    """
    chosen = metrics
    for column, value in zip((*study.SETTING, "split", "metric"), (dataset, *setting, split, metric), strict=True):
        chosen = chosen[chosen[column] == value]
    again = chosen[chosen["stage"].str.startswith(study.REPLICATE)]
    # An encoder that selects is trained by its setting's trainer; its replicates name that as their model.
    names = {model, setting[2]} if stage == "proxy" else {model}
    again = again[again["model"].isin(names)]
    own = chosen[(chosen["stage"] == stage) & (chosen["model"] == model)]
    if own.empty:
        return None
    first = own[own["round"] == 1]
    separate = (first.groupby("trial")["value"].nunique() > 1).any()
    squares, freedom, labels = {}, {}, {}
    for (round_, trial), models in own.groupby(["round", "trial"]):
        replicates = again[(again["round"] == round_) & (again["trial"] == trial)].drop_duplicates("stage")
        if round_ > 1:
            models = models[models["strategy"].isin(replicates["strategy"])]
        elif not separate:
            models = models[:1]
        values = [*models["value"], *replicates["value"]]
        if len(values) < 2:
            continue
        labels[round_] = int(models["num_labels"].iloc[0])
        squares[round_] = squares.get(round_, 0.0) + np.var(values) * len(values)
        freedom[round_] = freedom.get(round_, 0) + len(values) - 1
    if not freedom:
        return None
    rounds = sorted(freedom)
    sd = np.array([math.sqrt(squares[r] / freedom[r]) for r in rounds])
    return Noise(np.array([labels[r] for r in rounds], dtype=np.int64), sd, sum(freedom.values()))
