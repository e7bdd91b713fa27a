"""What differences between strategies amount to: whole learning curves compared, with everything a decision needs."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labelbench.evidence import collapses, noise, statistics, study
from labelbench.evidence import images as test_images
from labelbench.evidence.savings import UNKNOWN, label_savings, labels_saved, savings_curve
from labelbench.evidence.study import REFERENCE

REFERENCES = (REFERENCE, "margin")
ALPHA = 0.05
BLOCK, DATASET = FAMILIES = ("block", "dataset")  # what p-values are corrected for
_COLUMNS = [*study.SETTING, "stage", "model", "split", "measure", "strategy", "kind", "reference"]
_COLUMNS += ["rounds", "num_labels", "trials", "aulc", "se", "difference", "low", "high", "p_sign_flip", "test", "p"]
_IMAGES = ("images", "image_se", "other_low", "other_high")
_NOISE = ("noise", "noise_freedom", "noise_sd", "noise_labels")
_GAPS = ("gaps", "paired")
_WITHOUT = ("difference", "low", "high", "p_holm", "verdict", *_GAPS)
_COLUMNS += ["p_holm", "verdict", *_NOISE, *_IMAGES, "needed", "savings", *_GAPS]
_COLUMNS += ["collapsed", "collapsed_of", *(f"{column}_without" for column in _WITHOUT), "settings", "above", "of"]
_COLUMNS += ["alike_low", "alike_high"]


def comparisons_table(metrics, dataset, lead, kinds, equivalence, images=None, family=BLOCK):
    """One row per (setting, stage, model, split, strategy, reference), of models with at least two rounds; fractions.

    `metrics`: the study's table, of paired trials (`study.paired`); `lead`: the metric; `kinds`: by strategy, as in
    `tables.final_table`; `equivalence`: half the width of the region of practical equivalence, a fraction.

    `aulc` and `se`: area under the learning curve over log labels (`statistics.aulc`), mean over trials and its
    standard error. References are random sampling and margin; a strategy that has none to be compared with has a row
    with `reference` "" and NaN. `difference`, `low`, `high`: paired difference of the areas on the trials both have and
    the labels both cover (`study.shared`; `num_labels` the last of them, `rounds` the strategy's own among them,
    `trials`), with its 95 % interval. `p_sign_flip`: exact for up to 20 trials; `p` is the same where it can fall below
    5 % after correction (`test` "sign flip"), else that of the paired t test ("t"); `p_holm`: corrected by Holm for all
    strategies compared with the reference in the same block (`family` "block"), or for all comparisons of the dataset
    ("dataset"); upper bounds are no part of a family. `verdict`: `statistics.verdict`. `noise`: standard deviation that
    training on identical labels gives to the difference, NaN where it was not measured for all of the curve, from
    `noise_freedom` degrees of freedom; `noise_sd`: that of one model's score after `noise_labels` labels, the fewest
    for which it was measured. `savings`: `savings.Savings`, to random sampling only.

    `images`: `images.TestImages`. Where all models of a comparison kept their hits, `images` is how many test images
    there are, `image_se` the standard error that these alone give the difference, and `other_low`, `other_high` its
    95 % interval about other images of this kind, for trials and images together. Then the p-value (`test` "images")
    and the verdict are about other images as well; `low` and `high` stay those on these images. `needed`: trials at
    which the p-value would fall below 5 % after correction, with this mean and spread; inf where none are enough.
    `gaps`: the paired differences (trials,), of the trials `paired`; `above` of `of` of them are positive.

    `collapsed`: how many models of either side collapsed (`collapses.found`), and `collapsed_of` the names of these
    sides. In blocks that have any, `…_without` are the same columns of `collapses.mended`, on these very images.
    """
    table = _compared_blocks(metrics, dataset, lead, kinds, equivalence, images, family)
    gone = collapses.found(metrics, dataset, lead)
    if table.empty or gone.empty:
        return table
    again = _compared_blocks(collapses.mended(metrics, gone), dataset, lead, kinds, equivalence, None, family)
    keys = [*study.SETTING, "stage", "model", "split", "strategy", "reference"]
    counts = gone.groupby([*study.SETTING, "stage", "model", "strategy"]).size().to_dict()
    blocks = {key[:-1] for key in counts}
    others = again.set_index(keys)[list(_WITHOUT)].to_dict("index")
    for at, row in table.iterrows():
        block = tuple(row[column] for column in (*study.SETTING, "stage", "model"))
        found = others.get(tuple(row[column] for column in keys))
        if block in blocks and found and row["reference"]:
            sides = (row["strategy"], row["reference"])
            fallen = {side: counts[(*block, side)] for side in sides if (*block, side) in counts}
            table.loc[at, "collapsed"] = sum(fallen.values())
            table.loc[at, "collapsed_of"] = " and ".join(fallen)
            for column in _WITHOUT:
                table.at[at, f"{column}_without"] = found[column]  # noqa: PD008  arrays in cells
    return table


def without_collapses(table):
    """A `comparisons_table` with the columns `…_without` in place of what they stand beside, where they are known."""
    known, table = table["verdict_without"].notna() & table["collapsed"].gt(0), table.copy()
    for column in _WITHOUT:
        table[column] = table[column].where(~known, table[f"{column}_without"])
    for column in ("image_se", "other_low", "other_high"):
        table[column] = table[column].mask(known)
    return table


def _compared_blocks(metrics, dataset, lead, kinds, equivalence, images, family):
    """The rows of `comparisons_table`, as if no training had collapsed."""
    found, families = [], []
    blocks = [
        (setting, model, split)
        for setting in study.settings(metrics, dataset)
        for model in study.distinct_models(metrics, dataset, setting)
        for split in study.splits_of(metrics, dataset)
    ]
    for setting, (stage, model), split in blocks:
        curves = _curves(metrics, dataset, setting, split, lead, stage, model, images)
        measured = noise.measured(metrics, dataset, setting, split, study.metric_of(split, lead), stage, model)
        keys = dict(zip(_COLUMNS, (dataset, *setting, stage, model, split, lead), strict=False))
        against = [_compared(curves, reference, kinds, measured, lead) for reference in REFERENCES]
        families += against
        block = list(itertools.chain(*against))
        told = {row["strategy"] for row in block}
        for strategy, curve in curves.items():
            if strategy not in told:
                block.append(_described(strategy, curve, kinds) | {"reference": ""})
        order = list(curves)
        found.append((keys, sorted(block, key=lambda row: order.index(row["strategy"]))))
    for rows in [list(itertools.chain(*families))] if family == DATASET else families:
        judge(rows, equivalence)
    rows = [keys | row for keys, block in found for row in block]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    table["collapsed"] = 0
    for column in ("collapsed_of", "verdict_without", "gaps_without", "paired_without"):
        table[column] = table[column].astype(object)
    return table


POOLED = "all settings"  # stands in place of a setting where all of a dataset are taken together
BY_TRIAL, BY_SETTING = "trial means", "pooled"  # the tests over all settings, of `statistics.pooled`


def pooled(table, judged, equivalence):
    """Rows like those of a dataset's `comparisons_table`, of all its settings together, against random sampling.

    judged: by setting, the (stage, model) that is told about. Of strategies that were compared in two settings or more
    with two trials or more: for where a setting has too few trials to decide. `difference` is the mean over `settings`;
    `above` of `of` trial differences are positive. Interval and p-value are those of `statistics.pooled`, for settings
    share their trials' luck (`test` `BY_TRIAL` or `BY_SETTING`; of the latter, `alike_low` and `alike_high` are the
    interval if settings share all of it). The p-value is corrected by Holm for all strategies of a split.
    """
    made = _pooled(table, judged, equivalence)
    if table["collapsed"].any():
        again = _pooled(without_collapses(table), judged, equivalence)
        counts = table[table["reference"] == REFERENCE].groupby(["split", "strategy"])["collapsed"].sum()
        made["collapsed"] = [int(counts[row.split, row.strategy]) for row in made.itertuples()]
        for column in (column for column in _WITHOUT if column not in _GAPS):
            made[f"{column}_without"] = again[column]
    return made


def _pooled(table, judged, equivalence):
    """The rows of `pooled`, as if no training had collapsed."""
    columns = (*study.SETTING[1:], "stage", "model")
    told_about = [tuple(row) in {(*s, *m) for s, m in judged.items()} for row in table[list(columns)].to_numpy()]
    chosen = table[np.array(told_about, dtype=bool) & table["reference"].eq(REFERENCE) & (table["trials"] > 1)]
    rows = []
    for split, of_split in chosen.groupby("split", sort=False):
        family = []
        for strategy, found in of_split.groupby("strategy", sort=False):
            if len(found) > 1:
                family.append(_pooled_row(found) | {"split": split, "strategy": strategy})
        tested = [row for row in family if row["kind"] != "upper bound"]
        for row in tested:
            row["needed"] = test_images.trials_needed(row.pop("by_trial"), row["image_se"], len(tested), ALPHA)
        for row, adjusted in zip(tested, statistics.holm([row["p"] for row in tested]), strict=True):
            row["p_holm"] = float(adjusted)
        for row in family:
            row["verdict"] = statistics.verdict(*told(row), row["p_holm"], equivalence, ALPHA)
        rows += family
    made = pd.DataFrame(rows, columns=_COLUMNS)
    made["collapsed"] = 0
    return made


def _pooled_row(found):
    """One strategy's row of `pooled`, from its rows in several settings."""
    gaps = [pd.Series(gap, index=trials) for gap, trials in zip(found["gaps"], found["paired"], strict=True)]
    mean, se, freedom = statistics.pooled(gaps)
    luck = float(found["image_se"].mean()) if found["image_se"].notna().all() else math.nan
    known = 0.0 if math.isnan(luck) else luck
    row = {column: found[column].iloc[0] for column in ("dataset", "measure", "kind")}
    row |= {"encoder": POOLED, "selector": "", "trainer": "", "stage": "", "model": "", "reference": REFERENCE}
    row |= {"rounds": int(found["rounds"].max()), "num_labels": int(found["num_labels"].max())}
    row |= {"trials": int(found["trials"].max()), "aulc": float(found["aulc"].mean()), "se": math.nan}
    half, wide = (test_images.half_width(se, freedom + 1, part) for part in (0.0, known))
    row |= {"difference": mean, "low": mean - half, "high": mean + half}
    row["test"] = BY_TRIAL if freedom < row["trials"] else BY_SETTING
    row |= {"image_se": luck, "images": found["images"].max(), "other_low": math.nan, "other_high": math.nan}
    if not math.isnan(luck):
        row |= {"other_low": mean - wide, "other_high": mean + wide}
    row["p"] = row["p_holm"] = test_images.p_value(mean, se, freedom + 1, known)
    every = np.concatenate(gaps)
    row |= {"settings": len(found), "above": int((every > 0).sum()), "of": len(every), "gaps": every}
    of_trials = pd.concat(gaps, axis=1).dropna().mean(axis=1).to_numpy()
    by_trial = of_trials if row["test"] == BY_TRIAL else []
    if row["test"] == BY_SETTING and len(of_trials) > 1:
        alike = statistics.estimate(of_trials)
        row |= {"alike_low": float(alike.low), "alike_high": float(alike.high)}
    return row | {"savings": None, "needed": math.nan, "p_sign_flip": math.nan, "by_trial": by_trial}


def _curves(metrics, dataset, setting, split, lead, stage, model, images=None):
    """`study.Curves` by strategy, of those with at least two rounds."""
    metric = study.metric_of(split, lead)
    found = {
        strategy: study.curves(metrics, dataset, setting, strategy, split, metric, stage, model, images)
        for strategy in study.strategies_of(metrics, dataset)
    }
    return {strategy: curves for strategy, curves in found.items() if curves is not None and len(curves.rounds) > 1}


def _described(strategy, curves, kinds):
    area = statistics.estimate(statistics.aulc(curves.labels, curves.scores))
    return {
        "strategy": strategy,
        "kind": kinds[strategy],
        "rounds": len(curves.rounds),
        "num_labels": int(curves.labels[-1]),
        "trials": len(curves.trials),
        "aulc": float(area.mean),
        "se": float(area.se),
        "savings": None,
    }


def _compared(curves, reference, kinds, measured, measure):
    """Rows of all strategies against one reference, without p-values and verdicts; none where it was not run."""
    if reference not in curves:
        return []
    rows = []
    for strategy, curve in curves.items():
        own, other = study.shared(curve, curves[reference])
        if strategy == reference or not len(own.trials) or len(own.rounds) < 2:
            continue
        gaps = statistics.aulc(own.labels, own.scores) - statistics.aulc(other.labels, other.scores)
        gap = statistics.estimate(gaps)
        row = _described(strategy, curve, kinds) | {"reference": reference}
        rounds = int(np.isin(curve.labels, own.labels).sum())
        row |= {"rounds": rounds, "num_labels": int(own.labels[-1]), "trials": len(own.trials)}
        row |= {"difference": float(gap.mean), "low": float(gap.low), "high": float(gap.high)}
        row |= {"gaps": gaps, "paired": np.asarray(own.trials)}
        luck = test_images.luck(own.hits, other.hits, statistics.aulc_weights(own.labels), measure)
        row |= on_other_images(gap, len(own.trials), luck)
        row |= {"settings": 1, "above": int((gaps > 0).sum()), "of": len(gaps)}
        if measured is not None:
            row["noise"] = measured.of_difference(_models(curve, curves[reference], own.labels), len(own.trials))
            row["noise_freedom"] = measured.freedom
            row |= {"noise_sd": float(measured.sd[0]), "noise_labels": int(measured.labels[0])}
        if reference == REFERENCE:
            row["savings"] = label_savings(own.labels, own.scores, other.labels, other.scores, statistics.bootstrap())
        rows.append(row)
    return rows


def on_other_images(gap, n, luck):
    """The columns that say what the test images do to a difference, a `statistics.Estimate` over n trials.

    luck: with `images` and `se`, as of `images.Luck`, or None where hits were not kept.
    """
    if luck is None:
        return dict(zip(_IMAGES, (0, *[math.nan] * 3), strict=True))
    half = test_images.half_width(float(gap.se), n, luck.se)
    ends = float(gap.mean) - half, float(gap.mean) + half
    return dict(zip(_IMAGES, (luck.images, luck.se, *ends), strict=True))


def told(row):
    """(low, high) of the interval that a row's verdict stands on: about other images where that is known."""
    return (row["low"], row["high"]) if math.isnan(row["other_low"]) else (row["other_low"], row["other_high"])


def _models(own, other, labels):
    """(labels, weights) of the models of either strategy, its weights in the difference of their areas over `labels`.

    A model that both share, with the same labels and the same score in every trial, is one, and counts with the first.
    """
    area = statistics.aulc_weights(labels)
    weights, other_weights = (study.between(curves.labels, labels) @ area for curves in (own, other))
    _, trials, other_trials = np.intersect1d(own.trials, other.trials, return_indices=True)
    for i, j in zip(*np.intersect1d(own.labels, other.labels, return_indices=True)[1:], strict=True):
        if (own.scores[trials, i] == other.scores[other_trials, j]).all():
            weights[i] -= other_weights[j]
            other_weights[j] = 0.0
    return (own.labels, weights), (other.labels, other_weights)


def judge(rows, equivalence):
    """Add tests and verdicts to rows of one family, by their paired differences `gaps`.

    rows: dicts with `gaps` (trials,), `kind` (upper bounds are no part of the family), `low` and `high`, and, where
    hits were kept, the columns of `on_other_images`.
    """
    family = [row for row in rows if row["kind"] != "upper bound"]
    for row in rows:
        gaps = row["gaps"]
        row["p_sign_flip"] = statistics.sign_flip_p(gaps, statistics.bootstrap())
        exact = 2.0 ** (1 - len(gaps)) * max(len(family), 1) <= ALPHA
        row["test"] = "sign flip" if exact else "t"
        row["p"] = row["p_sign_flip"] if exact else statistics.student_t_p(gaps)
        if row.get("images"):
            gap = statistics.estimate(gaps)
            row["test"] = "images"
            row["p"] = test_images.p_value(float(gap.mean), float(gap.se), len(gaps), row["image_se"])
        row["p_holm"] = row["p"]
        row["needed"] = test_images.trials_needed(gaps, row.get("image_se", math.nan), max(len(family), 1), ALPHA)
    for row, adjusted in zip(family, statistics.holm([row["p"] for row in family]), strict=True):
        row["p_holm"] = float(adjusted)
    for row in rows:
        low, high = told({"other_low": math.nan} | row)
        row["verdict"] = statistics.verdict(low, high, row["p_holm"], equivalence, ALPHA)


def savings_curves(metrics, dataset, setting, split, lead, stage, model):
    """`savings.SavingsCurve` by strategy compared with random sampling; None where no accuracy is reached by both."""
    curves, found = _curves(metrics, dataset, setting, split, lead, stage, model), {}
    for strategy, curve in curves.items():
        if strategy != REFERENCE and REFERENCE in curves:
            own, other = study.shared(curve, curves[REFERENCE])
            if len(own.trials) and len(own.rounds) > 1:
                found[strategy] = savings_curve(
                    own.labels, own.scores, other.labels, other.scores, statistics.bootstrap()
                )
    return found


# Over all settings of a study: (dataset, encoder, selector, trainer).


def settings_curves(metrics, leads):
    """{(dataset, encoder, selector, trainer): `study.Curves` by strategy} on the first test set, by the judged model.

    `leads`: the leading metric by dataset. Without trainings that collapsed (`collapses.mended`).
    """
    found, metrics = {}, collapses.all_mended(metrics, leads)
    for dataset, lead in leads.items():
        split = study.splits_of(metrics, dataset)[0]
        for setting in study.settings(metrics, dataset):
            model = study.judged(metrics, dataset, setting)
            found[dataset, *setting] = _curves(metrics, dataset, setting, split, lead, *model)
    return {setting: curves for setting, curves in found.items() if curves}


def wins_table(metrics, leads, kinds, equivalence):
    """One row per ordered pair of strategies: in how many settings the first is better, in how many the two tie.

    Settings and models as in `settings_curves`; `settings` counts those in which both were run with at least two common
    trials. The verdict of a setting is `statistics.verdict` of the paired difference of the areas under the curves, its
    p-values corrected by Holm for all pairs of the setting. Upper bounds are not among them.
    """
    counts = {}
    for curves in settings_curves(metrics, leads).values():
        pairs = []
        for first, second in itertools.combinations(_rivals(curves, kinds), 2):
            own, other = study.shared(curves[first], curves[second])
            if len(own.trials) < 2 or len(own.rounds) < 2:
                continue
            gaps = statistics.aulc(own.labels, own.scores) - statistics.aulc(other.labels, other.scores)
            gap = statistics.estimate(gaps)
            row = {"pair": (first, second), "kind": "", "gaps": gaps}
            pairs.append(row | {"low": float(gap.low), "high": float(gap.high)})
        judge(pairs, equivalence)
        for row in pairs:
            first, second = row["pair"]
            for key, wins in (((first, second), "better"), ((second, first), "worse")):
                count = counts.setdefault(key, {"settings": 0, "wins": 0, "ties": 0})
                count["settings"] += 1
                count["wins"] += row["verdict"] == wins
                count["ties"] += row["verdict"] == "tie"
    rows = [{"strategy": first, "against": second, **count} for (first, second), count in counts.items()]
    return pd.DataFrame(rows, columns=["strategy", "against", "settings", "wins", "ties"])


def _rivals(curves, kinds):
    return [strategy for strategy in curves if kinds[strategy] != "upper bound"]


@dataclass(frozen=True)
class Ranking:
    """Strategies, best first, with their `statistics.Ranks` over the `settings` of `groups`, which share no images.

    left_out: sentences that say what was.
    """

    strategies: list
    ranks: statistics.Ranks
    settings: int
    groups: int
    left_out: list


def ranking(metrics, leads, kinds, images=None):
    """`Ranking` by mean area under the curve, in every setting over the trials and labels that all those ranked share.

    images: by dataset, a name that datasets of the same images share (None: each has its own). Settings on the same
    images share their luck and are no independent blocks: ranks are averaged over them first (`statistics.ranks`).
    Settings and models as in `settings_curves`, of those with three strategies or more; strategies that were run in all
    of these. Where these are fewer than three, settings with two count as well. Upper bounds are not ranked.
    """
    found = settings_curves(metrics, leads)
    for least in (3, 2):
        settings = {setting: curves for setting, curves in found.items() if len(_rivals(curves, kinds)) >= least}
        every = list(dict.fromkeys(name for curves in settings.values() for name in _rivals(curves, kinds)))
        names = [name for name in every if all(name in curves for curves in settings.values())]
        if len(names) >= least:
            break
    shared = {setting: study.shared(*(curves[name] for name in names)) for setting, curves in settings.items() if names}
    shared = {
        setting: curves for setting, curves in shared.items() if len(curves[0].trials) and len(curves[0].labels) > 1
    }
    areas = [[statistics.aulc(curve.labels, curve.scores).mean() for curve in curves] for curves in shared.values()]
    left_out = []
    if few := [setting for setting in found if setting not in shared]:
        texts = "; ".join(" · ".join(setting) for setting in few)
        left_out.append(f"Left out, with fewer than {least} strategies, or no trials or labels shared: {texts}.")
    if others := [name for name in every if name not in names]:
        left_out.append(f"Not ranked, for they were not run in all of these settings: {', '.join(others)}.")
    if not areas:
        return Ranking([], statistics.Ranks(np.array([]), math.nan, math.nan), 0, 0, left_out)
    groups = [(images or {}).get(dataset, dataset) for dataset, *_ in shared]
    ranks = statistics.ranks(areas, groups)
    order = np.argsort(ranks.mean, kind="stable")
    ranks = statistics.Ranks(ranks.mean[order], ranks.p, ranks.critical)
    return Ranking([names[i] for i in order], ranks, len(shared), len(set(groups)), left_out)


def ranks_table(found):
    """A `Ranking` as a table, one row per strategy: rank, settings, groups, Friedman's p, the critical difference."""
    about = {
        "settings": found.settings,
        "independent_datasets": found.groups,
        "friedman_p": found.ranks.p,
        "critical": found.ranks.critical,
    }
    rows = [
        {"strategy": name, "rank": rank, **about} for name, rank in zip(found.strategies, found.ranks.mean, strict=True)
    ]
    return pd.DataFrame(rows, columns=["strategy", "rank", *about])


def to_csv(table):
    """`comparisons_table` as CSV text: one line per row, one number per cell, in percent and points."""
    shown = table[list(study.SETTING)].copy()
    shown["model"] = ("fine-tuned, " + table["model"]).where(table["stage"] == "finetune", "selector's model")
    shown.loc[table["encoder"] == POOLED, "model"] = ""
    shown["split"], shown["metric"] = table["split"], table["measure"].map(study.NAMES)
    shown[["strategy", "kind", "reference"]] = table[["strategy", "kind", "reference"]]
    shown[["trials", "rounds", "labels"]] = table[["trials", "rounds", "num_labels"]]
    for name, column in (
        ("AULC (%)", "aulc"),
        ("standard error", "se"),
        ("difference (points)", "difference"),
        ("difference 95 % low", "low"),
        ("difference 95 % high", "high"),
        ("training noise (points)", "noise"),
        ("standard error of test images", "image_se"),
        ("other images 95 % low", "other_low"),
        ("other images 95 % high", "other_high"),
    ):
        shown[name] = 100 * table[column].astype(float)
    for name, column in (("settings", "settings"), ("trials above the reference", "above")):
        shown[name] = table[column].astype("Int64")
    shown["collapsed trainings"] = table["collapsed"]
    for name, column in (
        ("difference without them", "difference_without"),
        ("low without them", "low_without"),
        ("high without them", "high_without"),
    ):
        shown[name] = 100 * table[column].astype(float)
    shown["verdict without them"] = table["verdict_without"]
    shown["test images"] = table["images"].fillna(0).astype(int)
    shown["trials needed"] = table["needed"]
    shown[["sign-flip p", "p", "test", "Holm p", "verdict"]] = table[["p_sign_flip", "p", "test", "p_holm", "verdict"]]
    for name, field in (
        ("label savings (times)", "factor"),
        ("savings 95 % low", "low"),
        ("savings 95 % high", "high"),
        ("mean label savings (times)", "mean"),
        ("mean savings 95 % low", "mean_low"),
        ("mean savings 95 % high", "mean_high"),
    ):
        shown[name] = [str(getattr(savings, field, UNKNOWN)) for savings in table["savings"]]
    saved = [
        (UNKNOWN,) * 3 if savings is None else labels_saved(savings, budget)
        for savings, budget in zip(table["savings"], table["num_labels"], strict=True)
    ]
    for i, name in enumerate(("labels saved", "labels saved 95 % low", "labels saved 95 % high")):
        shown[name] = [str(ends[i]) for ends in saved]
    return shown.to_csv(index=False, lineterminator="\n", float_format="%.6g")
