"""The final table of a data set: every strategy after its last round, compared with random sampling."""

import html
import math

import pandas as pd

from labelbench import seeds, statistics, study
from labelbench.errors import UserError

REFERENCE = "random"
NAMES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}
# A balanced pool leads with accuracy; where classes are rare, accuracy hides them.
MEASURES = {"accuracy": ("accuracy",), "balanced_accuracy": ("balanced_accuracy", "macro_f1")}
SPLITS = ("test", "pool")
NONE = "–"
_DIFFERENCE = ("difference", "difference_low", "difference_high", "difference_p")
_COLUMNS = [*study.SETTING, "strategy", "stage", "model", "split", "measure", "num_labels", "trials"]
_COLUMNS += ["mean", "se", *_DIFFERENCE, "savings", "best"]


def metric_of(split, measure):
    """The metric's name in the table of metrics: the pool's are of the kind that counts bought labels as annotated."""
    return f"pool_{measure}" if split == "pool" else measure


def final_table(metrics, dataset, lead):
    """One row per (setting, strategy, stage, model, split, measure) at the last round; fractions in [0, 1].

    `metrics`: the study's table (`study.load`); `lead`: "accuracy" or "balanced_accuracy" (macro F1 follows it). Adds
    to the keys: num_labels, trials, `mean`, `se`, the paired difference to random with its 95 % interval and sign-flip
    p-value, `savings` (`statistics.Savings`, for the leading measure of proxies), and `best`: the highest mean of its
    column, or one whose paired 95 % interval to the highest holds zero. What cannot be computed (no random in the
    study, one trial) is None or NaN. The zero-shot level of the encoder is a row of its own, with no trials.
    """
    if lead not in MEASURES:
        raise UserError(f"dataset {dataset}: the leading metric is {lead!r}; it must be {' or '.join(MEASURES)}.")
    strategies = study.strategies_of(metrics, dataset)
    rows = []
    for setting in study.settings(metrics, dataset):
        for stage, model in study.models(metrics, dataset):
            for measure in MEASURES[lead] if stage == "proxy" else (lead,):
                for split in SPLITS:
                    curves = {
                        s: study.curves(metrics, dataset, setting, s, split, metric_of(split, measure), stage, model)
                        for s in strategies
                    }
                    curves = {s: c for s, c in curves.items() if c is not None}
                    keys = dict(zip(study.SETTING, (dataset, *setting), strict=True))
                    keys |= {"stage": stage, "model": model, "split": split, "measure": measure}
                    rows += [{**keys, **row} for row in _column(curves, stage == "proxy" and measure == lead, keys)]
        for measure in MEASURES[lead]:
            for split in SPLITS:
                level = study.zero_shot(metrics, dataset, setting[0], split, metric_of(split, measure))
                if level is not None:
                    keys = dict(zip(study.SETTING, (dataset, *setting), strict=True))
                    keys |= {"stage": "proxy", "model": "", "split": split, "measure": measure}
                    rows.append({**keys, "strategy": "zero-shot", "num_labels": 0, "trials": 0, "mean": level, "best": False})
    return pd.DataFrame(rows, columns=_COLUMNS)


def _column(curves, with_savings, keys):
    """Rows of one column of the table, for the curves (`study.Curves`) by strategy."""
    if not curves:
        return []
    finals = {s: c.values[:, -1] for s, c in curves.items()}
    reference = curves.get(REFERENCE)
    highest = max(finals, key=lambda s: finals[s].mean())
    rows = []
    for strategy, curve in curves.items():
        for other in (curves[highest], curve if reference is None else reference):
            if list(curve.trials) != list(other.trials):
                raise UserError(
                    f"{keys['dataset']}, {strategy}: trials {list(map(int, curve.trials))} are not those of the "
                    f"strategies it is compared with, {list(map(int, other.trials))}."
                )
        final = statistics.estimate(finals[strategy])
        row = {
            "strategy": strategy,
            "num_labels": int(curve.labels[-1]),
            "trials": len(curve.trials),
            "mean": float(final.mean),
            "se": float(final.se),
            "best": strategy == highest
            or bool(statistics.paired_difference(finals[highest], finals[strategy]).low <= 0),
        }
        if reference is not None and strategy != REFERENCE:
            # The same draws for every strategy: a strategy's interval does not depend on which others ran.
            rng = seeds.generator(0, 0, 0, "bootstrap")
            gap = statistics.paired_difference(finals[strategy], finals[REFERENCE])
            p = statistics.sign_flip_p(finals[strategy] - finals[REFERENCE], rng)
            row |= zip(_DIFFERENCE, (float(gap.mean), float(gap.low), float(gap.high), p), strict=True)
            if with_savings:
                row["savings"] = statistics.label_savings(
                    curve.labels, curve.values, reference.labels, reference.values, rng
                )
        rows.append(row)
    return rows


def note(table):
    """What a reader must know to read the table: n, what ± and the brackets are, which pool definition."""
    models = table[table["trials"] > 0]
    lowest, highest = models["num_labels"].min(), models["num_labels"].max()
    labels = f"{lowest}" if lowest == highest else f"{lowest} to {highest}"
    n = models["trials"].max()
    text = (
        f"After {labels} labels; {n} paired trials. ± is the standard error of the mean over trials, in percent. "
        "Difference to random: in points, paired by trial, with its 95 % Student-t interval. "
        "Label savings: the labels random sampling needs divided by the labels the strategy needs, at the highest "
        "accuracy that both reach, on isotonic mean curves in log labels, with a 95 % paired bootstrap interval. "
        "Pool metrics count bought labels as annotated and all others as predicted. "
        "Bold: the best mean, and every mean whose paired 95 % interval to the best holds zero."
    )
    if n <= statistics.ENUMERATED_TRIALS - 2:
        text += " With so few trials the bootstrap interval spans all resamples and is still somewhat too narrow."
    return text


def _percent(x):
    return NONE if x is None or math.isnan(x) else f"{100 * x:.2f}"


def _points(x):
    return NONE if x is None or math.isnan(x) else f"{100 * x:+.2f}".replace("-", "−")


def _times(bounded):
    return NONE if math.isnan(bounded.value) else f"{bounded.sign}{bounded.value:.2f}"


def _score(row):
    if row is None:
        return NONE
    return _percent(row["mean"]) + ("" if math.isnan(row["se"]) else f" ± {_percent(row['se'])}")


def _difference(row):
    if row is None or math.isnan(row["difference"]):
        return NONE
    low, high = _points(row["difference_low"]), _points(row["difference_high"])
    return _points(row["difference"]) + ("" if low == NONE else f" [{low}, {high}]")


def _savings(row):
    if row is None or not isinstance(row["savings"], statistics.Savings):
        return NONE
    low, high = _times(row["savings"].low), _times(row["savings"].high)
    return f"{_times(row['savings'].factor)}×" + ("" if low == NONE else f" [{low}, {high}]")


def _groups(table):
    """Column groups in reading order: ((stage, model, split, measure), title, with comparisons or not)."""
    lead = table["measure"].iloc[0]
    found = table[["stage", "model", "split", "measure"]].drop_duplicates().itertuples(index=False, name=None)
    groups = []
    for stage, model, split, measure in found:
        title = f"{split} {NAMES[measure]}"
        if stage == "finetune":
            title = f"fine-tuned ({model}): {title}"
        groups.append(((stage, model, split, measure), title, stage == "proxy" and measure == lead))
    return groups


def _lines(table):
    """(setting, strategy, {group key: row}) in reading order; the zero-shot level after the strategies it goes with."""
    for (*setting, strategy), rows in table.groupby([*study.SETTING[1:], "strategy"], sort=False):
        cells = {tuple(row[k] for k in ("stage", "model", "split", "measure")): row for row in rows.to_dict("records")}
        yield tuple(setting), strategy, cells


def to_csv(table):
    """The table as CSV text: one line per strategy, a number per cell, percent and points.

    Censored label savings keep their sign (">2.31"). "labels random needs" is for the strategy's own final accuracy.
    """
    lines = []
    for setting, strategy, cells in _lines(table):
        first = next(iter(cells.values()))
        line = dict(zip(study.SETTING, (first["dataset"], *setting), strict=True))
        line |= {"strategy": strategy, "labels": first["num_labels"], "trials": first["trials"]}
        for key, title, compared in _groups(table):
            row = cells.get(key, {})
            line[f"{title} (%)"] = _number(row.get("mean"), 100)
            line[f"{title}: standard error"] = _number(row.get("se"), 100)
            line[f"{title}: difference to random (points)"] = _number(row.get("difference"), 100)
            line[f"{title}: difference, 95 % low"] = _number(row.get("difference_low"), 100)
            line[f"{title}: difference, 95 % high"] = _number(row.get("difference_high"), 100)
            line[f"{title}: sign-flip p"] = _number(row.get("difference_p"), 1)
            if compared:
                savings = row.get("savings")
                known = isinstance(savings, statistics.Savings)
                for name, field in (
                    ("label savings", "factor"),
                    ("label savings, 95 % low", "low"),
                    ("label savings, 95 % high", "high"),
                    ("labels random needs", "random_labels"),
                ):
                    bounded = getattr(savings, field) if known else None
                    line[f"{title}: {name}"] = "" if bounded is None else _times(bounded).replace(NONE, "")
        lines.append(line)
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def _number(x, scale):
    return "" if x is None or math.isnan(x) else f"{scale * x:.4f}"


def _header(groups):
    """Two header rows: group titles with their spans, and the columns below them."""
    tops = [(title, 3 if compared else 1) for _, title, compared in groups]
    below = [name for _, _, compared in groups for name in ("% ± SE", "− random", "label savings")[: 3 if compared else 1]]
    return tops, below


def _cells(cells, groups):
    """Texts of one line with whether they are bold."""
    for key, _, compared in groups:
        row = cells.get(key)
        yield _score(row), bool(row and row["best"])
        if compared:
            yield _difference(row), False
            yield _savings(row), False


def to_html(table):
    """The table as one self-contained HTML page without scripts."""
    groups = _groups(table)
    tops, below = _header(groups)
    width = 1 + len(below)
    dataset = html.escape(table["dataset"].iloc[0])
    body, current = [], None
    for setting, strategy, cells in _lines(table):
        if setting != current:
            current = setting
            body.append(f'<tr><th colspan="{width}" class="setting">{html.escape(" · ".join(setting))}</th></tr>')
        texts = "".join(
            f"<td>{'<b>' if bold else ''}{html.escape(text)}{'</b>' if bold else ''}</td>"
            for text, bold in _cells(cells, groups)
        )
        body.append(f'<tr><th scope="row">{html.escape(strategy)}</th>{texts}</tr>')
    head = "".join(f'<th colspan="{span}" class="group">{html.escape(title)}</th>' for title, span in tops)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in below)
    rows = "\n".join(body)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{dataset}: final table</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1.5rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; border-top: 2px solid #1a1a1a; border-bottom: 2px solid #1a1a1a; }}
th, td {{ padding: .25rem .75rem; text-align: right; white-space: nowrap; font-weight: normal;
  font-variant-numeric: tabular-nums; }}
th:first-child {{ text-align: left; }}
td b {{ font-weight: 700; }}
th.group {{ text-align: center; font-weight: 600; border-bottom: 1px solid #999; }}
th.setting {{ text-align: left; font-style: italic; border-top: 1px solid #1a1a1a; }}
caption {{ text-align: left; font-weight: 600; padding-bottom: .5rem; }}
p {{ max-width: 60rem; color: #444; }}
</style></head><body>
<div class="wide"><table>
<caption>{dataset}</caption>
<thead><tr><th></th>{head}</tr>
<tr><th scope="col">strategy</th>{names}</tr></thead>
<tbody>
{rows}
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
}


def _latex(text):
    return "".join(_LATEX.get(c, c) for c in text)


def to_latex(table):
    """The table as a LaTeX `table*` for booktabs, with a caption that says what the numbers are."""
    groups = _groups(table)
    tops, below = _header(groups)
    dataset = table["dataset"].iloc[0]
    rules, column = [], 2
    for _, span in tops:
        rules.append(rf"\cmidrule(lr){{{column}-{column + span - 1}}}")
        column += span
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_latex(f'{dataset}. {note(table)}')}}}",
        rf"\label{{tab:final-{dataset.replace('_', '-')}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(below)}}}",
        r"\toprule",
        " & ".join(["", *(rf"\multicolumn{{{span}}}{{c}}{{{_latex(title)}}}" for title, span in tops)]) + r" \\",
        "".join(rules),
        " & ".join(["strategy", *map(_latex, below)]) + r" \\",
    ]
    current = None
    for setting, strategy, cells in _lines(table):
        if setting != current:
            current = setting
            heading = _latex(" · ".join(setting))
            lines += [r"\midrule", rf"\multicolumn{{{1 + len(below)}}}{{l}}{{\textit{{{heading}}}}} \\"]
        texts = [
            rf"\textbf{{{_latex(text)}}}" if bold else _latex(text) for text, bold in _cells(cells, groups)
        ]
        lines.append(" & ".join([_latex(strategy), *texts]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table*}", ""]
    return "\n".join(lines)


def summary(tables):
    """A short text for the terminal: per table and setting, strategy, test and pool score ± SE, label savings."""
    blocks = []
    for table in tables:
        (test, pool) = [(key, title) for key, title, compared in _groups(table) if compared]
        lines, current = [], None
        for setting, strategy, cells in _lines(table):
            if setting != current:
                current = setting
                lines.append((" / ".join(setting), f"{test[1]} (%)", f"{pool[1]} (%)", "label savings: test", "pool"))
            rows = [cells.get(test[0]), cells.get(pool[0])]
            factors = [_savings(row).split(" ")[0] for row in rows]
            lines.append((strategy, _score(rows[0]), _score(rows[1]), *factors))
        widths = [max(len(line[i]) for line in lines) for i in range(5)]
        models = table[table["trials"] > 0]
        title = f"{table['dataset'].iloc[0]}: {models['num_labels'].max()} labels, {models['trials'].max()} trials, ± SE"
        text = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        blocks.append("\n".join([title, *text]))
    return "\n\n".join(blocks) + "\n"
