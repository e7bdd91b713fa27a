"""Comparisons of whole curves laid out for readers: differences and verdicts, wins, ranks."""

import math

from labelbench.evidence import collapses, comparisons, statistics, study, typeset, wording
from labelbench.evidence.study import REFERENCE


def page(table, equivalence, dataset, family="block"):
    """The comparison of whole learning curves as readers see it (`comparisons.comparisons_table`)."""
    references = [name for name in comparisons.REFERENCES if (table["reference"] == name).any()]
    lines = {}
    for row in table.to_dict("records"):
        heading = " · ".join(filter(None, (row["encoder"], row["selector"], row["trainer"])))
        if row["stage"] == "finetune":
            heading += f" → fine-tuned, {row['model']}"
        heading += f": {row['split']} {study.NAMES[row['measure']]}"
        name = row["strategy"] + study.MARKS[row["kind"]]
        lines.setdefault(heading, {}).setdefault(name, {})[row["reference"]] = row
    shown, images = [], bool(table["other_low"].notna().any())
    for heading, names in lines.items():
        for name, rows in names.items():
            score = wording.percent(next(iter(rows.values()))["aulc"])
            se = next(iter(rows.values()))["se"]
            cells = [score if math.isnan(se) else f"{score} ± {wording.percent(se)}"]
            for reference in references:
                cells += _compared_cells(rows.get(reference), images)
            if REFERENCE in references:
                found = rows[REFERENCE]["savings"] if REFERENCE in rows else None
                cells += [wording.savings(found), _mean_savings(found)]
            enough = max(row["trials"] for row in rows.values()) >= statistics.ENOUGH
            shown.append((heading, name, [(cell, cell == "better" and enough) for cell in cells]))
        if references and not heading.startswith(comparisons.POOLED):
            cells = [wording.NONE]
            for reference in references:
                told = [rows[reference] for rows in names.values() if reference in rows]
                text = wording.noise([row["noise"] for row in told])
                if text == wording.UNMEASURED and any(row["noise_sd"] == row["noise_sd"] for row in told):
                    text = "first round only"
                cells += [text, *[wording.NONE] * (3 if images else 2)]
            cells += [wording.NONE, wording.NONE] if REFERENCE in references else []
            shown.append((heading, wording.NOISE, [(cell, False) for cell in cells]))
    compared = ["points", *["these images"] * images, "Holm p", "verdict"]
    spans = [("whole curve", 1), *((f"vs {reference}", len(compared)) for reference in references)]
    titles = ["AULC, % ± SE", *compared * len(references)]
    if REFERENCE in references:
        spans.append(("label savings", 2))
        titles += ["at the end", "mean"]
    return typeset.Page(dataset, "comparisons", "strategy", spans, titles, shown, note(table, equivalence, family))


def note(table, equivalence, family="block"):
    """What a reader must know to read comparisons of whole curves."""
    if table.empty:
        return "No model was evaluated in more than one round: there are no curves to compare."
    trials = table["trials"].max()
    text = (
        f"Whole learning curves over {wording.paired(trials, trials)}. AULC: area under the curve over the logarithm "
        "of the labels, as a mean score in percent ± standard error over trials. Differences: in points of AULC, "
        f"paired by trial, with 95 % intervals. {_images_note(table, equivalence)} "
        f"{_p_note(table)} {_family_note(table, family)} "
        f"Verdict: tie, the interval lies within ±{100 * equivalence:g} points, a difference too "
        "small to matter; better and worse, it lies on one side of zero and the corrected p is below 0.05; undecided, "
        "anything else. "
    )
    if (table["reference"] == REFERENCE).any():
        text += (
            "Label savings: labels random sampling needs divided by labels the strategy needs, on isotonic mean curves "
            "in log labels, at the highest accuracy that both reach, and as geometric mean over the accuracies "
            'from random\'s 10 % budget on, as far as both go; ">" and "<" mark what is known from one side only. '
            "Their intervals are not corrected for the number of strategies; at the end of a curve they may point "
            "another way than the whole of it. "
        )
    text += _pooled_note(table)
    if table["collapsed"].any():
        text += (
            f"¤: trainings collapsed (a score more than {collapses.TIMES} times the noise below an earlier and a later "
            "round of its trial); behind the mark stand difference and verdict without them, on these images. Label "
            "savings are with them. "
        )
    text += f"{wording.noise_note(table)} "
    if table["split"].isin((study.POOL, study.MODEL_POOL)).any():
        text += wording.pool_note(table)
    return text.strip() + wording.marks(set(table["kind"]))


def _pooled_note(table):
    """How the rows over all settings are made."""
    pooled = table[table["encoder"] == comparisons.POOLED]
    if pooled.empty:
        return ""
    text = "All settings: the mean difference over the settings of the dataset. "
    if pooled["test"].eq(comparisons.BY_TRIAL).any():
        text += "Each trial counts once, with its mean over the settings, whatever these share. "
    if pooled["test"].eq(comparisons.BY_SETTING).any():
        text += (
            f"With fewer than {statistics.ENOUGH} trials that all have, the interval has one setting's standard error "
            "and the degrees of freedom of all: it holds if settings share half of their trials' luck or less. "
        )
    return text


def _images_note(table, equivalence):
    """What intervals are about, and what the test set cannot show."""
    known = table[table["other_low"].notna()]
    if known.empty:
        return (
            "These are Student's over trials, and about these very images: what other test images would give was not "
            "kept."
        )
    text = (
        "On test sets they are about other images of this kind, trials and test images taken together; "
        '"these images": half the interval of trials alone, Student\'s, for statements about these very images. The '
        "pool's are about its own images."
    )
    finest = 1.96 * known["image_se"].median()
    if finest > equivalence:
        text += (
            f" The {int(known['images'].max()):,} test images show differences down to ±{100 * finest:.2f} points; "
            f"±{100 * equivalence:g} is finer than that, so that no tie can be shown on the test set: use more test "
            "images, or a wider `statistics: equivalence`."
        )
    return text


def _p_note(table):
    tested = table[table["test"].notna() & table["encoder"].ne(comparisons.POOLED)]
    tests = set(tested["test"])
    if "images" in tests:
        text = (
            "p: of trials and images together, 1 less the level at which the interval just reaches zero; where no "
            "images were kept, and on the pool, "
        )
        rest = _p_note(table[table["test"] != "images"])
        return text + (rest.removeprefix("p: ") or "there is none.")
    if not tests:
        return ""
    if tests == {"sign flip"}:
        return "p: exact sign-flip test of the paired differences."
    trials = sorted({int(n) for n in tested.loc[tested["test"] == "t", "trials"]}, reverse=True)
    least = ", ".join(f"{2.0 ** (1 - n):.3g} with {n} trials" for n in trials)
    other = ", or, in families of fewer tests or with more trials, the exact sign-flip test" if len(tests) > 1 else ""
    return (
        f"p: paired t test{other}; the sign-flip test, whose p stands in the CSV, cannot fall below {least}, too much "
        "for this many strategies."
    )


def _family_note(table, family):
    """What p-values are corrected for, and how many tests stand on the page."""
    tested = table[table["p"].notna() & table["kind"].ne("upper bound")]
    if tested.empty:
        return ""
    blocks = [*study.SETTING, "stage", "model", "split", "reference"]
    if family == comparisons.DATASET:
        pooled = tested["encoder"].eq(comparisons.POOLED)
        text = f"Corrected by Holm for all {(~pooled).sum()} tests of single settings together"
        return text + (", and for the strategies of a split over all settings." if pooled.any() else ".")
    families = len(tested[blocks].drop_duplicates())
    text = "Corrected by Holm for all strategies of a block against one reference."
    if families > 1:
        text += (
            f" The page has {len(tested)} tests in {families} such families; where nothing differs, each of them shows "
            "a difference with a chance of up to 5 %. `statistics: family: dataset` corrects for all tests of single "
            "settings together."
        )
    return text


def _compared_cells(row, images):
    """Texts of difference with interval, half the interval on these images, corrected p and verdict."""
    columns = 4 if images else 3
    if row is None or math.isnan(row["difference"]):
        return [wording.NONE] * columns
    texts = [wording.interval(row["difference"], *comparisons.told(row))]
    if images:
        half = (row["high"] - row["low"]) / 2
        known = not math.isnan(row["other_low"]) and not math.isnan(half)
        texts.append(f"±{wording.points(half, wording.digits_of(2 * half))[1:]}" if known else wording.NONE)
    verdict = row["verdict"] or wording.NONE
    if row["collapsed"] and row["verdict_without"] == row["verdict_without"]:
        verdict += f" ¤ {wording.points(row['difference_without'])} {row['verdict_without']}"
    return [*texts, wording.p_value(row["p_holm"]), verdict]


def _mean_savings(savings):
    if savings is None or math.isnan(savings.mean.value):
        return wording.NONE
    return wording.factor(savings.mean, savings.mean_low, savings.mean_high)


def wins_page(table, kinds, equivalence):
    """The matrix of wins over settings as readers see it: rows win against columns (`comparisons.wins_table`)."""
    names = list(dict.fromkeys(table["strategy"]))
    shown = {name: name + study.MARKS[kinds[name]] for name in names}
    found = {(row["strategy"], row["against"]): row for row in table.to_dict("records")}
    lines = []
    for first in names:
        cells = [(_wins(found.get((first, second))), False) for second in names]
        total = [row for (name, _), row in found.items() if name == first]
        wins, settings = sum(row["wins"] for row in total), sum(row["settings"] for row in total)
        lines.append(("", shown[first], [*cells, (f"{wins} of {settings}", False)]))
    text = (
        "In how many settings (dataset, encoder, selector, trainer) the strategy of the row is better than that of the "
        "column, of those in which both were run, without trainings that collapsed. Better: the 95 % interval of the "
        "paired difference of the areas under the learning curves on the first test set lies above zero and reaches "
        f"beyond ±{100 * equivalence:g} points, and its p-value, corrected by Holm for all pairs of the setting, is "
        "below 0.05. These are more tests than those against random sampling alone: a strategy may be shown to be "
        "better there (findings, comparisons) and not here. An = follows the number of settings in which the two tie, "
        "where there are any. Settings on the same images share their luck: more of them are no replication."
    ) + wording.marks({kinds[name] for name in names})
    spans = [("better than", len(names)), ("", 1)]
    return typeset.Page("all settings", "wins", "strategy", spans, [*shown.values(), "all"], lines, text)


def _wins(row):
    if row is None:
        return wording.NONE
    return f"{row['wins']} of {row['settings']}" + (f", {row['ties']} =" if row["ties"] else "")


def ranks_page(found, kinds):
    """Mean ranks over settings as readers see them (`comparisons.Ranking`)."""
    lines = [
        ("", name + study.MARKS[kinds[name]], [(f"{rank:.2f}", False)])
        for name, rank in zip(found.strategies, found.ranks.mean, strict=True)
    ]
    text = ranks_note(found) + wording.marks({kinds[name] for name in found.strategies})
    return typeset.Page("all settings", "ranks", "strategy", [("", 1)], ["mean rank"], lines, text)


def ranks_note(found):
    """What a reader must know to read ranks."""
    text = (
        f"Mean rank by area under the learning curve on the first test set, over {found.settings} settings (dataset, "
        "encoder, selector, trainer); 1 is best. Settings on the same images share their luck: ranks are averaged over "
        "them first, and strategies ranked anew by these averages. "
    )
    critical = found.ranks.critical
    if math.isnan(critical):
        text += "There is no test and no critical difference: these take two datasets of other images, and three "
        text += "strategies. "
    else:
        text += f"The test is over {found.groups} datasets of other images. "
        text += (
            f"Friedman's test that all are equal, by permutation of ranks: p {wording.p_value(found.ranks.p)}. Ranks "
            f"that lie further apart than {critical:.2f} differ at the 5 % level (Nemenyi). "
        )
        if critical >= len(found.strategies) - 1:
            text += "No two can lie that far apart: to say which strategies differ takes more datasets. "
    return " ".join([text.strip(), *found.left_out])
