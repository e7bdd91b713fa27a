"""The tables of a data set: every strategy after its last round against random sampling, trainers, selectors."""

import itertools
import math

import numpy as np
import pandas as pd

from labelbench.common.errors import UserError
from labelbench.evidence import noise, statistics, study
from labelbench.evidence.images import half_width, luck
from labelbench.evidence.savings import UNKNOWN, label_savings
from labelbench.evidence.study import REFERENCE

# A balanced pool leads with accuracy; where classes are rare, accuracy hides them.
MEASURES = {
    "accuracy": ("accuracy",),
    "balanced_accuracy": ("balanced_accuracy", "macro_f1"),
    "macro_f1": ("macro_f1", "balanced_accuracy"),
}
# What an average over a test set hides; the first of them that was measured.
WORST = ("worst_group_accuracy", "worst_class_accuracy")
_IMAGES = ("image_se", "other_low", "other_high")
_DIFFERENCE = ("difference", "difference_low", "difference_high", "difference_p")
_COLUMNS = [*study.SETTING, "stage", "model", "strategy", "kind", "split", "measure"]
_COLUMNS += ["num_labels", "trials", "mean", "se", *_DIFFERENCE, "best"]


def final_table(metrics, dataset, lead, kinds, images=None):
    """One row per (setting, stage, model, strategy, split, measure) after the last round; fractions in [0, 1].

    `metrics`: the study's table (`study.load`); `lead`: a key of `MEASURES`, which says what follows it;
    `kinds`: by strategy, "batch", "sequential" (buys labels one at a time within a batch) or "upper bound" (sees labels
    that nobody bought; never counted as best).
    The test sets' measures end with the worst group's accuracy, or the worst class's where there are no groups.
    Adds to the keys the kind, num_labels, trials, `mean`, `se`, the paired difference to random with its 95 % interval
    and sign-flip p-value, `noise` (the standard deviation that training on the same labels gives to the difference),
    `savings` (`savings.Savings`, of models of several rounds), and `best`: the highest mean of its block, or one that
    is not shown to lie below it. Differences are taken at the last number of labels that both sides
    reach, read on the line between rounds, and the best at random sampling's last; with fewer than four trials nothing
    is best, for intervals hold zero whatever happens. What cannot be computed (no random in the study,
    one trial) is NaN. Zero-shot heads come first, as rows of stage `zero_shot` without labels or trials.
    """
    if lead not in MEASURES:
        raise UserError(f"dataset {dataset}: the leading metric is {lead!r}; it must be {' or '.join(MEASURES)}.")
    settings, strategies = study.settings(metrics, dataset), study.strategies_of(metrics, dataset)
    splits = study.splits_of(metrics, dataset)
    columns = [(split, measure) for measure in MEASURES[lead] for split in splits]
    measured = metrics[metrics["dataset"] == dataset].groupby("split")["metric"].unique()
    for split in splits:
        worst = [measure for measure in WORST if not split.startswith("pool") and measure in measured[split]]
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
        for stage, model in study.distinct_models(metrics, dataset, setting):
            for split, measure in columns:
                metric = study.metric_of(split, measure)
                found = {
                    s: study.curves(metrics, dataset, setting, s, split, metric, stage, model, images)
                    for s in strategies
                }
                found = {s: curves for s, curves in found.items() if curves is not None}
                keys = dict(zip(study.SETTING, (dataset, *setting), strict=True))
                keys |= {"stage": stage, "model": model, "split": split, "measure": measure}
                column = _column(found, measure == lead, kinds, measure)
                floor = noise.measured(metrics, dataset, setting, split, study.metric_of(split, measure), stage, model)
                for row in column if floor else ():
                    if "difference" in row:
                        row["noise"] = floor.of_difference(2 * [([row["num_labels"]], [1.0])], row["trials"])
                rows += [{**keys, **row} for row in column]
    return pd.DataFrame(rows, columns=[*_COLUMNS, "noise", *_IMAGES, "savings"])


def _column(curves, with_savings, kinds, measure=""):
    """Rows of one column of one block, from the `study.Curves` by strategy."""
    finals = {s: _scores(curve) for s, curve in curves.items()}
    best = _best(_last_scores({s: curve for s, curve in curves.items() if kinds[s] != "upper bound"}))
    reference = curves.get(REFERENCE)
    rows = []
    for strategy, curve in curves.items():
        row = {"strategy": strategy, "kind": kinds[strategy], "num_labels": int(curve.labels[-1])}
        row |= _estimated(finals[strategy]) | {"best": strategy in best}
        if reference is not None and strategy != REFERENCE:
            own, other = study.shared(curve, reference)
            if own.scores.size:
                row |= _compared(_scores(own), _scores(other))
                at_end = np.eye(len(own.labels))[-1]
                if found := luck(own.hits, other.hits, at_end, measure):
                    gap = statistics.estimate(_gap(_scores(own), _scores(other)))
                    half = half_width(float(gap.se), len(own.trials), found.se)
                    row |= {"image_se": found.se, "other_low": gap.mean - half, "other_high": gap.mean + half}
            if with_savings and own.scores.size and len(own.labels) > 1:
                row["savings"] = label_savings(
                    own.labels, own.scores, other.labels, other.scores, statistics.bootstrap()
                )
        rows.append(row)
    return rows


def _last_scores(curves):
    """Scores at the end of random sampling's `study.Curves`, else of most of them, as Series by trial.

    Read on the line between rounds, as in comparisons. Of curves by strategy; those that do not get there have none.
    """
    if not curves:
        return {}
    ends = [curve.labels[-1] for curve in curves.values()]
    at = curves[REFERENCE].labels[-1] if REFERENCE in curves else max(sorted(ends), key=ends.count)
    return {
        strategy: pd.Series((curve.scores @ study.between(curve.labels, [at]))[:, 0], index=curve.trials)
        for strategy, curve in curves.items()
        if curve.labels[0] <= at <= curve.labels[-1]
    }


def _scores(curves, at=-1):
    """Scores of one round of `study.Curves` as a Series by trial, so that differences pair by trial."""
    return pd.Series(curves.scores[:, at], index=curves.trials)


def _best(scores):
    """Names with the highest mean of `scores`, Series by trial, or that are not shown to lie below it.

    Of those with enough trials to tell; none where the highest has too few, or where that were all of them. Shown: by
    the paired t test at the 5 % level, corrected by Holm for all that are compared with the highest, so that the one
    that is truly best is among them in 95 % of studies or more.
    """
    highest = max(scores, key=lambda name: scores[name].mean(), default=None)
    scores = {name: values for name, values in scores.items() if len(values) >= statistics.ENOUGH}
    if highest not in scores:  # nobody knows which is the best where the highest has too few trials to tell
        return set()
    gaps = {name: _gap(scores[highest], values) for name, values in scores.items() if name != highest}
    gaps = {name: gap for name, gap in gaps.items() if len(gap)}
    shown = statistics.holm([statistics.student_t_p(gap) for gap in gaps.values()])
    best = {highest, *(name for name, p in zip(gaps, shown, strict=True) if not p < 0.05)}
    return best if len(best) < len(scores) else set()


def _gap(scores, reference):
    """Differences (n,) of two Series by trial, on the trials that both have."""
    return (scores - reference).dropna().to_numpy()


def _estimated(scores):
    score = statistics.estimate(scores)
    return {"trials": len(scores), "mean": float(score.mean), "se": float(score.se)}


def _compared(scores, reference):
    """The paired difference of scores, a Series by trial, to a reference's, as the columns `_DIFFERENCE`."""
    gap = _gap(scores, reference)
    if not len(gap):
        return {}
    found, p = statistics.estimate(gap), statistics.sign_flip_p(gap, statistics.bootstrap())
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
    settings = study.settings(metrics, dataset)
    strategy = strategy_of_trainers(metrics, dataset)
    blocks = {}
    for encoder, selector, trainer in settings:
        blocks.setdefault((encoder, selector), []).append((encoder, selector, trainer, "proxy", ""))
    seen = set()
    for setting in settings:
        # Random sampling looks at no model: its labels, and what is fine-tuned on them, are the same in all settings.
        if strategy != REFERENCE or setting[0] not in seen:
            blocks[setting] = [(*setting, *model) for model in study.models(metrics, dataset, setting)[1:]]
        seen.add(setting[0])
    return [block for block in blocks.values() if len(block) > 1]


def selectors_table(metrics, dataset, lead, kinds):
    """One row per (setting, stage, model, strategy, split, measure) after the last round: what chosen labels are worth.

    Which model's scores: of those fine-tuned end to end on the labels of the last round, the final models, or where
    there are none, of the selectors' own. A model that was trained in one setting only compares no selectors and is
    left out, unless no other is there. Columns as in `final_table`; `best` is the best strategy of its setting, model,
    split and measure.
    """
    strategies, rows = study.strategies_of(metrics, dataset), []
    for setting, stage, model in _final_models(metrics, dataset):
        keys = dict(zip(_COLUMNS, (dataset, *setting, stage, model), strict=False))
        for measure, split in itertools.product(MEASURES[lead], study.splits_of(metrics, dataset)):
            metric = study.metric_of(split, measure)
            found = {s: study.curves(metrics, dataset, setting, s, split, metric, stage, model) for s in strategies}
            found = {s: curves for s, curves in found.items() if curves is not None}
            rows += [{**keys, "split": split, "measure": measure, **row} for row in _column(found, False, kinds)]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    settings = table.groupby(["encoder", "model"])[["selector", "trainer"]].transform(lambda names: names.nunique())
    comparing = (settings > 1).any(axis=1)
    return table[comparing] if comparing.any() else table


def _final_models(metrics, dataset):
    """The (setting, stage, model) of final models: fine-tuned on the last round's labels, or the selector's own."""
    runs = metrics[(metrics["dataset"] == dataset) & (metrics["stage"] != "zero_shot")]
    evaluated = set(runs.loc[(runs["stage"] == "finetune") & (runs["round"] == runs["round"].max()), "model"])
    for setting in study.settings(metrics, dataset):
        models = study.models(metrics, dataset, setting)
        for stage, model in [(stage, model) for stage, model in models if model in evaluated] or models[:1]:
            yield setting, stage, model


# What a study costs, by the name of its row.
PRECOMPUTATION, TRAINING, SELECTION, FINAL = "precomputation", "training for selection", "selection", "final models"
TOTAL = "total"


def costs_table(metrics, dataset, end_to_end, prices):
    """One row per (setting, stage, model, cost): what all runs of a setting took (LabelBench paper, Table 2).

    end_to_end: selectors that train the encoder itself and use no embeddings; prices: of a `cpu_hour` and a `gpu_hour`,
    where they are known. `measure` is the cost: precomputation, the embeddings, which all runs of a dataset and encoder
    share; training of the models that select, those of all rounds but the last; selection; the models of the last
    round; their total. The round that all strategies share counts once a trial. `runs`: strategies × trials; `hours`:
    of jobs, with their start-up, on the wall clock; `cpu_hours`: of jobs without a GPU, times their threads;
    `gpu_hours`: of the others; `money`: NaN without the prices it takes; `times_less`: what a run costs in the first
    end-to-end setting of the same encoder over the row's, in money where that is known, else in hours (on rows of the
    total only).
    """
    jobs, rows = _jobs(metrics[metrics["dataset"] == dataset]), []
    for setting, stage, model in _final_models(metrics, dataset):
        own = jobs
        for column, value in zip(study.SETTING[1:], setting, strict=True):
            own = own[own[column] == value]
        last = own["round"].max()
        # Of the first round, which all strategies share, the table of metrics holds a copy for each of them.
        each = ["trial", "round", "stage", "model", "kind"]
        once = own[(own["round"] > 1) | ~own.duplicated(each)]
        at_last = (once["round"] == last) & (once["stage"] == stage) & (once["model"] == model)
        prepared = jobs[(jobs["stage"] == "zero_shot") & (jobs["encoder"] == setting[0])]
        parts = {
            PRECOMPUTATION: prepared[:0] if setting[1] in end_to_end else prepared,
            TRAINING: once[
                once["stage"].isin(("proxy", "refresh")) & (once["round"] < last) & (once["kind"] == "train")
            ],
            SELECTION: once[once["kind"] == "select"],
            FINAL: once[at_last & (once["kind"] == "train")],
        }
        keys = dict(zip(_COLUMNS, (dataset, *setting, stage, model), strict=False))
        keys["runs"] = len(own[own["round"] == last][["strategy", "trial"]].drop_duplicates())
        costs = {cost: _sum(part, prices) for cost, part in parts.items()}
        costs[TOTAL] = {name: sum(cost[name] for cost in costs.values()) for name in costs[FINAL]}
        rows += [{**keys, "measure": cost, **values} for cost, values in costs.items()]
    table = pd.DataFrame(rows)
    table["times_less"] = math.nan
    for _, block in table[table["measure"] == TOTAL].groupby("encoder"):
        unit = "money" if block["money"].notna().all() else "hours"
        dearest = block[block["selector"].isin(end_to_end)]
        if len(dearest):
            per_run = block[unit] / block["runs"]
            table.loc[block.index, "times_less"] = per_run[dearest.index[0]] / per_run
    return table


def _jobs(metrics):
    """One row per job: seconds of its work and start-up, its threads and GPUs; `kind`: "train" (or embed), "select"."""
    identity = [column for column in study.IDENTITY if column != "num_labels"]
    costs = metrics[metrics["split"] == ""].pivot_table(index=identity, columns="metric", values="value").reset_index()
    kinds = []
    for kind, prefix, work in (
        ("train", "", ("train_seconds", "embed_seconds")),  # a refresh does both
        ("select", "select_", ("select_seconds",)),
    ):
        columns = {
            "seconds": [*work, f"{prefix}startup_seconds"],
            "threads": [f"{prefix}threads"],
            "gpus": [f"{prefix}gpus"],
        }
        found = costs.reindex(columns=[*identity, *(name for names in columns.values() for name in names)])
        rows = found[identity].assign(kind=kind)
        for column, names in columns.items():
            rows[column] = found[names].sum(axis=1, min_count=1)
        kinds.append(rows[found[list(work)].notna().any(axis=1)])
    return pd.concat(kinds, ignore_index=True)


def _sum(jobs, prices):
    """What jobs cost together. Of a job that does not say what it held, only its hours are known."""
    hours = jobs["seconds"] / 3600
    gpu = (hours * jobs["gpus"]).sum(skipna=False)
    cpu = (hours * jobs["threads"] * (jobs["gpus"] == 0)).sum(skipna=False)
    known = [
        0.0 if amount == 0 else amount * prices.get(f"{kind}_hour", math.nan)
        for kind, amount in (("cpu", cpu), ("gpu", gpu))
    ]
    return {"hours": hours.sum(), "cpu_hours": cpu, "gpu_hours": gpu, "money": sum(known)}


def costs_csv(table):
    """The table of costs as CSV text."""
    names = {"stage": "final stage", "model": "final model", "measure": "cost", "cpu_hours": "CPU hours"}
    names |= {"gpu_hours": "GPU hours", "times_less": "times less than selection with fine-tuning, per run"}
    return plain_csv(table.rename(columns=names))


def plain_csv(table):
    """A table with its columns as they are, as CSV text."""
    return table.to_csv(index=False, lineterminator="\n", float_format="%.6g")


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
        if "image_se" in row:
            line["standard error of test images"] = _number(100 * row["image_se"])
            line["other images 95 % low"] = _number(100 * row["other_low"])
            line["other images 95 % high"] = _number(100 * row["other_high"])
        line["sign-flip p"] = _number(row["difference_p"])
        if "noise" in row:
            line["training noise (points)"] = _number(100 * row["noise"])
        if "savings" in row:
            for name, field in (
                ("label savings (times)", "factor"),
                ("savings 95 % low", "low"),
                ("savings 95 % high", "high"),
                ("labels random needs", "random_labels"),
            ):
                line[name] = str(getattr(row["savings"], field, UNKNOWN))
        lines.append(line)
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def _number(x):
    return "" if math.isnan(x) else f"{x:.6g}"
