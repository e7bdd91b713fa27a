"""What a study says, in words: paragraphs made of the numbers, no claim without its interval."""

import html
import math
import re
import textwrap

from labelbench.evidence import pages, statistics, study
from labelbench.evidence.study import REFERENCE

TITLE = "What this study says"
_VERDICTS = {"better": "Better than random sampling", "worse": "Worse than random sampling"}
_INTERVAL = re.compile(r"\[[^\]]*\]")


def paragraphs(table, judged, notes, equivalence):
    """List of texts about one dataset: a paragraph for every setting and split, then what was left out.

    table: `comparisons.comparisons_table` of the dataset; judged: by setting, (stage, model) of the model that is told
    about (`study.judged`); notes: sentences of `study.paired` about the dataset; equivalence: a fraction.
    """
    told = []
    blocks = [*study.SETTING, "stage", "model", "split"]
    for keys, rows in table.groupby(blocks, sort=False):
        block = dict(zip(blocks, keys, strict=True))
        setting = tuple(block[column] for column in study.SETTING[1:])
        if (block["stage"], block["model"]) == judged[setting]:
            told.append(_paragraph(block, rows.to_dict("records"), equivalence))
    if not told:
        told = ["Nothing was compared: this takes several strategies, and models of more than one round."]
    return [*told, *notes]


def _paragraph(block, rows, equivalence):
    model = f"{block['selector']} models trained with {block['trainer']} on {block['encoder']}"
    if block["stage"] == "finetune":
        model = f"{block['encoder']} fine-tuned with {block['model']} on labels chosen by {model}"
    first = rows[0]
    compared = [row for row in rows if row["reference"] == REFERENCE]
    text = f"{block['split'].capitalize()} {study.NAMES[first['measure']]} of {model}"
    text += f", up to {first['num_labels']:,} labels, {max(row['trials'] for row in rows)} paired trials. "
    if not compared:
        alone = all(row["strategy"] == REFERENCE for row in rows)
        return text + (
            "Nothing was run beside random sampling, so there is nothing to compare."
            if alone
            else "Random sampling was not run, so nothing here says what a strategy is worth."
        )
    if all(math.isnan(row["low"]) for row in compared):
        return text + "With one trial there are no intervals, and without intervals nothing can be claimed."
    usable = [row for row in compared if row["kind"] != "upper bound"]
    by = {verdict: [row for row in usable if row["verdict"] == verdict] for verdict in _VERDICTS}
    said = [f"{_VERDICTS[verdict]}: {_listed(map(_claim, found))}." for verdict, found in by.items() if found]
    if usable and not by["better"]:
        said.insert(0, "No strategy is shown to beat random sampling.")
    ties = [row for row in usable if row["verdict"] == "tie"]
    if ties:
        within = f"the interval lies within ±{100 * equivalence:g} points"
        said.append(f"As good as random sampling, a tie ({within}): {_listed(map(_brief, ties))}.")
    undecided = [row for row in usable if row["verdict"] == "undecided"]
    unclear = [row for row in undecided if row["low"] <= 0 <= row["high"]]
    if unclear:
        said.append(f"Undecided, with zero in the interval: {_listed(map(_brief, unclear))}.")
    uncorrected = [row for row in undecided if row not in unclear]
    if uncorrected:
        said.append(
            "Undecided, for zero lies outside the interval, but not after correction for all strategies compared: "
            f"{_listed(map(_brief, uncorrected))}."
        )
    bounds = [row for row in compared if row["kind"] == "upper bound"]
    if bounds:
        said.append(f"An upper bound, which sees labels that nobody bought: {_listed(map(_brief, bounds))}.")
    margin = [row for row in rows if row["reference"] == "margin" and row["strategy"] != REFERENCE]
    if margin and not math.isnan(margin[0]["low"]):
        said.append(_against_margin(margin))
    said.append(_noise(compared))
    return text + " ".join(said)


def _listed(texts):
    texts = list(texts)
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]


def _name(row):
    return row["strategy"] + study.MARKS[row["kind"]]


def _interval(low, high):
    return f"[{low}, {high}]"


def _gap(row):
    points = pages.points
    return f"{points(row['difference'])} points of AULC {_interval(points(row['low']), points(row['high']))}"


def _brief(row):
    return f"{_name(row)} ({_gap(row)})"


def _claim(row):
    """A strategy with its difference and, where they are known, its label savings."""
    text = f"{_name(row)} ({_gap(row)}"
    savings = row["savings"]
    if savings is not None and not math.isnan(savings.low.value):
        times = pages.times
        ends = _interval(times(savings.low), times(savings.high))
        text += f"; random needs {times(savings.factor)} {ends} times as many labels for the same final score"
        if not math.isnan(savings.mean_low.value):
            ends = _interval(times(savings.mean_low), times(savings.mean_high))
            text += f", {times(savings.mean)} {ends} times on average over the curve"
    return text + ")"


def _against_margin(rows):
    parts = []
    for verdict, words in (("better", "better"), ("tie", "a tie"), ("undecided", "undecided"), ("worse", "worse")):
        found = [row for row in rows if row["verdict"] == verdict]
        if found:
            parts.append(f"{words}: {_listed(map(_brief, found))}")
    return f"Against margin, {'; '.join(parts)}."


def _noise(rows):
    measured = [row for row in rows if not math.isnan(row["noise"])]
    if not measured:
        return "Training noise was not measured; the intervals hold it, together with the luck of the first labels."
    most = max(measured, key=lambda row: row["noise"])
    low, high = statistics.deviation_interval(most["noise"], most["noise_freedom"])
    text = (
        f"Training noise: with the very same labels a difference would spread by ±{100 * most['noise']:.2f} points "
        f"{_interval(f'{100 * low:.2f}', f'{100 * high:.2f}')} (one standard deviation)"
    )
    small = [row for row in measured if row["verdict"] in ("better", "worse") and abs(row["difference"]) < low]
    if small:
        text += f"; {_listed(map(_name, small))} differ{'s' * (len(small) == 1)} by less than the lower end of that"
    return text + "."


def note(kinds, equivalence):
    """How the sentences are made of the numbers. `kinds`: by strategy; `equivalence`: a fraction."""
    text = (
        "Written from the numbers in comparisons_*.csv. Differences are those of the areas under the learning curves "
        "over log labels (AULC), paired by trial; brackets are 95 % intervals. A strategy beats another, or is worse, "
        f"if the interval lies on one side of zero and reaches beyond ±{100 * equivalence:g} points, and the p-value, "
        "corrected by Holm for all strategies compared, is below 0.05; it ties if the interval lies within "
        f"±{100 * equivalence:g} points; else the study does not decide."
    )
    return text + pages.marks(set(kinds.values()))


def to_text(told, about):
    """The page as plain text: `told`, lists of paragraphs by dataset; `about`, the note."""
    parts = [TITLE, *(f"{dataset}\n" + "\n\n".join(map(_wrapped, texts)) for dataset, texts in told.items())]
    return "\n\n".join([*parts, _wrapped(about)]) + "\n"


def _wrapped(text):
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


def to_html(told, about):
    """The page as one self-contained HTML page."""
    parts = []
    for dataset, texts in told.items():
        parts.append(f"<h2>{html.escape(dataset)}</h2>")
        for text in texts:
            unbroken = _INTERVAL.sub(r"<span>\g<0></span>", html.escape(text))
            parts.append(f"<p>{unbroken}</p>")
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1.5rem auto; max-width: 44rem;
  padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }}
h2 {{ font-size: 1.1rem; margin: 1.5rem 0 .3rem; border-top: 1px solid #999; padding-top: .6rem; }}
p {{ margin: .4rem 0 .8rem; }}
span {{ white-space: nowrap; font-variant-numeric: tabular-nums; }}
footer {{ border-top: 1px solid #999; color: #444; font-size: .9rem; margin-top: 1.5rem; }}
</style></head><body>
<h1>{TITLE}</h1>
{body}
<footer><p>{html.escape(about)}</p></footer>
</body></html>
"""
