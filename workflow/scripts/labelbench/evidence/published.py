"""Results here beside the values printed in the LabelBench paper (resources/published/)."""

import math

import numpy as np
import pandas as pd
from scipy import special

from labelbench.evidence import paper, study, typeset, wording

COLUMNS = (
    *("table", "dataset", "encoder", "selector", "trainer", "model", "strategy", "labels", "split", "measure"),
    *("published", "published_sd", "published_trials", "here", "here_sd", "trials"),
    *("difference", "low", "high", "within_noise", "noticed", "remark"),
)


def comparison(metrics, dataset, setting):
    """One row per printed cell that a model of a dataset here can be held against, with `COLUMNS`; numbers in percent.

    `metrics`: the study's table; `setting`: which of the paper's settings this is, `Contents.published`. Compared is
    the score after the round at which the table stands, of the encoder fine-tuned with FlexMatch: as final model, or in
    selection where the selector is the encoder itself. The authors' BADGE bought one label more than asked for in every
    round, so that many more do not matter. The pool's scores are the model's predictions. Where the setting says
    `same_runs`, these are the runs behind the printed numbers, and chance between runs is no part of a difference.
    """
    rows = []
    for cell in paper.cells():
        if cell["dataset"] == setting["dataset"]:
            rows += _rows(metrics, dataset, setting, cell)
    table = pd.DataFrame(rows, columns=COLUMNS)
    if setting.get("same_runs"):
        table[["low", "high", "noticed"]], table["within_noise"] = math.nan, None
    return table


def _rows(metrics, dataset, setting, cell):
    round_ = int(cell["labels"]) // int(cell["batch"])
    split, metric = study.POOL if cell["split"] == "pool" else "test", cell["metric"]
    chosen = metrics[
        (metrics["dataset"] == dataset)
        & (metrics["encoder"].map(setting["encoders"]) == cell["encoder"])
        & (metrics["selector"].map(setting["selectors"]) == cell["selector"])
        & (metrics["strategy"].map(setting["strategies"]) == cell["strategy"])
        & metrics["trainer"].isin(setting["trainers"])
        & (metrics["split"] == split)
        & (metrics["metric"] == (f"pool_model_{metric}" if cell["split"] == "pool" else metric))
        & (metrics["round"] == round_)
        & (metrics["num_labels"] - int(cell["labels"])).between(0, round_)
    ]
    final = chosen[(chosen["stage"] == "finetune") & chosen["model"].isin(setting["trainers"])]
    if final.empty and cell["selector"] == "finetune":
        final = chosen[chosen["stage"] == "proxy"]
    rows = []
    for (encoder, selector, trainer, model, strategy), found in final.groupby(
        ["encoder", "selector", "trainer", "model", "strategy"], sort=False
    ):
        scores = 100 * found.sort_values("trial")["value"].to_numpy()
        row = {"table": int(cell["table"]), "dataset": dataset, "encoder": encoder, "selector": selector}
        row |= {"trainer": trainer, "model": model, "strategy": strategy, "labels": int(found["num_labels"].iloc[0])}
        row |= {"split": cell["split"], "measure": metric, "published": cell["mean"], "published_sd": cell["spread"]}
        row |= {"published_trials": int(cell["trials"]), "remark": cell["remark"]}
        rows.append(row | held_against(scores, cell["mean"], cell["spread"], int(cell["trials"])))
    return rows


def held_against(scores, mean, deviation, n):
    """Scores (trials,) here against a printed mean and sample standard deviation over n trials, texts, all in percent.

    The difference with its 95 % interval after Welch (1947), for the largest deviation that is printed so, and widened
    by half a unit of the mean's last digit. `within_noise`: the interval holds zero; None where one trial leaves it
    unknown. `noticed`: half the interval, the smallest difference at which it would not.
    """
    printed = float(mean)
    row = {"here": scores.mean(), "trials": len(scores), "difference": scores.mean() - printed}
    row |= {"here_sd": math.nan, "low": math.nan, "high": math.nan, "within_noise": None, "noticed": math.nan}
    if len(scores) < 2 or n < 2:
        return row
    # A printed .01 may have been .015.
    own, other = scores.var(ddof=1) / len(scores), (float(deviation) + _half_unit(deviation)) ** 2 / n
    half = _half_unit(mean)
    if own + other > 0:
        freedom = (own + other) ** 2 / (own**2 / (len(scores) - 1) + other**2 / (n - 1))
        half += special.stdtrit(freedom, 0.975) * math.sqrt(own + other)
    low, high = row["difference"] - half, row["difference"] + half
    return row | {
        "here_sd": float(np.std(scores, ddof=1)),
        "low": low,
        "high": high,
        "within_noise": bool(low <= 0 <= high),
        "noticed": half,
    }


def _half_unit(printed):
    """Half a unit of the last digit of a printed number, which is how far rounding may have moved it."""
    return 0.5 * 10.0 ** -len(printed.partition(".")[2])


_ANSWER = {True: "yes", False: "no", None: ""}


_TITLES = {
    "measure": "metric",
    "published": "published mean (%)",
    "published_sd": "published standard deviation",
    "published_trials": "published trials",
    "here": "mean here (%)",
    "here_sd": "standard deviation here",
    "difference": "difference (points)",
    "low": "difference 95 % low",
    "high": "difference 95 % high",
    "within_noise": "within noise",
    "noticed": "noticed from (points)",
}


def to_csv(table):
    """The comparison as CSV text, one line per cell; published numbers as they were printed."""
    shown = table.copy()
    shown["measure"] = shown["measure"].map(study.NAMES)
    shown["within_noise"] = [_ANSWER[answer] for answer in shown["within_noise"]]
    for column in ("here", "here_sd", "difference", "low", "high", "noticed"):
        shown[column] = [_number(x) for x in shown[column]]
    return shown.rename(columns=_TITLES).to_csv(index=False, lineterminator="\n")


def _number(x):
    return "" if math.isnan(x) else f"{x:.6g}"


def page(table, dataset, same_runs=False):
    """The comparison of a dataset as readers see it; same_runs: whether its runs are those behind the paper."""
    lines = {}
    columns = list(dict.fromkeys(zip(table["split"], table["measure"], strict=True)))
    blocks = ["table", "encoder", "selector", "trainer", "model"]
    for row in table.sort_values(blocks, kind="stable").to_dict("records"):
        heading = f"Table {row['table']}: {row['encoder']} · {row['selector']} · {row['trainer']}"
        heading += f" → fine-tuned, {row['model']}" if row["model"] else ""
        lines.setdefault((heading, row["strategy"]), {})[row["split"], row["measure"]] = row
    known = table[table["within_noise"].notna()]
    inside = int(known["within_noise"].astype(bool).sum())
    remarks = [
        f"Table {row['table']}, {row['selector']}, {row['split']}, {row['strategy']}: {row['remark']}."
        for row in table.drop_duplicates(["table", "selector", "split", "strategy"]).to_dict("records")
        if row["remark"]
    ]
    if table.empty:
        note = f"{dataset}: no cell of the LabelBench paper's tables can be held against what was run."
        return typeset.Page(dataset, "published", "strategy", [], [], [], note)
    note = (
        "Values printed in the LabelBench paper (arXiv 2306.09910, second version) beside those here, of the encoder "
        "fine-tuned with FlexMatch on the chosen labels. Mean and, after ±, sample standard deviation over "
        f"{_counts(table['published_trials'])} trials there and {_counts(table['trials'])} here, in percent; the "
        "paper's captions call theirs standard errors, but its result files show standard deviations. Pool metrics "
        "are the model's predictions of the whole pool, as in the paper. Difference: here less published, in points"
    )
    note += (
        ". These are the very runs behind the paper: what differs is rounding, or a misprint, and not chance."
        if same_runs
        else (
            ", with Welch's 95 % interval, widened by the rounding of the printed mean and of the printed deviation. "
            f"Within noise: the interval holds zero, as in {inside} of {len(known)} cells; where nothing but chance "
            "differs, one cell in twenty still falls outside. Noticed from: the smallest difference that would not "
            "have been within noise; a yes says no more than that there is none as large."
        )
    )
    return typeset.Page(
        dataset=dataset,
        name="published",
        corner="strategy",
        spans=[
            (f"{study.MODEL_POOL if split == 'pool' else split} {study.NAMES[measure]}", 5)
            for split, measure in columns
        ],
        names=["published", "here", "difference", "within noise?", "noticed from"] * len(columns),
        lines=[
            (*line, [cell for column in columns for cell in _cells(rows.get(column))]) for line, rows in lines.items()
        ],
        note=" ".join([note, *remarks]),
    )


def _counts(column):
    return " or ".join(map(str, sorted(set(column))))


def _cells(row):
    if row is None:
        return [("–", False)] * 5
    here = f"{wording.half_up(row['here']):.2f}" + ("" if math.isnan(row["here_sd"]) else f" ± {row['here_sd']:.2f}")
    difference = _points(row["difference"])
    if row["within_noise"] is not None:
        difference += f" [{_points(row['low'])}, {_points(row['high'])}]"
    answer = _ANSWER[row["within_noise"]] or "–"
    noticed = "–" if math.isnan(row["noticed"]) else f"±{row['noticed']:.2f}"
    texts = [f"{row['published']} ± {row['published_sd']}", here, difference, answer, noticed]
    return [(text, text == "no") for text in texts]


def _points(x):
    return f"{round(wording.half_up(x), 2) + 0.0:+.2f}".replace("-", "−")  # + 0.0: no −0.00
