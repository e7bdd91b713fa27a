"""Models whose training collapsed: rounds far below the rest of their own curve.

One such round makes a strategy look worse by points that have nothing to do with the labels it bought.
"""

import numpy as np
import pandas as pd

from labelbench.evidence import study

TIMES = 10  # the noise that a collapsed round lies below an earlier and a later one
LEAST = 0.02  # fall, a fraction: curves without noise have no collapses for that
_KEYS = [*study.SETTING, "strategy", "stage", "model", "trial"]


def found(metrics, dataset, lead):
    """One row per collapsed model: its setting, strategy, stage, model, trial, round, number of labels and `value`.

    Of the leading metric on the first test set. A round has collapsed where its score lies more than `TIMES` the noise
    below the best earlier and the best later round of the same trial; the last round, below the best earlier one. The
    noise is that of all curves of a setting and model: the standard deviation of a score, from the median distance of
    a round from the line between its neighbours.
    """
    split = study.splits_of(metrics, dataset)[0]
    wanted = metrics["dataset"].eq(dataset) & metrics["split"].eq(study.stored(split))
    wanted &= metrics["metric"].eq(study.metric_of(split, lead)) & metrics["stage"].isin(("proxy", "finetune"))
    rows = []
    for _, block in metrics[wanted].groupby([*study.SETTING, "stage", "model"], sort=False):
        curves = [curve.sort_values("round") for _, curve in block.groupby(_KEYS, sort=False)]
        distances = np.concatenate([_distances(curve) for curve in curves])
        if not len(distances):
            continue
        # Of three independent scores, one less the mean of two: a variance of 1.5 times that of one.
        noise = 1.4826 * np.median(np.abs(distances - np.median(distances))) / np.sqrt(1.5)
        fall = max(TIMES * noise, LEAST)
        rows += [curve[_fallen(curve["value"].to_numpy(), fall)] for curve in curves]
    columns = [*_KEYS, "round", "num_labels", "value"]
    return pd.concat(rows)[columns].reset_index(drop=True) if rows else pd.DataFrame(columns=columns)


def _distances(curve):
    """Distances of the inner rounds of a curve from the line, over log labels, between their neighbours."""
    labels, scores = np.log(curve["num_labels"].to_numpy(dtype=float)), curve["value"].to_numpy()
    if len(scores) < 3:
        return np.empty(0)
    share = (labels[1:-1] - labels[:-2]) / (labels[2:] - labels[:-2])
    return scores[1:-1] - (scores[:-2] + share * (scores[2:] - scores[:-2]))


def _fallen(scores, fall):
    """(rounds,) bool: which of a trial's scores lie so far below the best before and the best after them."""
    before = np.concatenate([[-np.inf], np.maximum.accumulate(scores)[:-1]])
    after = np.concatenate([np.maximum.accumulate(scores[::-1])[::-1][1:], [np.inf]])
    return (before - scores > fall) & (after - scores > fall)


def mended(metrics, collapsed):
    """The table as if collapsed models (`found`) had not been evaluated.

    Each is read on the line over log labels between its trial's neighbouring rounds; a trial whose last round collapsed
    loses its curve.
    """
    if collapsed.empty:
        return metrics
    metrics = metrics.reset_index(drop=True)
    for keys, rounds in collapsed.groupby(_KEYS, sort=False):
        at = metrics["split"].ne("")
        for column, value in zip(_KEYS, keys, strict=True):
            at &= metrics[column] == value
        if metrics.loc[at, "round"].max() in set(rounds["round"]):
            metrics = metrics[~at]
            continue
        for index in metrics[at].groupby(["split", "metric"]).groups.values():
            curve = metrics.loc[index].sort_values("round")
            gone = curve["round"].isin(rounds["round"]).to_numpy()
            logs, values = np.log(curve["num_labels"].to_numpy(dtype=float)), curve["value"].to_numpy()
            if not gone.all():
                metrics.loc[curve.index[gone], "value"] = np.interp(logs[gone], logs[~gone], values[~gone])
    return metrics


def all_mended(metrics, leads):
    """The table of all datasets as if no training had collapsed; leads: the leading metric by dataset."""
    parts = [metrics[metrics["dataset"] == dataset] for dataset in leads]
    mended_parts = [mended(own, found(own, *about)) for own, about in zip(parts, leads.items(), strict=True)]
    return pd.concat(mended_parts) if mended_parts else metrics


def told(collapsed):
    """Sentences about collapsed models, one per setting, model and strategy."""
    texts = []
    for keys, rows in collapsed.groupby([*study.SETTING[1:], "stage", "model", "strategy"], sort=False):
        encoder, selector, trainer, stage, model, strategy = keys
        name = f"{encoder}, {selector}, {trainer}, {strategy}" + (f", fine-tuned with {model}" if model else "")
        scores = f"{100 * rows['value'].min():.1f}"
        if len(rows) > 1:
            scores += f" to {100 * rows['value'].max():.1f}"
        models = "1 training" if len(rows) == 1 else f"{len(rows)} trainings"
        rounds = ", ".join(map(str, sorted(set(rows["round"]))))
        texts.append(
            f"{name}: {models} collapsed (round{'s' * (len(set(rows['round'])) > 1)} {rounds}; {scores} %, far below "
            "the rounds before and after)."
        )
    return texts
