"""What one lever is worth while all others are held, and which of them is worth most.

Levers are what a study varies on the same images with the same number of labels: the encoder, the cold start, the
strategy, the trainer, and the final model. A combination is one choice of each. Changing one lever from its reference
to another level gives a difference in every combination of the others that was run with both; their mean over the
combinations, trial by trial, is the lever's effect. The trial is the unit: combinations of one trial share its luck,
and more of them are no further sample.
"""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from labelbench.evidence import collapses, comparisons, statistics, study
from labelbench.evidence import images as test_images
from labelbench.evidence.study import REFERENCE
from labelbench.evidence.tables import plain_csv

LEVERS = ("encoder", "cold start", "strategy", "trainer", "final model")
PLAIN = {"cold start": REFERENCE, "strategy": REFERENCE}  # references; those of other levers are their first levels
OWN = "selector's own"  # level of the final model: nothing is trained after the last round
EVERY = "all datasets"  # stands in place of a dataset where all are taken together
_COLUMNS = ["dataset", "split", "measure", "num_labels", "rank", "lever", "level", "reference", "combinations", "above"]
_COLUMNS += ["datasets", "trials", "difference", "low", "high", "images", "image_se", "other_low", "other_high"]
_COLUMNS += ["p", "test", "p_holm", "verdict", "ahead", "ahead_low", "ahead_high", "gaps"]


@dataclass(frozen=True)
class Cell:
    """Last scores of one combination: `scores` (n,) float64 by `trials` (n,) int64, ascending.

    hits: `images.Hits` of the same models, (n, 1, images), or None.
    """

    trials: np.ndarray
    scores: np.ndarray
    hits: object = None

    def of(self, trials):
        """The scores (m,) in these trials, and the hits (m, images) or None."""
        chosen = np.isin(self.trials, trials)
        return self.scores[chosen], None if self.hits is None else self.hits.bits[chosen, 0].astype(np.float32)


@dataclass(frozen=True)
class Change:
    """One lever moved with all others held, on one dataset: `gaps` (n,) float64 by `trials` (n,) int64.

    combinations: of the other levers, over which each gap is a mean; above: in how many of them the mean over trials is
    positive; labels: numbers of labels that these were run with; measure: of the scores; dataset: its name; images: one
    that datasets of the same images share; seen: the gaps per test image, (n, images) float32, with the `sizes` of
    their classes, or None.
    """

    trials: np.ndarray
    gaps: np.ndarray
    combinations: int
    above: int
    labels: frozenset
    measure: str
    dataset: str
    images: str
    seen: np.ndarray | None = None
    sizes: np.ndarray | None = None

    def of(self, trials):
        """The same in these of its trials alone."""
        chosen = np.isin(self.trials, trials)
        seen = None if self.seen is None else self.seen[chosen]
        return replace(self, trials=self.trials[chosen], gaps=self.gaps[chosen], seen=seen)

    def less(self, other, signs):
        """The change `signs[0]` · this less `signs[1]` · another one on the same dataset, in the trials of both."""
        trials = np.intersect1d(self.trials, other.trials)
        own, other = self.of(trials), other.of(trials)
        known = own.seen is not None and other.seen is not None
        seen = signs[0] * own.seen - signs[1] * other.seen if known else None
        return replace(own, gaps=signs[0] * own.gaps - signs[1] * other.gaps, seen=seen)


def table(metrics, leads, kinds, starts, images, equivalence, hits=None, family=comparisons.BLOCK):
    """One row per (dataset, split, lever, level), then those of all datasets together; fractions.

    metrics: the study's table, of paired trials; leads: the leading metric by dataset; kinds: by strategy (upper bounds
    are no levels); starts: (name, cold start) by dataset in the order of the study, where datasets of one name differ
    in nothing but the cold start; images: by dataset, a name that datasets of the same images share; hits:
    `images.TestImages`; equivalence and family as in `comparisons.comparisons_table`, where a block is a dataset and
    split, or all datasets.

    Scores are those after the last label, of the models of a run: the selector's own, and those fine-tuned on the same
    labels (lever `final model`). Splits are the first test set and the pool. `difference` is that of `level` to
    `reference`, the mean over trials of the mean over `combinations` of the other levers with the same `num_labels`;
    `above` of the combinations have a positive one. `low` to `verdict` as in `comparisons_table`. Where trainings
    collapsed, without them.

    `rank`: that of the lever in its block, by its largest difference, of whatever sign; rows stand in this order.
    `ahead`, on the row that gives a lever its rank: how much larger that difference is than that of the next lever, on
    the trials and datasets of both, with its 95 % interval (about other images, where hits were kept); NaN where they
    are not of the same datasets. Over all datasets a change is taken as the mean of those of the datasets that have it,
    in trials of the same number, two or more.
    """
    mended = collapses.all_mended(metrics, leads)
    blocks, several = [], {}  # blocks: (dataset, split, measure, `Change`s by move); several: the same by split
    for name, members in _groups(starts).items():
        first = next(iter(members))
        lead = leads[first]
        for split in _splits(mended, first):
            cells = combinations(mended, members, split, lead, kinds, hits)
            found = {move: changed(cells, *move, lead, name, images[first]) for move in moves(cells)}
            found = {move: change for move, change in found.items() if change is not None}
            blocks.append((name, split, lead, {move: [change] for move, change in found.items()}))
            for move, change in found.items():
                several.setdefault(split, {}).setdefault(move, []).append(change)
    for split, of_split in several.items():
        together = {move: changes for move, changes in of_split.items() if len(changes) > 1}
        measures = {change.measure for changes in together.values() for change in changes}
        blocks.append((EVERY, split, measures.pop() if len(measures) == 1 else "", together))
    rows, families = [], {}
    for name, split, measure, of_block in blocks:
        block = [row | {"dataset": name, "split": split, "measure": measure} for row in ranked(of_block)]
        families.setdefault(name if family == comparisons.DATASET else (name, split), []).extend(block)
        rows += block
    for block in families.values():
        comparisons.judge(block, equivalence)
    return pd.DataFrame(rows, columns=_COLUMNS)


def _groups(starts):
    """{name: {dataset: cold start}} of the datasets of each name."""
    found = {}
    for dataset, (name, start) in starts.items():
        found.setdefault(name, {})[dataset] = start
    return found


def _splits(metrics, dataset):
    """The first test set of a dataset, and the pool."""
    test, *others = study.splits_of(metrics, dataset)
    return [test, *(split for split in others if split.startswith(study.POOL))]


def combinations(metrics, members, split, lead, kinds, hits=None):
    """`Cell` by combination: (encoder, cold start, strategy, trainer, final model, number of labels).

    members: datasets of the same images with their cold starts. Other arguments as in `table`.
    """
    wanted = metrics["dataset"].isin(members) & metrics["split"].eq(study.stored(split))
    wanted &= metrics["metric"].eq(study.metric_of(split, lead)) & metrics["stage"].isin(("proxy", "finetune"))
    wanted &= ~metrics["strategy"].map(kinds).eq("upper bound")
    runs = metrics[wanted]
    selectors = runs["selector"].nunique()
    runs = pd.concat([runs[runs["dataset"] == dataset] for dataset in members])  # in the order of their levels
    keys, cells = [*study.SETTING, "stage", "model", "strategy"], {}
    distinct = {
        (dataset, *setting): study.distinct_models(metrics, dataset, setting)
        for dataset, *setting in runs[list(study.SETTING)].drop_duplicates().itertuples(index=False, name=None)
    }
    for (dataset, encoder, selector, trainer, stage, model, strategy), run in runs.groupby(keys, sort=False):
        setting = encoder, selector, trainer
        if (stage, model) not in distinct[dataset, *setting]:
            continue
        last = run[run["round"] == run["round"].max()].sort_values("trial")
        trials, rounds = last["trial"].to_numpy(np.int64), [int(last["round"].iloc[0])]
        seen = hits and hits.of(dataset, setting, strategy, split, stage, model, trials.tolist(), rounds)
        key = (
            encoder,
            members[dataset],
            strategy,
            trainer if selectors == 1 else f"{selector} · {trainer}",
            OWN if stage == "proxy" else f"fine-tuned, {model}",
            int(last["num_labels"].iloc[0]),
        )
        cells[key] = Cell(trials, last["value"].to_numpy(np.float64), seen or None)
    return cells


def moves(cells):
    """(lever, level, reference) of all levers, each level of which is compared with the reference."""
    for i, lever in enumerate(LEVERS):
        levels = list(dict.fromkeys(key[i] for key in cells))
        reference = PLAIN.get(lever)
        if lever == "final model":
            reference = OWN
        if reference not in levels:
            reference = levels[0] if levels else ""
        yield from ((lever, level, reference) for level in levels if level != reference)


def changed(cells, lever, level, reference, measure="accuracy", dataset="", images=""):
    """The `Change` of a lever from `reference` to `level`, of `combinations`; None where no combination has both.

    In the trials that all of these combinations have.
    """
    at = LEVERS.index(lever)
    pairs = {}
    for key, cell in cells.items():
        other = cells.get((*key[:at], reference, *key[at + 1 :]))
        if key[at] == level and other is not None:
            pairs[key] = cell, other
    if not pairs:
        return None
    trials = functools.reduce(np.intersect1d, [cell.trials for pair in pairs.values() for cell in pair])
    if not len(trials):
        return None
    gaps, seen, above = np.zeros(len(trials)), 0.0, 0
    for cell, other in pairs.values():
        (own, hits), (others, other_hits) = cell.of(trials), other.of(trials)
        gaps += (own - others) / len(pairs)
        above += int((own - others).mean() > 0)
        seen = None if seen is None or hits is None or other_hits is None else seen + (hits - other_hits) / len(pairs)
    sizes = next(iter(pairs.values()))[0].hits.sizes if seen is not None else None
    labels = frozenset(key[-1] for key in pairs)
    return Change(trials, gaps, len(pairs), above, labels, measure, dataset, images, seen, sizes)


def estimated(changes):
    """Columns `trials` to `other_high`, and `gaps`, of the mean of `Change`s of the same move on several datasets.

    In the trials that all of them have; None where there is none.
    """
    trials = functools.reduce(np.intersect1d, [change.trials for change in changes])
    if not len(trials):
        return None
    changes = [change.of(trials) for change in changes]
    gaps = np.mean([change.gaps for change in changes], axis=0)
    gap = statistics.estimate(gaps)
    row = {"trials": len(trials), "difference": float(gap.mean), "low": float(gap.low), "high": float(gap.high)}
    return row | comparisons.on_other_images(gap, len(trials), _luck(changes)) | {"gaps": gaps}


def _luck(changes):
    """`images.Luck` of the mean of `Change`s, or None where hits were not kept of all of them.

    Of datasets of the same images the standard errors are added, as if their luck were one; of others, their squares.
    """
    if any(change.seen is None or change.measure not in test_images.METRICS for change in changes):
        return None
    by_images = {}
    for change in changes:
        found = test_images.luck_of(change.seen, change.sizes, change.measure)
        by_images.setdefault(change.images, []).append(found)
    se = math.hypot(*(sum(luck.se for luck in of_same) for of_same in by_images.values())) / len(changes)
    return test_images.Luck(se, sum(max(luck.images for luck in of_same) for of_same in by_images.values()))


def ranked(changes):
    """Rows of one block, ranked, without p-values and verdicts.

    changes: lists of `Change`, one per dataset, by move: (lever, level, reference).
    """
    rows = []
    for (lever, level, reference), parts in changes.items():
        row = {"lever": lever, "level": level, "reference": reference, "kind": "", "parts": parts}
        row |= {"combinations": sum(part.combinations for part in parts), "above": sum(part.above for part in parts)}
        row["num_labels"] = sorted(frozenset.union(*(part.labels for part in parts)))
        if found := estimated(parts):
            rows.append(row | {"datasets": len(parts)} | found)

    def size(row):
        return abs(row["difference"])

    tops = {}
    for row in sorted(rows, key=size, reverse=True):
        tops.setdefault(row["lever"], row)
    ranks = {lever: rank for rank, lever in enumerate(tops, start=1)}
    ordered = list(tops.values())
    for row, following in zip(ordered, ordered[1:], strict=False):
        row |= _ahead(row, following)
    return sorted(({**row, "rank": ranks[row["lever"]]} for row in rows), key=lambda row: (row["rank"], -size(row)))


def _ahead(row, following):
    """The columns that say how much larger a change is than another one, both rows with their `parts`.

    NaN where they are not of the same datasets.
    """
    parts, others = row["parts"], following["parts"]
    if [part.dataset for part in parts] != [part.dataset for part in others]:
        return {}
    signs = [math.copysign(1.0, one["difference"]) for one in (row, following)]
    found = estimated([part.less(other, signs) for part, other in zip(parts, others, strict=True)])
    if found is None:
        return {}
    low, high = comparisons.told(found)
    return {"ahead": found["difference"], "ahead_low": low, "ahead_high": high}


def to_csv(found):
    """`table` as CSV text: one line per row, one number per cell, in points."""
    shown = found[["dataset", "split"]].copy()
    shown["metric"] = found["measure"].map(lambda measure: study.NAMES.get(measure, "score"))
    shown["labels"] = [" or ".join(map(str, labels)) for labels in found["num_labels"]]
    shown[["rank", "lever", "level", "reference"]] = found[["rank", "lever", "level", "reference"]]
    shown[["combinations", "combinations above zero"]] = found[["combinations", "above"]]
    shown[["datasets", "trials"]] = found[["datasets", "trials"]]
    for name, column in (
        ("difference (points)", "difference"),
        ("difference 95 % low", "low"),
        ("difference 95 % high", "high"),
        ("standard error of test images", "image_se"),
        ("other images 95 % low", "other_low"),
        ("other images 95 % high", "other_high"),
    ):
        shown[name] = 100 * found[column].astype(float)
    shown["test images"] = found["images"].fillna(0).astype(int)
    shown[["p", "test", "Holm p", "verdict"]] = found[["p", "test", "p_holm", "verdict"]]
    for name, column in (
        ("ahead of the next lever (points)", "ahead"),
        ("ahead 95 % low", "ahead_low"),
        ("ahead 95 % high", "ahead_high"),
    ):
        shown[name] = 100 * found[column].astype(float)
    return plain_csv(shown)
