"""What a study says, in words: first a summary, then a table, then every comparison; no claim without its interval."""

import html
import math
import re
import textwrap

from labelbench.evidence import collapses, comparisons, statistics, study, typeset, wording
from labelbench.evidence.images import MOST_TRIALS
from labelbench.evidence.study import REFERENCE

TITLE = "What this study says"
MOST = 10  # sentences of the summary
_VERDICTS = {"better": "Better than random sampling", "worse": "Worse than random sampling"}
_INTERVAL = re.compile(r"\[[^\]]*\]")
_BLOCK = [*study.SETTING, "stage", "model", "split"]


def blocks(table, judged):
    """Lists of rows (dicts) of a `comparisons_table`: of every setting and split, of the model that is judged.

    judged: by setting, (stage, model) of the model that is told about (`study.judged`).
    """
    found = []
    for keys, rows in table.groupby(_BLOCK, sort=False):
        block = dict(zip(_BLOCK, keys, strict=True))
        setting = tuple(block[column] for column in study.SETTING[1:])
        if judged.get(setting) == (block["stage"], block["model"]):
            found.append(rows.to_dict("records"))
    return found


def paragraphs(table, judged, notes, equivalence):
    """List of texts about one dataset: a paragraph for every setting and split, then what was left out.

    table, judged: as for `blocks`; notes: sentences of `study.paired` about the dataset; equivalence: a fraction.
    """
    told = [_paragraph(rows, equivalence) for rows in blocks(table, judged)]
    if not told:
        told = ["Nothing was compared: this takes several strategies, and models of more than one round."]
    return [*told, *notes]


def headline(dataset, table, pooled, judged):
    """The summary's sentence about one dataset: what to use on it, what that saves, and how sure this is.

    Of the first test set. table, judged: as for `blocks`; pooled: `comparisons.pooled` of them. Where trainings
    collapsed, of what is left without them.
    """
    found = blocks(comparisons.without_collapses(table), judged)
    split = found[0][0]["split"] if found else ""
    own = [row for rows in found for row in rows if row["split"] == split and row["reference"] == REFERENCE]
    usable = [row for row in own if row["kind"] != "upper bound"]
    if not usable:
        return f"{dataset}: nothing was compared with random sampling."
    all_settings = comparisons.without_collapses(pooled) if len(pooled) else pooled
    several = all_settings[(all_settings["split"] == split) & (all_settings["kind"] != "upper bound")]
    rows = several.to_dict("records") or usable
    rows = [row for row in rows if not math.isnan(row["low"])]
    if not rows:
        return f"{dataset}: with one trial there are no intervals, and without intervals nothing can be claimed."
    best = max(rows, key=lambda row: row["difference"])
    trials = f"{int(best['trials'])} trials"
    settings = f" over {trials}" if len(several) == 0 else f" over {int(best['settings'])} settings of {trials}"
    if best["test"] == comparisons.BY_SETTING:
        settings += ", if these share at most half of their luck"
        if not math.isnan(best["alike_low"]):
            settings += f" (if all, {_interval(*(wording.points(best[end]) for end in ('alike_low', 'alike_high')))})"
    measure = f"{split} {study.NAMES[best['measure']]}"
    better = sorted((r for r in rows if r["verdict"] == "better"), key=lambda row: -row["difference"])
    if better:
        text = f"{dataset}: {_name(better[0])} beats random sampling by {_gap(better[0])} in {measure}{settings}"
        text += f" ({_by_itself(better[0], usable)})" if len(several) else ""
        if len(better) > 1:
            do = "does" if len(better) == 2 else "do"
            text += f", and so {do} {_listed(map(_name, better[1:]))}"
        return text + _saved(better[0]["strategy"], usable) + "."
    if all(row["verdict"] == "tie" for row in rows):
        return (
            f"{dataset}: all strategies tie with random sampling in {measure}{settings}; choosing labels gains nothing."
        )
    text = f"{dataset}: no strategy is shown to beat random sampling in {measure}{settings}; {_name(best)} comes "
    text += f"nearest ({_gap(best)}, Holm p {wording.p_value(best['p_holm'])}, above it in {int(best['above'])} of "
    text += f"{int(best['of'])} trial differences" + (f"; {_by_itself(best, usable)})" if len(several) else ")")
    return text + _missing(best) + "."


def _by_itself(row, rows):
    """In how many settings the strategy of a row over all settings is better by itself; rows: of the settings."""
    alone = [other["verdict"] == "better" for other in rows if other["strategy"] == row["strategy"]]
    return f"by itself in {sum(alone)} of the {len(alone)}"


def _saved(strategy, rows):
    """What a strategy saves in its settings, as the end of a sentence."""
    found = [row["savings"] for row in rows if row["strategy"] == strategy and row["savings"] is not None]
    found = sorted((s for s in found if not math.isnan(s.factor.value)), key=lambda s: s.factor.value)
    factors = [s.factor for s in found]
    if not factors:
        return ""
    first, last = (f"{_times(s.factor, s.low, s.high)} {_times_interval(s.low, s.high)}" for s in (found[0], found[-1]))
    times = first if first == last else f"{first} to {last}"
    text = f"; at the highest score that both reach random sampling needs {times} times {strategy}'s labels"
    if factors[-1].value < 1:
        return text + ": better on the way, worse at the end"
    return text + (", depending on the setting" if factors[0].value < 1 else "")


def _times(factor, low, high):
    """A factor in words, with the digits of its interval: `savings.Bounded` all three."""
    text = wording.times(factor, wording.precision(low, high)).lstrip("<>")
    return {">": "more than ", "<": "less than "}.get(factor.sign, "") + text


def _times_interval(low, high):
    digits = wording.precision(low, high)
    return _interval(wording.times(low, digits), wording.times(high, digits))


def _missing(row):
    """What an undecided comparison lacks, as the end of a sentence."""
    needed, trials = row["needed"], int(row["trials"])
    if row["verdict"] != "undecided" or math.isnan(needed):
        return ""
    if not math.isinf(needed):
        if needed <= trials:
            return ""
        return f"; {trials} trials do not decide, {int(needed)} would if difference and spread stayed as they are"
    if 1.96 * row["image_se"] > abs(row["difference"]):
        return "; no number of trials would decide, for the test set is too small"
    return f"; more than {MOST_TRIALS} trials would be needed if difference and spread stayed as they are"


def summary(headlines, ranking, notes, images=None):
    """The summary: at most `MOST` sentences. headlines: by dataset; ranking: `comparisons.Ranking` or None.

    notes: further sentences, which come last, such as on collapsed trainings. images: by dataset, a name that datasets
    of the same images share (None: each has its own).
    """
    told, first = [], {}
    for dataset, text in headlines.items():
        same = first.setdefault((images or {}).get(dataset, dataset), dataset)
        again = f" (These are the images of {same} again, not others that bear it out.)"
        told.append(text + (again if same != dataset else ""))
    after = []
    if ranking is not None and ranking.strategies:
        after.append(_ranked(ranking))
    after += notes
    room = MOST - len(after)
    if len(told) > room:
        told = [*told[: room - 1], f"The table below has {len(told) - room + 1} datasets more."]
    return [*told, *after]


def _ranked(found):
    names, ranks = found.strategies, found.ranks
    within = " (ranked within a dataset first)" if found.groups < found.settings else ""
    text = f"Of the {len(names)} strategies that were run in all {found.settings} settings compared, {names[0]} has "
    text += f"the best mean rank{within}, {ranks.mean[0]:.1f}"
    if math.isnan(ranks.critical):
        return text + "; with the images of one dataset there is no test of ranks."
    beaten = [n for n, rank in zip(names, ranks.mean, strict=True) if rank - ranks.mean[0] > ranks.critical]
    text += f"; over {found.groups} datasets of other images "
    if beaten:
        return text + f"it is shown to rank before {_listed(beaten)}."
    text += "it is not shown to rank before any"
    if ranks.p < comparisons.ALPHA:
        return text + f", though they are not all equal (p {wording.p_value(ranks.p)})."
    return text + "."


def caveats(tables, left_out):
    """Sentences that end the summary: collapsed trainings, pairing, what intervals hold. tables: by dataset."""
    told = []
    gone = {dataset: int(table["collapsed"].max()) for dataset, table in tables.items() if table["collapsed"].any()}
    if gone:
        told.append(f"Trainings collapsed in {_listed(gone)}; this summary, and the table below it, are without them.")
    if notes := sum(map(len, left_out.values())):
        many = f"{notes} note{'s' * (notes != 1)}"
        told.append(f"What was left out, or is not known of the runs, is told below ({many}).")
    known = [table for table in tables.values() if (table["test"] == "images").any()]
    if not known:
        told.append("All intervals are about these very test images: which of them each model got right was not kept.")
    elif len(known) < len(tables):
        told.append(
            "Where it was not kept which test images each model got right, intervals are about these very images."
        )
    return told


def overview(tables, judged):
    """The findings as a `typeset.Page`: a line per dataset, setting and split. Both arguments by dataset."""
    lines = []
    for dataset, table in tables.items():
        for rows in blocks(comparisons.without_collapses(table), judged[dataset]):
            block = rows[0]
            against = [row for row in rows if row["reference"] == REFERENCE and row["kind"] != "upper bound"]
            name = " · ".join(block[column] for column in study.SETTING[1:])
            name += f" → {block['model']}" if block["model"] else ""
            name += f": {block['split']}"
            lines.append((dataset, name, [(text, False) for text in _overview_cells(against)]))
    spans = [("best against random", 3), ("verdicts", 4)]
    names = ["strategy", "points of AULC", "label savings", "better", "tie", "undecided", "worse"]
    note = (
        "Best: the highest of all that were compared with random sampling; its interval is not corrected for that, "
        "verdicts are. Trainings that collapsed are left out."
    )
    return typeset.Page("all datasets", "findings", "setting", spans, names, lines, note)


def _overview_cells(rows):
    if not rows:
        return ["nothing compared", *[wording.NONE] * 6]
    best = max(rows, key=lambda row: row["difference"])
    cells = [
        _name(best),
        wording.interval(best["difference"], *comparisons.told(best)),
        wording.savings(best["savings"]),
    ]
    for verdict in ("better", "tie", "undecided", "worse"):
        cells.append(str(sum(row["verdict"] == verdict for row in rows)))
    return cells


def _paragraph(rows, equivalence):
    first = rows[0]
    model = f"{first['selector']} models trained with {first['trainer']} on {first['encoder']}"
    if first["stage"] == "finetune":
        model = f"{first['encoder']} fine-tuned with {first['model']} on labels chosen by {model}"
    compared = [row for row in rows if row["reference"] == REFERENCE]
    text = f"{first['split'].capitalize()} {study.NAMES[first['measure']]} of {model}"
    trials = [row["trials"] for row in rows]
    paired = wording.paired(min(trials), max(trials))
    text += f", up to {max(row['num_labels'] for row in rows):,} labels, {paired}"
    if not compared:
        alone = all(row["strategy"] == REFERENCE for row in rows)
        return text + (
            ". Nothing whole was run beside random sampling, so there is nothing to compare."
            if alone
            else ". Random sampling was not run, so nothing here says what a strategy is worth."
        )
    if all(math.isnan(row["low"]) for row in compared):
        return text + ". With one trial there are no intervals, and without intervals nothing can be claimed."
    text += ", whose spread is itself chance" if max(row["trials"] for row in compared) == 2 else ""
    text += "; in brackets points of AULC, and label savings at the end of the curve and on average. "
    usable = [row for row in compared if row["kind"] != "upper bound"]
    by = {verdict: [row for row in usable if row["verdict"] == verdict] for verdict in _VERDICTS}
    said = [f"{_VERDICTS[verdict]}: {_listed(map(_claim, found))}." for verdict, found in by.items() if found]
    if usable and not by["better"]:
        said.insert(0, _none_better(usable))
    ties = [row for row in usable if row["verdict"] == "tie"]
    if ties:
        within = f"the interval lies within ±{100 * equivalence:g} points"
        said.append(f"As good as random sampling, a tie ({within}): {_listed(map(_brief, ties))}.")
    unclear, uncorrected = _undecided(usable)
    if unclear:
        said.append(f"Undecided, with zero in the interval: {_listed(map(_brief, unclear))}.")
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
    said += [_without(row) for row in compared if row["collapsed"] and row["verdict_without"] == row["verdict_without"]]
    said += _about_images(compared, equivalence)
    said.append(_noise(compared))
    return text + " ".join(said)


def _none_better(rows):
    """That no strategy is shown to be better, which way they point all the same, and what is missing."""
    best = max(rows, key=lambda row: row["difference"])
    text = "No strategy is shown to beat random sampling"
    above = [row for row in rows if row["above"] == row["of"] and row["verdict"] == "undecided"]
    if above:
        text += f"; {_listed(map(_name, above))} {'lies' if len(above) == 1 else 'lie'} above it in every trial"
        best = min(above, key=lambda row: row["needed"])
    missing = _missing(best)
    return text + (f"; for {_name(best)}, {missing.removeprefix('; ')}." if missing else ".")


def _undecided(rows):
    """Undecided rows: those with zero in the interval, and those that only the correction leaves undecided."""
    found = [row for row in rows if row["verdict"] == "undecided"]
    unclear = [row for row in found if comparisons.told(row)[0] <= 0 <= comparisons.told(row)[1]]
    return unclear, [row for row in found if row not in unclear]


def _listed(texts):
    texts = list(texts)
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " and " + texts[-1]


def _name(row):
    return row["strategy"] + study.MARKS[row["kind"]]


def _interval(low, high):
    return f"[{low}, {high}]"


def _points(difference, low, high):
    number, _, ends = wording.interval(difference, low, high).partition(" ")
    return f"{number} points of AULC {ends}"


def _gap(row):
    return _points(row["difference"], *comparisons.told(row))


def _brief(row):
    return f"{_name(row)} ({wording.interval(row['difference'], *comparisons.told(row))})"


def _claim(row):
    """A strategy with its difference and, where they are known, its label savings; contradictions in words."""
    text = _brief(row).removesuffix(")")
    savings = row["savings"]
    if savings is not None and not math.isnan(savings.low.value):
        text += f"; saves {wording.factor(savings.factor, savings.low, savings.high)}"
        if not math.isnan(savings.mean_low.value):
            text += f", {wording.factor(savings.mean, savings.mean_low, savings.mean_high)}"
        if row["verdict"] == "worse" and savings.factor.value > 1:
            text += ": worse on the way, better at the end"
        if row["verdict"] == "better" and savings.factor.value < 1:
            text += ": better on the way, worse at the end"
    return text + ")"


def _against_margin(rows):
    unclear, uncorrected = _undecided(rows)
    parts = []
    for words, found in (
        ("better", [row for row in rows if row["verdict"] == "better"]),
        ("a tie", [row for row in rows if row["verdict"] == "tie"]),
        ("undecided, with zero in the interval", unclear),
        ("undecided after correction for all strategies compared", uncorrected),
        ("worse", [row for row in rows if row["verdict"] == "worse"]),
    ):
        if found:
            parts.append(f"{words}: {_listed(map(_brief, found))}")
    return f"Against margin, {'; '.join(parts)}."


def _without(row):
    """What is left of a comparison without the trainings that collapsed."""
    models = "One training" if row["collapsed"] == 1 else f"{row['collapsed']} trainings"
    gap = _points(row["difference_without"], row["low_without"], row["high_without"])
    return f"{models} of {row['collapsed_of']} collapsed: without, {gap}, {row['verdict_without']}."


def _about_images(rows, equivalence):
    """What the intervals are about, where that is known from the hits of test images."""
    known = [row for row in rows if not math.isnan(row["other_low"])]
    if not known:
        return []
    row = max(known, key=lambda row: row["image_se"])
    half = (row["high"] - row["low"]) / 2
    text = (
        f"Intervals are about other images of this kind; on these {row['images']:,} alone that of {_name(row)} would "
    )
    text += f"be ±{wording.points(half, wording.digits_of(2 * half))[1:]} instead of "
    half = (row["other_high"] - row["other_low"]) / 2
    text += f"±{wording.points(half, wording.digits_of(2 * half))[1:]} points."
    finest = 1.96 * min(row["image_se"] for row in known)
    if finest > equivalence:
        text += f" The test set shows no difference finer than ±{100 * finest:.2f} points, so no tie either."
    return [text]


def _noise(rows):
    measured = [row for row in rows if not math.isnan(row["noise"])]
    if not measured:
        return _first_noise(rows)
    most = max(measured, key=lambda row: row["noise"])
    low, high = statistics.deviation_interval(most["noise"], most["noise_freedom"])
    text = (
        "Training noise: with the very same labels a difference, a mean over trials, would spread by "
        f"{_deviation(most['noise'], low, high)} (one standard deviation)"
    )
    small = [row for row in measured if row["verdict"] in ("better", "worse") and abs(row["difference"]) < low]
    if small:
        text += f"; {_listed(map(_name, small))} differ{'s' * (len(small) == 1)} by less than the lower end of that"
    return text + "."


def _first_noise(rows):
    """What is known of training noise where it was not measured for whole curves."""
    known = [row for row in rows if not math.isnan(row["noise_sd"])]
    if not known:
        return "Training noise was not measured; the intervals hold it, together with the luck of the first labels."
    row = known[0]
    ends = statistics.deviation_interval(row["noise_sd"], row["noise_freedom"])
    return (
        f"Training noise is known of the first round only: a score after {int(row['noise_labels']):,} labels spreads "
        f"by {_deviation(row['noise_sd'], *ends)} when a model is trained anew on the same labels (one standard "
        "deviation). Of later rounds it is not known; the intervals hold it."
    )


def _deviation(sd, low, high):
    digits = wording.digits_of(sd)
    number, *ends = (wording.points(x, digits)[1:] for x in (sd, low, high))
    return f"±{number} points {_interval(*ends)}"


def note(kinds, equivalence, family=comparisons.BLOCK):
    """How the sentences are made of the numbers. `kinds`: by strategy; `equivalence`: a fraction; `family`: of p."""
    if family == comparisons.DATASET:
        corrected = "The correction is for all comparisons of a dataset together."
    else:
        corrected = (
            "The correction is for the strategies of one setting, model and split against one reference. Each such "
            "group of comparisons may find a difference where there is none with a chance of up to 5 %, so that a page "
            "with many groups may hold a few (`statistics: family: dataset` corrects for all of a dataset together). "
            "The table of wins, where there is one, corrects for all pairs of strategies, and so finds fewer."
        )
    text = (
        "Written from the numbers in comparisons_*.csv. Differences are those of the areas under the learning curves "
        "over log labels (AULC), paired by trial; brackets are 95 % intervals. A strategy beats another, or is worse, "
        f"if the interval lies on one side of zero and reaches beyond ±{100 * equivalence:g} points, and the p-value, "
        "corrected by Holm for all strategies compared, is below 0.05; it ties if the interval lies within "
        f"±{100 * equivalence:g} points; else the study does not decide. "
        "Label savings: how many times the labels of the strategy random sampling needs for the same score. "
        f"{corrected} Label savings are told of strategies that are better or worse, with intervals that are not "
        "corrected; those of all stand in the comparisons. A training collapsed where it scores more than "
        f"{collapses.TIMES} times the noise below an earlier and a later round."
    )
    return text + wording.marks(set(kinds.values()))


def to_text(told, about, summed=(), table=None):
    """The page as plain text.

    told: lists of paragraphs by dataset; about: the note; summed: the summary's sentences; table: the `overview`.
    """
    parts = [TITLE, *([_wrapped("* " + text) for text in summed])]
    if table is not None and table.lines:
        parts += [typeset.to_text(table).rstrip(), _wrapped(table.note)]
    parts += [f"{dataset}\n" + "\n\n".join(map(_wrapped, texts)) for dataset, texts in told.items()]
    return "\n\n".join([*parts, _wrapped(about)]) + "\n"


def _wrapped(text):
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


def _html(text):
    return _INTERVAL.sub(r"<span>\g<0></span>", html.escape(text))


def to_html(told, about, summed=(), table=None):
    """The same as one self-contained HTML page; the paragraphs are folded, by dataset."""
    parts = ["<ul>", *(f"<li>{_html(text)}</li>" for text in summed), "</ul>"] if summed else []
    if table is not None and table.lines:
        parts += ["<h2>Setting by setting</h2>", typeset.table_html(table), f"<p>{_html(table.note)}</p>"]
    for dataset, texts in told.items():
        parts.append(f"<details><summary>{html.escape(dataset)}: every comparison</summary>")
        parts += [f"<p>{_html(text)}</p>" for text in texts]
        parts.append("</details>")
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1.5rem auto; max-width: 60rem;
  padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }}
h2 {{ font-size: 1.1rem; margin: 1.5rem 0 .3rem; }}
ul, p {{ max-width: 44rem; }}
li, p {{ margin: .4rem 0 .8rem; }}
summary {{ cursor: pointer; margin: .8rem 0; font-weight: 600; }}
li span, p span {{ white-space: nowrap; font-variant-numeric: tabular-nums; }}
footer {{ border-top: 1px solid #999; color: #444; font-size: .9rem; margin-top: 1.5rem; }}
{typeset.STYLE}</style></head><body>
<h1>{TITLE}</h1>
{body}
<footer><p>{html.escape(about)}</p></footer>
</body></html>
"""
