"""The tidy table of a study: one row per value, read from what every trained model left beside it."""

import csv
import functools
import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from labelbench.common import json_files
from labelbench.common.errors import UserError
from labelbench.common.names import shortened
from labelbench.evidence import costs
from labelbench.training import hits

IDENTITY = (
    "dataset",
    "encoder",
    "selector",
    "trainer",
    "strategy",
    "trial",
    "round",
    "num_labels",
    "stage",
    "model",
)
COLUMNS = (*IDENTITY, "split", "metric", "value", "pair")
_PARQUET = {"trial": "int64", "round": "int64", "num_labels": "int64", "value": "float64"}
SETTING = ("dataset", "encoder", "selector", "trainer")
NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "worst_class_accuracy": "worst class",
    "worst_group_accuracy": "worst group",
}
MARKS = {"batch": "", "sequential": " †", "upper bound": " ‡"}  # behind a strategy's name, by its kind
SHARED = "initial"  # stands in place of the strategy in round 1, which all strategies share
# Names under which tables and figures show the pool: with bought labels as annotated, or the model's predictions of all
# its images, where nothing else was measured (other people's results).
POOL, MODEL_POOL = "pool", "pool (model)"
REFERENCE = "random"  # the strategy that others are compared with
HITS = "hits"  # the metric whose values are texts: which images of a test set a model had right
REPLICATE = "replicate"  # begins the stage of a model trained again on the same labels with other seeds


def read(metrics_files, cost_files, zero_shot_files=(), embedding_files=(), replicate_files=()):
    """Rows (dicts with `COLUMNS`) of all `metrics.json`, of the cost files beside them and of the zero-shot heads.

    A metrics file holds its identity and `metrics`, a dict split → metric → value (null: not measured). A cost file is
    a flat dict; it belongs to the model whose metrics stand in its folder. What `select_cost.json` says of the
    selection that bought the model's labels gets the prefix `select_`. A zero-shot file knows dataset and encoder only;
    its rows have stage `zero_shot`, no labels and no strategy. So have those of an embedding's cost file, whose folders
    are called after dataset and encoder; the view stands in their `model`. A replicate's metrics file is that of a
    model like any other, in a folder `replicate1`, `replicate2`, … under that of the model whose labels it was trained
    on; this is the stage of its rows. Rows of the metric `HITS` have a text for a value: which images of a test set the
    model had right (`training.hits`). Raises `UserError` for a file that is not that.
    """
    rows, by_folder = [], {}
    for path in map(Path, metrics_files):
        record = _record(path, (*IDENTITY, "pair"))
        identity = {field: record[field] for field in (*IDENTITY, "pair")}
        by_folder[path.parent] = identity
        rows += [row for split, values in record["metrics"].items() for row in _rows(path, identity, split, values)]
    cost_files, embedding_files = [Path(p) for p in cost_files], [Path(p) for p in embedding_files]
    told = costs.shared([json_files.read(path, cure=_CURE) for path in (*cost_files, *embedding_files)])
    cost_of = dict(zip((*cost_files, *embedding_files), told, strict=True))
    for path in cost_files:
        if path.parent not in by_folder:
            raise UserError(f"{path} has no metrics.json beside it among the inputs: it belongs to no model.")
        cost = cost_of[path]
        if path.name == "select_cost.json":
            cost = {name if name.startswith("select_") else f"select_{name}": v for name, v in cost.items()}
        rows += _rows(path, by_folder[path.parent], "", cost)
    for path in map(Path, replicate_files):
        record = _record(path, (*IDENTITY, "pair"))
        stage = next(part for part in reversed(path.parts) if part.startswith(REPLICATE))
        identity = {field: record[field] for field in (*IDENTITY, "pair")} | {"stage": stage}
        for split, values in record["metrics"].items():
            rows += [row for row in _rows(path, identity, split, values) if split and row["metric"] != HITS]
    for path in map(Path, zero_shot_files):
        record = _record(path, ("dataset", "encoder"))
        identity = _before_labels(record["dataset"], record["encoder"])
        rows += [row for split, values in record["metrics"].items() for row in _rows(path, identity, split, values)]
    for path in embedding_files:
        encoder, dataset = path.parent, path.parent.parent  # of another name in the cache between workflows
        identity = _before_labels(dataset.name, encoder.name) | {"model": path.name.split(".")[0]}
        rows += _rows(path, identity, "", cost_of[path])
    return rows


def _before_labels(dataset, encoder):
    identity = dict.fromkeys((*IDENTITY, "pair"), "") | {"trial": 0, "round": 0, "num_labels": 0}
    return identity | {"dataset": dataset, "encoder": encoder, "stage": "zero_shot"}


_CURE = "Delete it, so that its job runs again."
_COUNTS = ("trial", "round", "num_labels")
_FRACTIONS = ("accuracy", "macro_f1", "mask_rate")  # ends of the names of metrics that are shares


def _record(path, fields):
    """A file of metrics that holds these fields, each of the type that the table needs, and metrics by split."""
    record = json_files.read(path, (*fields, "metrics"), _CURE)
    for field in fields:
        right = _is_count(record[field]) if field in _COUNTS else isinstance(record[field], str)
        if not right:
            what = "a whole number from 0" if field in _COUNTS else "a text"
            raise UserError(f"{path}: {field} is {shortened(record[field])}, and {what} is due. {_CURE}")
    metrics = record["metrics"]
    if not isinstance(metrics, dict) or not all(isinstance(values, dict) for values in metrics.values()):
        raise UserError(f"{path}: metrics are due as numbers by split and name. {_CURE}")
    return record


def _is_count(value):
    return type(value) is int and value >= 0


def wrong(metric, value):
    """What is wrong with the value of a metric, in words; empty where it can be."""
    if metric == HITS:
        return "" if hits.is_whole(value) else f"{metric} is {shortened(value)}, and a text of sizes and bits is due"
    if not json_files.is_number(value):
        return f"{metric} is {shortened(value)}, and a number is due"
    if value < 0:
        return f"{metric} is {value}, and cannot be negative"
    return f"{metric} is {value}, and a share is at most 1" if metric.endswith(_FRACTIONS) and value > 1 + 1e-6 else ""


def _rows(path, identity, split, values):
    """One row per value; null is none. Raises `UserError`, naming the file, for what cannot be a value."""
    for metric, value in values.items():
        if value is not None and (reason := wrong(metric, value)):
            raise UserError(f"{path}: {split or 'costs and training'}: {reason}. {_CURE}")
    return [
        {**identity, "split": split, "metric": metric, "value": value if metric == HITS else float(value)}
        for metric, value in values.items()
        if value is not None
    ]


def joined(rows, imports):
    """(rows of the study and of its imports, which are lists by name; notes by dataset that say what was left out).

    Where they share a dataset, trials are kept that all of them have and that began from the same labels in all.
    Raises `UserError` where no trial is left. A zero-shot head that stands there already is not repeated.
    """
    together, notes = list(rows), defaultdict(list)
    for name, imported in imports.items():
        for dataset in sorted({row["dataset"] for row in together} & {row["dataset"] for row in imported}):
            kept, unpaired = _paired(*(_pairs(rows, dataset) for rows in (together, imported)))
            if not kept:
                raise UserError(
                    f"No trial of {dataset} in the import {name} began from the same labels and seeds as those it "
                    "would stand beside: strategies could not be compared within trials. Run with the same `seed`, "
                    "`initial` and budgets, or show it as a dataset of its own: give it another name under `datasets` "
                    "of the import."
                )
            if unpaired:
                numbers = ", ".join(map(str, sorted(unpaired)))
                notes[dataset].append(
                    f"Trials {numbers} are left out, for the import {name} and what it stands beside do not both have "
                    "them from the same labels on."
                )
                together, imported = (
                    [row for row in rows if row["dataset"] != dataset or row["trial"] not in unpaired or _is_head(row)]
                    for rows in (together, imported)
                )
        heads = {(row["dataset"], row["encoder"]) for row in together if _is_head(row)}
        together += [row for row in imported if not _is_head(row) or (row["dataset"], row["encoder"]) not in heads]
    return together, dict(notes)


def _is_head(row):
    return row["stage"] == "zero_shot"


def _pairs(rows, dataset):
    """The `pair` hashes of a dataset by (encoder, trial)."""
    found = defaultdict(set)
    for row in rows:
        if row["dataset"] == dataset and not _is_head(row) and not row["stage"].startswith(REPLICATE):
            found[row["encoder"], row["trial"]].add(row["pair"])
    return found


def _paired(ours, theirs):
    """Trials that two sources, `_pairs` of each, have in common and began alike, and all other trials."""
    common = {trial for _, trial in ours} & {trial for _, trial in theirs}
    broken = {trial for encoder, trial in set(ours) & set(theirs) if ours[encoder, trial] != theirs[encoder, trial]}
    return common - broken, {trial for _, trial in {*ours, *theirs}} - (common - broken)


def share_first_round(rows, strategies):
    """Rows with those of the shared round repeated under each strategy whose curves begin there.

    These are the strategies that went on in the same setting and trial: each of `strategies`, unless the study has
    several grids. Where none went on, in a study of one round, they are all of them.
    """
    further = defaultdict(set)
    for row in rows:
        further[_trial(row)].add(row["strategy"])
    shared = []
    for row in rows:
        if row["strategy"] == SHARED:
            went_on = further[_trial(row)] - {SHARED}
            shared += [{**row, "strategy": s} for s in strategies if s in went_on or not went_on]
        else:
            shared.append(row)
    return shared


def _trial(row):
    return (*(row[field] for field in SETTING), row["trial"])


def in_order(rows, order):
    """The rows in an order that does not depend on the order of the files.

    order: by column, its names in reading order (others come first, as zero-shot heads do); all else is sorted.
    """
    rank = {column: {name: i for i, name in enumerate(names)} for column, names in order.items()}

    def key(row):
        return [(rank[c].get(row[c], -1) if c in rank else 0, row[c]) for c in COLUMNS[:-2]]

    return sorted(rows, key=key)


def apart(rows):
    """Rows with numbers, and those of the metric `HITS`, whose values are texts."""
    numbers, texts = [], []
    for row in rows:
        (texts if row["metric"] == HITS else numbers).append(row)
    return numbers, texts


def write(rows, path):
    """Write rows as CSV."""
    with Path(path).open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def write_parquet(rows, path, value="float64", facts=None):
    """Write rows as Parquet, with the columns and types of `workflow/schemas/metrics.schema.json`.

    value: the type of values, `string` for rows of the metric `HITS`; facts: texts by name for the file's metadata.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = _PARQUET | {"value": value}
    whole = pa.schema([(column, types.get(column, "string")) for column in COLUMNS], metadata=facts)
    columns = {column: [row[column] for row in rows] for column in COLUMNS}
    parquet.write_table(pa.table(columns, schema=whole), path, compression="zstd", write_page_checksum=True)


def read_parquet(path):
    """The rows of a file made by `write_parquet`. Raises `UserError` for one that is damaged, or another."""
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path, page_checksum_verification=True)
    except (OSError, ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}). {_CURE}") from None
    if missing := [column for column in COLUMNS if column not in table.column_names]:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}. {_CURE}")
    return table.to_pylist()


def write_both(rows, csv_path, parquet_path):
    """Write rows as CSV and as Parquet, which knows the digest of the CSV."""
    write(rows, csv_path)
    write_parquet(rows, parquet_path, facts={_CSV_DIGEST: _sha256(csv_path)})


_CSV_DIGEST = "sha256 of metrics.csv"


def _sha256(path):
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(path):
    """The table as a pandas DataFrame; empty text stays text.

    Raises `UserError` for a file that is no such table, or not the one beside which its Parquet file was written.
    """
    text = {c: str for c in COLUMNS if c not in {"trial", "round", "num_labels", "value"}}
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"value": [""]})
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a table of metrics ({error}). {_CURE}") from None
    if tuple(table.columns) != COLUMNS:
        raise UserError(f"{path} has not the columns of a table of metrics, {', '.join(COLUMNS)}. {_CURE}")
    if (digest := _noted_digest(Path(path).with_suffix(".parquet"))) and digest != _sha256(path):
        raise UserError(f"{path} was cut or changed after it was made. {_CURE}")
    return table


def _noted_digest(path):
    """The digest of the CSV file that a Parquet file holds; nothing where there is none to be read."""
    from pyarrow import ArrowException, parquet

    try:
        facts = parquet.read_schema(path).metadata or {}
    except (OSError, ArrowException):
        return ""
    return facts.get(_CSV_DIGEST.encode(), b"").decode()


def paired(metrics):
    """(the table without what cannot be compared, notes by dataset): trials are paired, or left out by name.

    In (dataset, encoder, trial) all runs share one `pair` hash, which identifies the initial label set and the seeds:
    that of random sampling, or of most runs where it was not run. A run with another one is left out, for comparisons
    subtract trial by trial, which means nothing if the trials began differently. So is a trial that lacks a round which
    other trials of the same curve have, for they could not be averaged. Zero-shot heads and replicates stay.

    Notes are sentences that say what was left out and why, or that nothing says whether trials are paired.
    """
    runs = ~(metrics["stage"].eq("zero_shot") | metrics["stage"].str.startswith(REPLICATE))
    notes = {dataset: [] for dataset in metrics["dataset"].unique()}
    for dataset, pairs in metrics[runs].groupby("dataset", sort=False)["pair"]:
        if (pairs == "").all():
            notes[dataset].append("Nothing says whether trials began alike: they are paired by their number alone.")
    begun = metrics[runs].drop_duplicates([*SETTING, "strategy", "trial", "pair"])
    broken = pd.Series(False, index=metrics.index)
    for (dataset, _, trial), group in begun.groupby(["dataset", "encoder", "trial"], sort=False):
        if len(set(group["pair"])) == 1:
            continue
        first = group[group["strategy"] == REFERENCE]
        right = (first if len(first) else group)["pair"].mode().iloc[0]
        wrong = group[group["pair"] != right].drop_duplicates([*SETTING, "strategy"])
        for run in wrong.itertuples():
            mask = runs & (metrics["trial"] == trial)
            for column in (*SETTING, "strategy"):
                mask &= metrics[column] == getattr(run, column)
            broken |= mask
            notes[dataset].append(
                f"{_run(run)}: trial {trial} is left out, for it did not begin with the labels and seeds of the others."
            )
    metrics, runs = metrics[~broken], runs[~broken]
    scored = metrics[runs & metrics["split"].ne("")]
    curve = [*SETTING, "strategy", "stage", "model", "split", "metric"]
    rounds = scored.groupby(curve, sort=False)["round"].transform("nunique")
    lacking = scored[scored.groupby([*curve, "trial"], sort=False)["round"].transform("nunique") < rounds]
    for run in lacking.drop_duplicates([*SETTING, "strategy", "trial"]).itertuples():
        notes[run.dataset].append(f"{_run(run)}: trial {run.trial} is left out where it lacks rounds of other trials.")
    return metrics.drop(index=lacking.index), {dataset: found for dataset, found in notes.items() if found}


def _run(run):
    return f"{run.encoder}, {run.selector}, {run.trainer}, {run.strategy}"


@dataclass(frozen=True)
class Curves:
    """One metric of one strategy: `scores` (trials, rounds) float64, with the trials, rounds and labels (int64).

    hits: `images.Hits` of the same models on the test images, where they were kept and asked for.
    """

    trials: np.ndarray
    rounds: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    hits: object = None


def shared(*curves):
    """The `Curves` on the trials that all of them have and the labels that all cover, as a tuple.

    Where only some have a round, the others are read in between, as `statistics.aulc` has it: on a line over log
    labels. The rounds of the result are a plain count.
    """
    first, last = max(c.labels[0] for c in curves), min(c.labels[-1] for c in curves)
    labels = np.unique(np.concatenate([c.labels for c in curves]))
    labels = labels[(labels >= first) & (labels <= last)]
    trials = functools.reduce(np.intersect1d, [c.trials for c in curves])
    found = []
    for c in curves:
        chosen, reading = np.isin(c.trials, trials), between(c.labels, labels)
        hits = c.hits and c.hits.read(chosen, reading)
        found.append(Curves(trials, np.arange(1, len(labels) + 1), labels, c.scores[chosen] @ reading, hits))
    return tuple(found)


def between(labels, at):
    """Weights (rounds, n) of a curve's rounds, at `labels`, in its values at the labels `at`, read as by `shared`."""
    return np.array([np.interp(np.log(at), np.log(labels), unit) for unit in np.eye(len(labels))])


def metric_of(split, measure):
    """The metric's name in the table, for a split as `splits_of` names it."""
    return {POOL: f"pool_{measure}", MODEL_POOL: f"pool_model_{measure}"}.get(split, measure)


def settings(metrics, dataset):
    """The (encoder, selector, trainer) a dataset was studied with, in the order of the table.

    Raises `UserError` if there are none.
    """
    runs = metrics[(metrics["dataset"] == dataset) & (metrics["stage"] != "zero_shot")]
    if runs.empty:
        raise UserError(f"The table of metrics holds nothing about dataset {dataset}.")
    return list(runs[list(SETTING[1:])].drop_duplicates().itertuples(index=False, name=None))


def selector_names(settings):
    """Names by setting, (encoder, selector, trainer): the selector, with its trainer where the encoder has several."""
    settings = list(dict.fromkeys(settings))
    places = [setting[:2] for setting in settings]
    several = {selector for encoder, selector in places if places.count((encoder, selector)) > 1}
    return {(e, s, trainer): f"{s} · {trainer}" if s in several else s for e, s, trainer in settings}


def strategies_of(metrics, dataset):
    """The strategies a dataset was studied with, in the order of the table."""
    runs = metrics[(metrics["dataset"] == dataset) & (metrics["stage"] != "zero_shot")]
    return list(runs["strategy"].unique())


def splits_of(metrics, dataset):
    """What tables and figures of a dataset show, in reading order: its test sets (`test`, `test_…`), then the pool.

    The pool is `POOL`, or `MODEL_POOL` where only the model's predictions were counted.
    """
    rows = metrics[metrics["dataset"] == dataset]
    found = set(rows["split"])
    of_pool = set(rows.loc[rows["split"] == POOL, "metric"])
    pool = (
        POOL if any(name.startswith("pool_") and not name.startswith("pool_model_") for name in of_pool) else MODEL_POOL
    )
    return [*sorted(split for split in found if split.split("_")[0] == "test"), *([pool] if of_pool else [])]


def stored(split):
    """The name of a split, as `splits_of` has it, in the column `split` of the table."""
    return POOL if split == MODEL_POOL else split


def models(metrics, dataset, setting=None):
    """(stage, model) of what was trained on a dataset, or in one of its settings: ("proxy", ""), then fine-tunes."""
    tuned = _finetuned(metrics, dataset, setting)
    return [("proxy", ""), *(("finetune", model) for model in tuned["model"].unique())]


def distinct_models(metrics, dataset, setting):
    """The `models` of a setting without fine-tunes that repeat the selector's own: an encoder that selects is one."""
    runs = metrics[(metrics["dataset"] == dataset) & metrics["split"].ne("")]
    for column, name in zip(SETTING[1:], setting, strict=True):
        runs = runs[runs[column] == name]
    keys = ["strategy", "trial", "round", "split", "metric"]
    own = runs[runs["stage"] == "proxy"].set_index(keys)["value"]
    found = []
    for stage, model in models(metrics, dataset, setting):
        rows = runs[(runs["stage"] == stage) & (runs["model"] == model)].set_index(keys)["value"]
        if stage == "proxy" or not rows.equals(own.reindex(rows.index)):
            found.append((stage, model))
    return found


def _finetuned(metrics, dataset, setting):
    """The rows of fine-tuned models of a dataset, or of one of its settings."""
    tuned = metrics[(metrics["dataset"] == dataset) & (metrics["stage"] == "finetune")]
    for column, name in zip(SETTING[1:], setting or (), strict=False):
        tuned = tuned[tuned[column] == name]
    return tuned


def judged(metrics, dataset, setting=None):
    """(stage, model) whose curves say what labels are worth, on a dataset or in one of its settings.

    The model fine-tuned on them end to end, the first of them, where more than one round of it was evaluated; else the
    selector's own model. In one setting it is the selector's own as well where that is the very same model.
    """
    distinct = None if setting is None else distinct_models(metrics, dataset, setting)
    for model, rows in _finetuned(metrics, dataset, setting).groupby("model", sort=False):
        if len(set(rows["round"])) > 1:
            return ("finetune", model) if distinct is None or ("finetune", model) in distinct else ("proxy", "")
    return "proxy", ""


def curves(metrics, dataset, setting, strategy, split, metric, stage="proxy", model="", images=None):
    """`Curves` of one strategy, or None if the metric was not measured for it.

    images: `images.TestImages`, for curves with their hits.
    Raises `UserError` if a trial lacks a round or trials differ in their label counts: they could not be averaged.
    """
    chosen = metrics
    wanted = zip(
        (*SETTING, "strategy", "split", "metric", "stage", "model"),
        (dataset, *setting, strategy, stored(split), metric, stage, model),
        strict=True,
    )
    for column, value in wanted:
        chosen = chosen[chosen[column] == value]
    if chosen.empty:
        return None
    where = f"{dataset}, {'/'.join(setting)}, {strategy}: {split} {metric}"
    if chosen.duplicated(["trial", "round"]).any():
        raise UserError(f"{where} stands twice in the table of metrics for the same trial and round.")
    counts = chosen.groupby("round")["num_labels"].unique()
    if (counts.str.len() > 1).any():
        raise UserError(f"{where}: trials have different numbers of labels in the same round.")
    table = chosen.pivot_table(index="trial", columns="round", values="value", sort=True, dropna=False)
    if table.isna().to_numpy().any():
        raise UserError(f"{where} is missing for some rounds of some trials.")
    labels = np.array([c[0] for c in counts.sort_index()], dtype=np.int64)
    trials, rounds = table.index.to_numpy(dtype=np.int64), table.columns.to_numpy(dtype=np.int64)
    hits = images and images.of(dataset, setting, strategy, split, stage, model, trials.tolist(), rounds.tolist())
    return Curves(trials, rounds, labels, table.to_numpy(dtype=np.float64), hits)


def zero_shot(metrics, dataset, encoder, split, metric):
    """The zero-shot level of an encoder on a dataset, or None."""
    rows = metrics[
        (metrics["stage"] == "zero_shot")
        & (metrics["dataset"] == dataset)
        & (metrics["encoder"] == encoder)
        & (metrics["split"] == stored(split))
        & (metrics["metric"] == metric)
    ]
    return None if rows.empty else float(rows["value"].iloc[0])
