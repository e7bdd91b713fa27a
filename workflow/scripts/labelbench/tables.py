"""The final table of a data set: every strategy after its last round, compared with random sampling."""

import html
import math

import pandas as pd

from labelbench import seeds, statistics, study
from labelbench.errors import UserError

REFERENCE = "random"
# A balanced pool leads with accuracy; where classes are rare, accuracy hides them.
MEASURES = {
    "accuracy": ("accuracy",),
    "balanced_accuracy": ("balanced_accuracy", "macro_f1"),
    "macro_f1": ("macro_f1", "balanced_accuracy"),
}
NONE = "–"
# From this many trials on the bootstrap interval covers about 95 % in the simulation of tests/test_statistics.py.
_CALIBRATED_TRIALS = 5
_DIFFERENCE = ("difference", "difference_low", "difference_high", "difference_p")
_COLUMNS = [*study.SETTING, "stage", "model", "strategy", "kind", "split", "measure"]
_COLUMNS += ["num_labels", "trials", "mean", "se", *_DIFFERENCE, "savings", "best"]


def final_table(metrics, dataset, lead, kinds):
    """One row per (setting, stage, model, strategy, split, measure) after the last round; fractions in [0, 1].

    `metrics`: the study's table (`study.load`); `lead`: a key of `MEASURES`, which says what follows it;
    `kinds`: by strategy, "batch", "sequential" (buys labels one at a time within a batch) or "upper bound" (sees labels
    that nobody bought; never counted as best).
    Adds to the keys the kind, num_labels, trials, `mean`, `se`, the paired difference to random with its 95 % interval
    and sign-flip p-value, `savings` (`statistics.Savings`; proxies only, fine-tuned models have no curves), and `best`:
    the highest mean of its block, or one whose paired 95 % interval to the highest holds zero. What cannot be computed
    (no random in the study, one trial) is NaN. Zero-shot heads come first, as rows of stage `zero_shot` without labels
    or trials.
    """
    if lead not in MEASURES:
        raise UserError(f"dataset {dataset}: the leading metric is {lead!r}; it must be {' or '.join(MEASURES)}.")
    settings, strategies = study.settings(metrics, dataset), study.strategies_of(metrics, dataset)
    columns = [(split, measure) for measure in MEASURES[lead] for split in study.splits_of(metrics, dataset)]
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
                rows += [
                    {**keys, **row} for row in _column(found, dataset, stage == "proxy" and measure == lead, kinds)
                ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _column(curves, dataset, with_savings, kinds):
    """Rows of one column of one block, from the `study.Curves` by strategy."""
    if not curves:
        return []
    trials = next(iter(curves.values())).trials.tolist()
    for strategy, curve in curves.items():
        if curve.trials.tolist() != trials:
            raise UserError(f"{dataset}: {strategy} has trials {curve.trials.tolist()}, other strategies {trials}.")
    finals = {s: curve.scores[:, -1] for s, curve in curves.items()}
    usable = [s for s in finals if kinds[s] != "upper bound"]
    highest = finals[max(usable, key=lambda s: finals[s].mean())] if usable else None
    reference = curves.get(REFERENCE)
    rows = []
    for strategy, curve in curves.items():
        final = statistics.estimate(finals[strategy])
        row = {
            "strategy": strategy,
            "kind": kinds[strategy],
            "num_labels": int(curve.labels[-1]),
            "trials": len(trials),
            "mean": float(final.mean),
            "se": float(final.se),
            "best": strategy in usable
            and (finals[strategy] is highest or bool(statistics.paired_difference(highest, finals[strategy]).low <= 0)),
        }
        if reference is not None and strategy != REFERENCE:
            # The same draws for every strategy: an interval does not depend on which other strategies ran.
            rng = seeds.generator(0, 0, 0, "bootstrap")
            gap = statistics.paired_difference(finals[strategy], finals[REFERENCE])
            p = statistics.sign_flip_p(finals[strategy] - finals[REFERENCE], rng)
            row |= zip(_DIFFERENCE, (float(gap.mean), float(gap.low), float(gap.high), p), strict=True)
            if with_savings:
                row["savings"] = statistics.label_savings(
                    curve.labels, curve.scores, reference.labels, reference.scores, rng
                )
        rows.append(row)
    return rows


def _counts(table):
    """How many labels and trials the table's models have."""
    models = table[table["trials"] > 0]
    lowest, highest = models["num_labels"].min(), models["num_labels"].max()
    labels = f"{highest:,}" if lowest == highest else f"{lowest:,} to {highest:,}"
    trials = models["trials"].max()
    return f"{labels} labels, {trials} paired trials" if trials > 1 else f"{labels} labels, one trial"


def note(table):
    """What a reader must know to read the table: n, what ± and the brackets are, which pool definition."""
    text = (
        f"After the last round: {_counts(table)}. Mean ± standard error over trials, in percent. "
        "vs random: difference in points, paired by trial, with its 95 % Student-t interval. "
        "Label savings: the labels random sampling needs divided by the labels the strategy needs, at the highest "
        "accuracy that both reach, on isotonic mean curves in log labels, with a 95 % paired bootstrap interval. "
        "Pool metrics count bought labels as annotated and all others as predicted. "
        "Bold: the best mean of its block, and every mean whose paired 95 % interval to it holds zero."
    )
    if (table["kind"] == "sequential").any():
        text += " †: sees the label of every pick before it makes the next; the others choose a batch at once."
    if (table["kind"] == "upper bound").any():
        text += (
            " ‡: not a strategy that can be used, but a bound for those that can: it tries candidate batches with "
            "labels of the pool that nobody bought."
        )
    if table["trials"].max() < _CALIBRATED_TRIALS:
        text += " With so few trials the bootstrap interval is somewhat too narrow."
    return text


def _percent(x):
    return NONE if math.isnan(x) else f"{100 * x:.2f}"


def _points(x):
    return NONE if math.isnan(x) else f"{100 * x:+.2f}".replace("-", "−")


def _times(bounded):
    return NONE if math.isnan(bounded.value) else f"{bounded.sign}{bounded.value:.2f}"


def _score(row):
    return _percent(row["mean"]) + ("" if math.isnan(row["se"]) else f" ± {_percent(row['se'])}")


def _difference(row):
    if math.isnan(row["difference"]):
        return NONE
    low, high = _points(row["difference_low"]), _points(row["difference_high"])
    return _points(row["difference"]) + ("" if low == NONE else f" [{low}, {high}]")


def _savings(row):
    if not isinstance(row["savings"], statistics.Savings):
        return NONE
    low, high = _times(row["savings"].low), _times(row["savings"].high)
    return f"{_times(row['savings'].factor)}×" + ("" if low == NONE else f" [{low}, {high}]")


def _columns(table):
    """The table's columns in reading order: ((split, measure), title, whether it has comparisons with random)."""
    lead = table["measure"].iloc[0]
    found = table[["split", "measure"]].drop_duplicates().itertuples(index=False, name=None)
    # Test sets come before the pool, each in its alphabetical place.
    keys = sorted(found, key=lambda key: (MEASURES[lead].index(key[1]), key[0] == "pool", key[0]))
    return [((split, measure), f"{split} {study.NAMES[measure]}", measure == lead) for split, measure in keys]


def _lines(table):
    """(heading of its block, name, {(split, measure): row}) of every line in reading order.

    Zero-shot heads have no block: their heading is empty.
    """
    blocks = ["encoder", "selector", "trainer", "stage", "model"]
    for (*block, strategy), rows in table.groupby([*blocks, "strategy"], sort=False):
        encoder, selector, trainer, stage, model = block
        heading, name = f"{encoder} · {selector} · {trainer}", strategy
        if stage == "finetune":
            heading += f" → fine-tuned, {model}"
        if stage == "zero_shot":
            heading, name = "", f"{strategy}, {encoder}"
        name += study.MARKS[rows["kind"].iloc[0]]
        yield heading, name, {(row["split"], row["measure"]): row for row in rows.to_dict("records")}


def to_csv(table):
    """The table as CSV text: one line per strategy and column, one number per cell, in percent and points.

    Censored label savings keep their sign (">2.31"). "labels random needs" is for the strategy's own final accuracy.
    """
    lines = []
    for row in table.to_dict("records"):
        line = {field: row[field] for field in study.SETTING}
        line["model"] = {"proxy": "proxy", "finetune": f"fine-tuned, {row['model']}"}.get(
            row["stage"], "zero-shot head"
        )
        line |= {
            "strategy": row["strategy"],
            "kind": row["kind"],
            "split": row["split"],
            "metric": study.NAMES[row["measure"]],
        }
        line |= {"labels": row["num_labels"], "trials": row["trials"]}
        line["mean (%)"] = _number(100 * row["mean"])
        line["standard error"] = _number(100 * row["se"])
        line["difference to random (points)"] = _number(100 * row["difference"])
        line["difference 95 % low"] = _number(100 * row["difference_low"])
        line["difference 95 % high"] = _number(100 * row["difference_high"])
        line["sign-flip p"] = _number(row["difference_p"])
        savings = row["savings"] if isinstance(row["savings"], statistics.Savings) else None
        line["label savings (times)"] = _bounded(savings and savings.factor)
        line["savings 95 % low"] = _bounded(savings and savings.low)
        line["savings 95 % high"] = _bounded(savings and savings.high)
        line["labels random needs"] = _bounded(savings and savings.random_labels)
        lines.append(line)
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def _number(x):
    return "" if math.isnan(x) else f"{x:.6g}"


def _bounded(x):
    return "" if x is None else x.sign + _number(x.value)


def _cells(row, compared):
    """Texts of one line under one column title."""
    score = NONE if row is None else _score(row)
    if not compared:
        return [score]
    return [score, NONE, NONE] if row is None else [score, _difference(row), _savings(row)]


def _header(columns):
    """Column titles with their spans, and the names below them."""
    spans = [(title, 3 if compared else 1) for _, title, compared in columns]
    return spans, [name for _, span in spans for name in ("% ± SE", "vs random", "label savings")[:span]]


def to_html(table):
    """The table as one self-contained HTML page without scripts."""
    columns = _columns(table)
    spans, names = _header(columns)
    dataset = html.escape(table["dataset"].iloc[0])
    body, current = [], ""
    for heading, strategy, rows in _lines(table):
        if heading != current:
            current = heading
            body.append(f'<tr><th colspan="{1 + len(names)}" class="block">{html.escape(heading)}</th></tr>')
        line = [f'<th scope="row">{html.escape(strategy)}</th>']
        for key, _, compared in columns:
            row = rows.get(key)
            first, *others = (html.escape(text) for text in _cells(row, compared))
            line += [f"<td><b>{first}</b></td>" if row and row["best"] else f"<td>{first}</td>"]
            line += [f"<td>{text}</td>" for text in others]
        body.append(f"<tr>{''.join(line)}</tr>")
    titles = "".join(f'<th colspan="{span}" class="title">{html.escape(title)}</th>' for title, span in spans)
    below = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    newline = "\n"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{dataset}: final table</title>
<style>
body {{ font: 13px/1.4 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1.5rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }}
th, td {{ padding: .2rem .4rem; text-align: right; white-space: nowrap; font-weight: normal;
  font-variant-numeric: tabular-nums; }}
th:first-child {{ text-align: left; }}
td b {{ font-weight: 700; }}
th.title {{ text-align: center; font-weight: 600; border-bottom: 1px solid #999; }}
th.block {{ text-align: left; font-style: italic; border-top: 1px solid; padding-top: .5rem; }}
caption {{ text-align: left; font-weight: 600; padding-bottom: .5rem; }}
p {{ max-width: 60rem; color: #444; }}
</style></head><body>
<div class="wide"><table>
<caption>{dataset}</caption>
<thead><tr><th></th>{titles}</tr>
<tr><th scope="col">strategy</th>{below}</tr></thead>
<tbody>
{newline.join(body)}
</tbody></table></div>
<p>{html.escape(note(table))}</p>
</body></html>
"""


_LATEX = {
    "\\": r"\textbackslash{}",
    **{c: rf"\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "<": "$<$",
    ">": "$>$",
    "–": "--",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
}


def _latex(text):
    return "".join(_LATEX.get(c, c) for c in text)


def to_latex(table):
    """The table as a LaTeX `table*` for booktabs, with a caption that says what the numbers are."""
    columns = _columns(table)
    spans, names = _header(columns)
    dataset = table["dataset"].iloc[0]
    rules, start = [], 2
    for _, span in spans:
        rules.append(rf"\cmidrule(lr){{{start}-{start + span - 1}}}")
        start += span
    titles = [rf"\multicolumn{{{span}}}{{c}}{{{_latex(title)}}}" for title, span in spans]
    lines = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{\textbf{{{_latex(dataset)}.}} {_latex(note(table))}}}",
        rf"\label{{tab:final-{dataset.replace('_', '-')}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(names)}}}",
        r"\toprule",
        " & ".join(["", *titles]) + r" \\",
        " ".join(rules),
        " & ".join(["strategy", *map(_latex, names)]) + r" \\",
    ]
    current = ""
    for heading, strategy, rows in _lines(table):
        if heading != current:
            current = heading
            lines += [r"\midrule", rf"\multicolumn{{{1 + len(names)}}}{{l}}{{\textit{{{_latex(heading)}}}}} \\"]
        line = [_latex(strategy)]
        for key, _, compared in columns:
            row = rows.get(key)
            first, *others = map(_latex, _cells(row, compared))
            line += [rf"\textbf{{{first}}}" if row and row["best"] else first, *others]
        lines.append(" & ".join(line) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table*}", ""]
    return "\n".join(lines)


def summary(tables):
    """A short text for the terminal: strategy, test and pool score ± SE and label savings, per dataset and model."""
    texts = []
    for table in tables:
        columns = [(key, title) for key, title, compared in _columns(table) if compared]
        lines, current = [], ""
        for heading, strategy, rows in _lines(table):
            if heading != current:
                current = heading
                lines.append([heading])
            cells = [rows.get(key) for key, _ in columns]
            scores = [NONE if row is None else _score(row) for row in cells]
            savings = [NONE if row is None else _savings(row).split(" ")[0] for row in cells]
            lines.append([f"  {strategy}", *scores, *savings])
        header = [
            "  strategy",
            *(f"{title} (%)" for _, title in columns),
            *(f"label savings, {split}" for (split, _), _ in columns),
        ]
        rows = [header, *lines]
        widths = [max(len(row[i]) for row in rows if len(row) > 1) for i in range(len(header))]
        text = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False)).rstrip() for row in rows]
        texts.append("\n".join([f"{table['dataset'].iloc[0]}: {_counts(table)}", *text]))
    return "\n\n".join(texts) + "\n"
