"""The tables of a data set: every strategy after its last round against random sampling, trainers, selectors."""

import math

import numpy as np
import pandas as pd

from labelbench import noise, seeds, statistics, study
from labelbench.errors import UserError
from labelbench.savings import Savings, label_savings
from labelbench.study import REFERENCE

# A balanced pool leads with accuracy; where classes are rare, accuracy hides them.
MEASURES = {
    "accuracy": ("accuracy",),
    "balanced_accuracy": ("balanced_accuracy", "macro_f1"),
    "macro_f1": ("macro_f1", "balanced_accuracy"),
}
# What an average over a test set hides; the first of them that was measured.
WORST = ("worst_group_accuracy", "worst_class_accuracy")
_DIFFERENCE = ("difference", "difference_low", "difference_high", "difference_p")
_COLUMNS = [*study.SETTING, "stage", "model", "strategy", "kind", "split", "measure"]
_COLUMNS += ["num_labels", "trials", "mean", "se", *_DIFFERENCE, "best"]


def final_table(metrics, dataset, lead, kinds):
    """One row per (setting, stage, model, strategy, split, measure) after the last round; fractions in [0, 1].

    `metrics`: the study's table (`study.load`); `lead`: a key of `MEASURES`, which says what follows it;
    `kinds`: by strategy, "batch", "sequential" (buys labels one at a time within a batch) or "upper bound" (sees labels
    that nobody bought; never counted as best).
    The test sets' measures end with the worst group's accuracy, or the worst class's where there are no groups.
    Adds to the keys the kind, num_labels, trials, `mean`, `se`, the paired difference to random with its 95 % interval
    and sign-flip p-value, `noise` (the standard deviation that training on the same labels gives to the difference),
    `savings` (`savings.Savings`; proxies only, fine-tuned models have no curves), and `best`: the highest mean of its
    block, or one whose paired 95 % interval to the highest holds zero. What cannot be computed (no random in the study,
    one trial) is NaN. Zero-shot heads come first, as rows of stage `zero_shot` without labels or trials.
    """
    if lead not in MEASURES:
        raise UserError(f"dataset {dataset}: the leading metric is {lead!r}; it must be {' or '.join(MEASURES)}.")
    settings, strategies = study.settings(metrics, dataset), study.strategies_of(metrics, dataset)
    splits = study.splits_of(metrics, dataset)
    columns = [(split, measure) for measure in MEASURES[lead] for split in splits]
    measured = metrics[metrics["dataset"] == dataset].groupby("split")["metric"].unique()
    for split in splits:
        worst = [measure for measure in WORST if split != "pool" and measure in measured[split]]
        columns += [(split, measure) for measure in worst[:1]]
    rows = []
    for encoder in dict.fromkeys(encoder for encoder, _, _ in settings):
        for split, measure in columns:
            level = study.zero_shot(metrics, dataset, encoder, split, study.metric_of(split, measure))
            if level is not None:
                keys = {"dataset": dataset, "encoder": encoder, "stage": "zero_shot", "strategy": "zero-shot"}
                keys |= dict.fromkeys(("selector", "trainer", "model"), "") | {"kind": "batch"}
                counts = {"num_labels": 0, "trials": 0}
                rows.append({**keys, "split": split, "measure": measure, **counts, "mean": level, "best": False})
    for setting in settings:
        for stage, model in study.models(metrics, dataset):
            for split, measure in columns:
                found = {
                    s: study.curves(metrics, dataset, setting, s, split, study.metric_of(split, measure), stage, model)
                    for s in strategies
                }
                found = {s: curves for s, curves in found.items() if curves is not None}
                keys = dict(zip(study.SETTING, (dataset, *setting), strict=True))
                keys |= {"stage": stage, "model": model, "split": split, "measure": measure}
                column = _column(found, stage == "proxy" and measure == lead, kinds)
                floor = noise.measured(metrics, dataset, setting, split, study.metric_of(split, measure), stage, model)
                for row in column if floor else ():
                    if "difference" in row:
                        row["noise"] = floor.of_difference([row["num_labels"]], [1.0], row["trials"])
                rows += [{**keys, **row} for row in column]
    return pd.DataFrame(rows, columns=[*_COLUMNS, "noise", "savings"])


def _column(curves, with_savings, kinds):
    """Rows of one column of one block, from the `study.Curves` by strategy."""
    finals = {s: _scores(curve) for s, curve in curves.items()}
    best = _best({s: scores for s, scores in finals.items() if kinds[s] != "upper bound"})
    reference = curves.get(REFERENCE)
    rows = []
    for strategy, curve in curves.items():
        row = {"strategy": strategy, "kind": kinds[strategy], "num_labels": int(curve.labels[-1])}
        row |= _estimated(finals[strategy]) | {"best": strategy in best}
        if reference is not None and strategy != REFERENCE:
            own, other = curve.shared_with(reference)
            if curve.labels[-1] == reference.labels[-1]:
                row |= _compared(finals[strategy], finals[REFERENCE])
            if with_savings and len(own.trials):
                row["savings"] = label_savings(own.labels, own.scores, other.labels, other.scores, _bootstrap())
        rows.append(row)
    return rows


def _scores(curves, at=-1):
    """Scores of one round of `study.Curves` as a Series by trial, so that differences pair by trial."""
    return pd.Series(curves.scores[:, at], index=curves.trials)


def _best(scores):
    """Names with the highest mean of `scores`, Series by trial, or whose paired 95 % interval to it holds zero."""
    if not scores:
        return set()
    highest = max(scores, key=lambda name: scores[name].mean())
    gaps = {name: _gap(scores[highest], values) for name, values in scores.items()}
    return {name for name, gap in gaps.items() if name == highest or (len(gap) and statistics.estimate(gap).low <= 0)}


def _gap(scores, reference):
    """Differences (n,) of two Series by trial, on the trials that both have."""
    return (scores - reference).dropna().to_numpy()


def _bootstrap():
    # The same draws for every comparison: an interval does not depend on what else ran.
    return seeds.generator(0, 0, 0, "bootstrap")


def _estimated(scores):
    score = statistics.estimate(scores)
    return {"trials": len(scores), "mean": float(score.mean), "se": float(score.se)}


def _compared(scores, reference):
    """The paired difference of scores, a Series by trial, to a reference's, as the columns `_DIFFERENCE`."""
    gap = _gap(scores, reference)
    if not len(gap):
        return {}
    found, p = statistics.estimate(gap), statistics.sign_flip_p(gap, _bootstrap())
    return dict(zip(_DIFFERENCE, (float(found.mean), float(found.low), float(found.high), p), strict=True))


def trainers_table(metrics, dataset, lead, kinds, passive):
    """One row per (setting, stage, model, split, round): what each trainer makes of the same labels; fractions.

    Blocks of rows to be compared are the trainers of a selector's models, and the trainers that fine-tune end to end on
    the labels of one setting; a block of one trainer is no comparison and left out. `passive`: the trainers that use
    labels only; the difference of a row is to the first of them in its block. The labels are those that
    `strategy_of_trainers` bought. Other arguments and columns as in `final_table`; `best` is the best of its block,
    split and round.
    """
    strategy = strategy_of_trainers(metrics, dataset)
    rows = []
    for block in rival_trainers(metrics, dataset):
        for split in study.splits_of(metrics, dataset):
            found = {
                rival: study.curves(
                    metrics, dataset, rival[:3], strategy, split, study.metric_of(split, lead), *rival[3:]
                )
                for rival in block
            }
            found = {rival: curves for rival, curves in found.items() if curves is not None}
            if not found:
                continue
            reference = next((rival for rival in found if trained_by(*rival[2:]) in passive), None)
            metric = study.metric_of(split, lead)
            floors = {rival: noise.measured(metrics, dataset, rival[:3], split, metric, *rival[3:]) for rival in found}
            for labels in sorted({int(n) for curves in found.values() for n in curves.labels}):
                scores = {
                    rival: _scores(curves, list(curves.labels).index(labels))
                    for rival, curves in found.items()
                    if labels in curves.labels
                }
                best = _best(scores)
                for rival in scores:
                    keys = dict(zip(_COLUMNS, (dataset, *rival, strategy, kinds[strategy], split, lead), strict=False))
                    row = {**keys, "num_labels": labels, "best": rival in best}
                    if reference in scores and rival != reference:
                        row |= _compared(scores[rival], scores[reference])
                        if floors[rival] and floors[reference]:
                            both = np.hypot(floors[rival].at([labels]), floors[reference].at([labels]))
                            row["noise"] = float(both[0]) / math.sqrt(len(scores[rival]))
                    rows.append(row | _estimated(scores[rival]))
    return pd.DataFrame(rows, columns=[*_COLUMNS, "noise"])


def trained_by(trainer, stage, model):
    """What trained a model: its own trainer where it was fine-tuned end to end, else that of its setting."""
    return model if stage == "finetune" else trainer


def strategy_of_trainers(metrics, dataset):
    """The strategy on whose labels trainers are compared: random sampling, or the first where it was not run."""
    strategies = study.strategies_of(metrics, dataset)
    return REFERENCE if REFERENCE in strategies else strategies[0]


def rival_trainers(metrics, dataset):
    """Lists of (encoder, selector, trainer, stage, model) whose trainers are to be compared."""
    settings, models = study.settings(metrics, dataset), study.models(metrics, dataset)
    strategy = strategy_of_trainers(metrics, dataset)
    blocks = {}
    for encoder, selector, trainer in settings:
        blocks.setdefault((encoder, selector), []).append((encoder, selector, trainer, *models[0]))
    seen = set()
    for setting in settings:
        # Random sampling looks at no model: its labels, and what is fine-tuned on them, are the same in all settings.
        if strategy != REFERENCE or setting[0] not in seen:
            blocks[setting] = [(*setting, *model) for model in models[1:]]
        seen.add(setting[0])
    return [block for block in blocks.values() if len(block) > 1]


# What a run of rounds costs, in seconds, by the name of its row.
TRAINING, SELECTION, FINAL = "training for selection", "selection", "final model"


def selectors_table(metrics, dataset, lead, kinds):
    """One row per (setting, stage, model, strategy, split) after the last round, then three costs per setting.

    Which model's scores: of those fine-tuned end to end on the labels of the last round, the final models, or where
    there are none, of the selectors' own. `mean` and `se` are fractions, `best` is the best strategy of its setting,
    model and split. Costs have no strategy and no split, `seconds` in place of a mean, and in `measure` what they
    are: training of the models that select, those of all rounds but the last; selection itself; training of the final
    model. They are sums over a run's rounds, averaged over trials and strategies (not random sampling, which looks at
    no model, nor upper bounds, where there are others).
    """
    settings, strategies = study.settings(metrics, dataset), study.strategies_of(metrics, dataset)
    runs = metrics[(metrics["dataset"] == dataset) & (metrics["stage"] != "zero_shot")]
    last = runs["round"].max()
    counts = {"num_labels": int(runs.loc[runs["round"] == last, "num_labels"].iloc[0])}
    counts["trials"] = runs["trial"].nunique()
    evaluated = set(runs.loc[(runs["stage"] == "finetune") & (runs["round"] == last), "model"])
    models = study.models(metrics, dataset)
    finals = [(stage, model) for stage, model in models if model in evaluated] or models[:1]
    rows = []
    for setting in settings:
        for stage, model in finals:
            keys = dict(zip(_COLUMNS, (dataset, *setting, stage, model), strict=False))
            for split in study.splits_of(metrics, dataset):
                metric = study.metric_of(split, lead)
                found = {s: study.curves(metrics, dataset, setting, s, split, metric, stage, model) for s in strategies}
                found = {s: curves for s, curves in found.items() if curves is not None}
                rows += [{**keys, "split": split, "measure": lead, **row} for row in _column(found, False, kinds)]
            counted = [s for s in strategies if s != REFERENCE and kinds[s] != "upper bound"] or strategies
            costs = _costs(runs, setting, counted, last, stage, model)
            rows += [{**keys, **counts, "kind": "cost", "measure": cost, "seconds": s} for cost, s in costs.items()]
    return pd.DataFrame(rows, columns=[*_COLUMNS, "seconds"])


def _costs(runs, setting, strategies, last, stage, model):
    """Mean seconds of a run by kind of cost; NaN for what was not measured."""
    for column, value in zip(study.SETTING[1:], setting, strict=True):
        runs = runs[runs[column] == value]
    runs = runs[(runs["split"] == "") & runs["strategy"].isin(strategies)]
    # Where the selector blends, the fine-tunes between rounds and the embeddings they make are part of its training.
    own = runs[runs["stage"].isin(("proxy", "refresh")) & (runs["round"] < last)]
    final = runs[(runs["stage"] == stage) & (runs["model"] == model) & (runs["round"] == last)]
    chosen = {
        TRAINING: own[own["metric"].isin(("train_seconds", "embed_seconds"))],
        SELECTION: runs[runs["metric"] == "select_seconds"],
        FINAL: final[final["metric"] == "train_seconds"],
    }
    return {cost: rows.groupby(["strategy", "trial"])["value"].sum().mean() for cost, rows in chosen.items()}


def to_csv(table, reference=REFERENCE):
    """A table as CSV text: one line per row of it, one number per cell, in percent and points.

    `reference` says what differences are to. Censored label savings keep their sign (">2.31"); "labels random needs" is
    for the strategy's own final accuracy.
    """
    models = {"proxy": "selector's model", "zero_shot": "zero-shot head"}
    lines = []
    for row in table.to_dict("records"):
        line = {field: row[field] for field in study.SETTING}
        line["model"] = models.get(row["stage"], f"fine-tuned, {row['model']}")
        line |= {field: row[field] for field in ("strategy", "kind", "split")}
        line["metric"] = study.NAMES.get(row["measure"], row["measure"])
        line |= {"labels": row["num_labels"], "trials": row["trials"]}
        line["mean (%)"] = _number(100 * row["mean"])
        line["standard error"] = _number(100 * row["se"])
        line[f"difference to {reference} (points)"] = _number(100 * row["difference"])
        line["difference 95 % low"] = _number(100 * row["difference_low"])
        line["difference 95 % high"] = _number(100 * row["difference_high"])
        line["sign-flip p"] = _number(row["difference_p"])
        if "noise" in row:
            line["training noise (points)"] = _number(100 * row["noise"])
        if "savings" in row:
            savings = row["savings"] if isinstance(row["savings"], Savings) else None
            line["label savings (times)"] = _bounded(savings and savings.factor)
            line["savings 95 % low"] = _bounded(savings and savings.low)
            line["savings 95 % high"] = _bounded(savings and savings.high)
            line["labels random needs"] = _bounded(savings and savings.random_labels)
        if "seconds" in row:
            line["seconds"] = _number(row["seconds"])
        lines.append(line)
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def _number(x):
    return "" if math.isnan(x) else f"{x:.6g}"


def _bounded(x):
    return "" if x is None else x.sign + _number(x.value)
