"""The tables of a data set laid out for readers, with what they must know, and the summary that ends a run."""

import itertools
import math

from labelbench.evidence import collapses, comparisons, statistics, study, tables, typeset
from labelbench.evidence.savings import Savings
from labelbench.evidence.study import REFERENCE

NONE = "–"
NOISE = "training noise"  # name of the line that ends a block with it
_UNMEASURED = "not measured"


def _pool(table):
    """Which definition of pool metrics the table's are of."""
    if (table["split"] == study.MODEL_POOL).any():
        return f"{study.MODEL_POOL}: predictions only, also of bought images."
    return "Pool metrics count bought labels as annotated and all others as predicted."


def _counts(table):
    """How many labels and trials the table's models have."""
    models = table[table["trials"] > 0]
    lowest, highest = models["num_labels"].min(), models["num_labels"].max()
    labels = f"{highest:,}" if lowest == highest else f"{lowest:,} to {highest:,}"
    trials = models["trials"].max()
    return f"{labels} labels, {trials} paired trials" if trials > 1 else f"{labels} labels, one trial"


def marks(kinds):
    """What the marks behind the names of strategies mean, for those that occur."""
    text = ""
    if "sequential" in kinds:
        text += " †: sees the label of every pick before it makes the next; the others choose a batch at once."
    if "upper bound" in kinds:
        text += (
            " ‡: not a strategy that can be used, but a bound for those that can: it tries candidate batches with "
            "labels of the pool that nobody bought."
        )
    return text


def note(table):
    """What a reader must know to read the table: n, what ± and the brackets are, which pool definition."""
    text = (
        f"After the last round: {_counts(table)}. Mean ± standard error over trials, in percent. "
        f"vs random: difference in points, paired by trial, {_interval_note(table)}. "
        f"{_noise_note(table)} "
        "Label savings: the labels random sampling needs divided by the labels the strategy needs, at the highest "
        "accuracy that both reach, on isotonic mean curves in log labels, with a 95 % paired bootstrap interval. "
        "Intervals are not corrected for the number of strategies; verdicts that are stand in the comparisons. "
        f"{_pool(table)} Bold: the best mean of its block, and every mean that is not shown to lie below it (paired t "
        f"test, corrected by Holm), read at random sampling's last number of labels, where the best has "
        f"{statistics.ENOUGH} trials or more."
    )
    return text + marks(set(table["kind"]))


def _interval_note(table):
    """Which interval differences stand with."""
    if table["other_low"].notna().any():
        return (
            "with its 95 % interval: on test sets that of trials and test images together, for what other images of "
            "this kind would give; on the pool Student's over trials"
        )
    return "with its 95 % Student-t interval over trials, on these very images"


def _percent(x):
    return NONE if math.isnan(x) else f"{_rounded(x):.2f}"


def _rounded(x):
    """A fraction in percent without the last bits, in which the same mean differs by the order of its sum."""
    return round(100 * x, 9)


def points(x, digits=2):
    """A difference of fractions as text, in points with its sign."""
    return NONE if math.isnan(x) else f"{_rounded(x):+.{digits}f}".replace("-", "−")


def digits_of(width):
    """Digits behind the point that an interval of this width, a fraction, gives to the points it is about: 1 to 4."""
    if math.isnan(width) or width <= 0:
        return 2
    return min(max(1 - math.floor(math.log10(100 * width)), 2 if 100 * width < 10 else 1), 4)


def interval(difference, low, high):
    """A difference with its interval as text, in points; without it where it is not known, or has no width to tell.

    An end that is not zero does not read as zero, where four digits do.
    """
    least = digits_of(high - low)
    told = (d for d in range(least, 5) if not any(end and not round(_rounded(end), d) for end in (low, high)))
    digits = next(told, least)
    ends = [points(end, digits) for end in (low, high)]
    if math.isnan(low):
        return points(difference)
    if ends[0] == ends[1]:
        return f"{points(difference)} in every trial"
    return f"{points(difference, digits)} [{', '.join(ends)}]"


def times(bounded, precision=3):
    """A `savings.Bounded` factor as text, with its sign of censoring: so many digits, at most two behind the point."""
    if math.isnan(bounded.value):
        return NONE
    behind = precision - 1 - math.floor(math.log10(bounded.value)) if bounded.value > 0 else 2
    return f"{bounded.sign}{bounded.value:.{min(max(behind, 0), 2)}f}"


def precision(low, high):
    """Digits that the interval of a factor, two `savings.Bounded`, gives to it: 3, or 2 if it is wide.

    The bootstrap's draws move the ends of a wide interval in the third digit.
    """
    return 2 if high.value > 1.5 * low.value else 3


def factor(value, low, high):
    """A factor with its interval, three `savings.Bounded`, as text."""
    digits = precision(low, high)
    text = f"{times(value, digits)}×"
    return text if math.isnan(low.value) else f"{text} [{times(low, digits)}, {times(high, digits)}]"


def _score(row):
    return _percent(row["mean"]) + ("" if math.isnan(row["se"]) else f" ± {_percent(row['se'])}")


def _difference(row):
    if math.isnan(row["difference"]):
        return NONE
    low, high = row["difference_low"], row["difference_high"]
    if not math.isnan(row.get("other_low", math.nan)):
        low, high = row["other_low"], row["other_high"]
    return interval(row["difference"], low, high)


def _savings(row):
    if not isinstance(row["savings"], Savings):
        return NONE
    return factor(row["savings"].factor, row["savings"].low, row["savings"].high)


def savings_text(row):
    """Label savings at the end of a row with `savings`, or a dash."""
    return _savings(row)


def _columns(table):
    """The table's columns in reading order: ((split, measure), title, whether it has comparisons with random)."""
    lead = table["measure"].iloc[0]
    order = (*tables.MEASURES[lead], *tables.WORST)
    found = table[["split", "measure"]].drop_duplicates().itertuples(index=False, name=None)
    # Test sets come before the pool, each in its alphabetical place.
    keys = sorted(found, key=lambda key: (order.index(key[1]), key[0].startswith("pool"), key[0]))
    return [((split, measure), f"{split} {study.NAMES[measure]}", measure == lead) for split, measure in keys]


def _lines(table):
    """(heading of its block, name, {(split, measure): row}) of every line in reading order.

    Zero-shot heads have no block: their heading is empty.
    """
    blocks, most = ["encoder", "selector", "trainer", "stage", "model"], table["trials"].max()
    for (*block, strategy), rows in table.groupby([*blocks, "strategy"], sort=False):
        encoder, selector, trainer, stage, model = block
        heading, name = f"{encoder} · {selector} · {trainer}", strategy
        if stage == "finetune":
            heading += f" → fine-tuned, {model}"
        if stage == "zero_shot":
            heading, name = "", f"{strategy}, {encoder}"
        name += study.MARKS[rows["kind"].iloc[0]]
        trials = rows["trials"].max()
        name += f", {trials} trials" if 0 < trials < most else ""
        yield heading, name, {(row["split"], row["measure"]): row for row in rows.to_dict("records")}


def _cells(row, compared):
    """Texts of one line under one column title."""
    score = NONE if row is None else _score(row)
    if not compared:
        return [score]
    return [score, NONE, NONE] if row is None else [score, _difference(row), _savings(row)]


def final_page(table):
    """The final table as readers see it."""
    columns = _columns(table)
    spans = [(title, 3 if compared else 1) for _, title, compared in columns]
    lines, floors = [], {}
    for heading, name, rows in _lines(table):
        cells = []
        for key, _, compared in columns:
            row = rows.get(key)
            first, *others = _cells(row, compared)
            cells += [(first, bool(row and row["best"])), *((text, False) for text in others)]
            if row and not math.isnan(row["noise"]):
                floors.setdefault(heading, {})[key] = row["noise"]
        lines.append((heading, name, cells))
    blocks = itertools.groupby(lines, key=lambda line: line[0])
    lines = [line for heading, block in blocks for line in (*block, *_floor(heading, floors.get(heading), columns))]
    names = [name for _, span in spans for name in ("% ± SE", "vs random", "label savings")[:span]]
    return typeset.Page(table["dataset"].iloc[0], "final", "strategy", spans, names, lines, note(table))


def _floor(heading, noise, columns):
    """The line that ends a block with the training noise of its differences; none where it was not measured."""
    if not noise:
        return []
    cells = []
    for key, _, compared in columns:
        cells += [NONE, _noise([noise.get(key, math.nan)]), NONE] if compared else [NONE]
    return [(heading, NOISE, [(cell, False) for cell in cells])]


_MOST_LABELS = 4  # numbers of labels that stand side by side on a screen of 1,280 pixels


def trainers_page(table):
    """The comparison of trainers as readers see it: numbers of labels side by side, test sets and pool in blocks.

    Of more numbers of labels than a screen is wide for, the trainers stand side by side.
    """
    labels = sorted(set(table["num_labels"]))
    compared = table["difference"].notna().any()
    names = ["% ± SE", "vs passive"] if compared else ["% ± SE"]
    lines = {}
    for row in table.to_dict("records"):
        heading = f"{row['encoder']} · {row['selector']}"
        if row["stage"] == "finetune":
            # What random sampling bought does not depend on the setting.
            heading = row["encoder"] if row["strategy"] == REFERENCE else f"{heading} · {row['trainer']}"
            heading += " → fine-tuned"
        heading += f": {row['split']} {study.NAMES[row['measure']]}"
        name = tables.trained_by(row["trainer"], row["stage"], row["model"])
        lines.setdefault((heading, name), {})[row["num_labels"]] = row
    trainers = list(dict.fromkeys(name for _, name in lines))
    turned = len(labels) > max(_MOST_LABELS, len(trainers))
    shown = []
    for heading, block in itertools.groupby(lines, key=lambda line: line[0]):
        named = {name: lines[heading, name] for _, name in block}
        noise = {n: [rows[n]["noise"] for rows in named.values() if n in rows] for n in labels}
        noisy = compared and not all(math.isnan(value) for values in noise.values() for value in values)
        if turned:
            for n in sorted({n for rows in named.values() for n in rows}):
                cells = [cell for t in trainers for cell in _trainer_cells(named.get(t, {}).get(n), compared)]
                shown.append((heading, f"{n:,} labels", cells + ([(_noise(noise[n]), False)] if compared else [])))
            continue
        for name, rows in named.items():
            shown.append((heading, name, [cell for n in labels for cell in _trainer_cells(rows.get(n), compared)]))
        if noisy:
            shown.append((heading, NOISE, [(text, False) for n in labels for text in (NONE, _noise(noise[n]))]))
    side_by_side = trainers if turned else [f"{n:,} labels" for n in labels]
    text = (
        f"Every trainer on the same labels, bought by {table['strategy'].iloc[0]}: {_counts(table)}. "
        "Mean ± standard error over trials, in percent. "
    )
    if compared:
        text += (
            "vs passive: difference in points to the training on labels alone, paired by trial, with its 95 % "
            f"Student-t interval. {_noise_note(table)} "
        )
    text += (
        f"{_pool(table)} Bold: the best mean of its block and number of labels, and every mean that is not shown "
        "to lie below it (paired t test, corrected by Holm)."
    )
    spans = [(title, len(names)) for title in side_by_side]
    below = names * len(side_by_side)
    if turned and compared:
        spans, below = [*spans, (NOISE, 1)], [*below, "vs passive"]
    return typeset.Page(
        table["dataset"].iloc[0],
        "trainers",
        "labels" if turned else "trainer",
        spans,
        below,
        shown,
        text,
    )


def _trainer_cells(row, compared):
    score = (NONE, False) if row is None else (_score(row), row["best"])
    difference = NONE if row is None else _difference(row)
    return [score, (difference, False)] if compared else [score]


def selectors_page(table):
    """The comparison of selectors as readers see it: test sets and pool side by side, in each of them the selectors."""
    columns = study.selector_names(table[list(study.SETTING[1:])].itertuples(index=False, name=None))
    names = list(dict.fromkeys(columns.values()))
    groups = [(measure, split) for (split, measure), _, _ in _columns(table)]
    lines = {}
    for row in table.to_dict("records"):
        own = row["stage"] == "proxy"
        heading = f"{row['encoder']}, {'own models' if own else 'fine-tuned with ' + row['model']}"
        line = lines.setdefault((heading, row["strategy"] + study.MARKS[row["kind"]]), {})
        line[row["measure"], row["split"], columns[row["encoder"], row["selector"], row["trainer"]]] = row
    shown = []
    for line, rows in lines.items():
        found = [rows.get((*group, name)) for group in groups for name in names]
        shown.append((*line, [(NONE, False) if row is None else (_score(row), row["best"]) for row in found]))
    kinds = {
        "proxy": "the selectors' own models",
        "finetune": "the encoder fine-tuned on them",
    }
    of = ", or of ".join(text for stage, text in kinds.items() if (table["stage"] == stage).any())
    text = (
        f"What the labels are worth that each selector chose. Scores are of {of}, after the last round: "
        f"{_counts(table)}. Mean ± standard error over trials, in percent. {_pool(table)} Bold: the best mean of its "
        "column and block, and every mean that is not shown to lie below it (paired t test, corrected by Holm)."
        + marks(set(table["kind"]))
    )
    return typeset.Page(
        table["dataset"].iloc[0],
        "selectors",
        "strategy",
        [(f"{split} {study.NAMES[measure]}", len(names)) for measure, split in groups],
        names * len(groups),
        shown,
        text,
    )


def costs_page(table, currency):
    """The table of costs as readers see it: a line for each selector, the kinds of cost side by side."""
    names = study.selector_names(table[list(study.SETTING[1:])].itertuples(index=False, name=None))
    totals = table[table["measure"] == tables.TOTAL]
    units = [unit for unit in ("cpu_hours", "gpu_hours") if (table[unit] > 0).any()] or ["hours"]
    units += ["money"] if totals["money"].notna().any() else []
    columns = [(kind, unit) for kind in table["measure"].unique() for unit in units]
    columns += [(tables.TOTAL, "times_less")] if totals["times_less"].notna().any() else []
    titles = {"hours": "hours", "cpu_hours": "CPU hours", "gpu_hours": "GPU hours", "money": currency}
    titles["times_less"] = "times less"
    lines = {}
    for row in table.to_dict("records"):
        final = "own models" if row["stage"] == "proxy" else f"fine-tuned, {row['model']}"
        name = names[row["encoder"], row["selector"], row["trainer"]]
        lines.setdefault((f"{row['encoder']} → {final}", name), {})[row["measure"]] = row
    shown = [(*line, [(_amount(rows[kind][unit]), False) for kind, unit in columns]) for line, rows in lines.items()]
    runs = sorted(set(table["runs"]))
    many = f"{runs[0]:,}" if len(runs) == 1 else f"{runs[0]:,} to {runs[-1]:,}"
    text = (
        f"What all runs of each selector cost together ({many} runs, strategies times trials), from the recorded times "
        "of jobs with their start-up. CPU hours are hours times threads of jobs without a GPU; GPU hours are hours of "
        "jobs with one, shared by those that computed on it at a time. Precomputation: the embeddings, made once for "
        "all runs that use them. Training for selection: the models of all rounds but the last; the first round, which "
        "strategies share, counts once a trial. Final models: those of the last round. "
        "Preparing the data, tuning, and evaluations of earlier rounds are not in it."
    )
    if "money" in units:
        text += " Money: hours times the prices of the config."
    if columns[-1][1] == "times_less":
        text += (
            " Times less: what a run costs in all where the encoder itself is trained to select, over what it costs "
            f"here, in {'money' if 'money' in units else 'hours'}."
        )
    spans = [(kind, sum(of == kind for of, _ in columns)) for kind in table["measure"].unique()]
    return typeset.Page(
        table["dataset"].iloc[0], "costs", "selector", spans, [titles[unit] for _, unit in columns], shown, text
    )


def _amount(x):
    """Three digits, for numbers of any size."""
    if math.isnan(x):
        return NONE
    return f"{x:,.0f}" if x >= 100 else f"{x:#.3g}" if x else "0"


def comparisons_page(table, equivalence, dataset, family="block"):
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
            score = _percent(next(iter(rows.values()))["aulc"])
            se = next(iter(rows.values()))["se"]
            cells = [score if math.isnan(se) else f"{score} ± {_percent(se)}"]
            for reference in references:
                cells += _compared_cells(rows.get(reference), images)
            if REFERENCE in references:
                found = rows[REFERENCE]["savings"] if REFERENCE in rows else None
                cells += [_savings({"savings": found}), _mean_savings(found)]
            enough = max(row["trials"] for row in rows.values()) >= statistics.ENOUGH
            shown.append((heading, name, [(cell, cell == "better" and enough) for cell in cells]))
        if references and not heading.startswith(comparisons.POOLED):
            cells = [NONE]
            for reference in references:
                told = [rows[reference] for rows in names.values() if reference in rows]
                text = _noise([row["noise"] for row in told])
                if text == _UNMEASURED and any(row["noise_sd"] == row["noise_sd"] for row in told):
                    text = "first round only"
                cells += [text, *[NONE] * (3 if images else 2)]
            cells += [NONE, NONE] if REFERENCE in references else []
            shown.append((heading, NOISE, [(cell, False) for cell in cells]))
    compared = ["points", *["these images"] * images, "Holm p", "verdict"]
    spans = [("whole curve", 1), *((f"vs {reference}", len(compared)) for reference in references)]
    titles = ["AULC, % ± SE", *compared * len(references)]
    if REFERENCE in references:
        spans.append(("label savings", 2))
        titles += ["at the end", "mean"]
    return typeset.Page(
        dataset, "comparisons", "strategy", spans, titles, shown, comparisons_note(table, equivalence, family)
    )


def comparisons_note(table, equivalence, family="block"):
    """What a reader must know to read comparisons of whole curves."""
    if table.empty:
        return "No model was evaluated in more than one round: there are no curves to compare."
    trials = table["trials"].max()
    text = (
        f"Whole learning curves over {trials} paired trials. AULC: area under the curve over the logarithm of the "
        "labels, as a mean score in percent ± standard error over trials. Differences: in points of AULC, paired by "
        f"trial, with 95 % intervals. {_images_note(table, equivalence)} "
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
    text += f"{_noise_note(table)} "
    if table["split"].isin((study.POOL, study.MODEL_POOL)).any():
        text += _pool(table)
    return text.strip() + marks(set(table["kind"]))


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
        return [NONE] * columns
    texts = [interval(row["difference"], *comparisons.told(row))]
    if images:
        half = (row["high"] - row["low"]) / 2
        known = not math.isnan(row["other_low"]) and not math.isnan(half)
        texts.append(f"±{points(half, digits_of(2 * half))[1:]}" if known else NONE)
    verdict = row["verdict"] or NONE
    if row["collapsed"] and row["verdict_without"] == row["verdict_without"]:
        verdict += f" ¤ {points(row['difference_without'])} {row['verdict_without']}"
    return [*texts, p_value(row["p_holm"]), verdict]


def p_value(p):
    """A p-value as text, with two digits that count."""
    return NONE if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _mean_savings(savings):
    if savings is None or math.isnan(savings.mean.value):
        return NONE
    return factor(savings.mean, savings.mean_low, savings.mean_high)


def _noise_note(table):
    if table["noise"].notna().any():
        return (
            "Training noise: the standard deviation that a difference, a mean over trials, would have if both had been "
            "trained anew on the very same labels."
        )
    if "noise_sd" in table and table["noise_sd"].notna().any():
        row = table.loc[table["noise_sd"].idxmax()]
        return (
            "Training noise was measured after the first round only: scores of models that were trained anew on the "
            f"same {int(row['noise_labels']):,} labels spread by up to {_noise([row['noise_sd']])} points (one "
            "standard deviation). Of later rounds it is not known."
        )
    where = "" if "noise_sd" in table else " at these numbers of labels"
    return f"Training noise was not measured{where} (run: replicates)."


def _noise(values):
    values = [value for value in values if not math.isnan(value)]
    return f"±{points(max(values), digits_of(max(values)))[1:]}" if values else _UNMEASURED


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
    ) + marks({kinds[name] for name in names})
    spans = [("better than", len(names)), ("", 1)]
    return typeset.Page("all settings", "wins", "strategy", spans, [*shown.values(), "all"], lines, text)


def _wins(row):
    if row is None:
        return NONE
    return f"{row['wins']} of {row['settings']}" + (f", {row['ties']} =" if row["ties"] else "")


def ranks_page(found, kinds):
    """Mean ranks over settings as readers see them (`comparisons.Ranking`)."""
    lines = [
        ("", name + study.MARKS[kinds[name]], [(f"{rank:.2f}", False)])
        for name, rank in zip(found.strategies, found.ranks.mean, strict=True)
    ]
    text = ranks_note(found) + marks({kinds[name] for name in found.strategies})
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
            f"Friedman's test that all are equal, by permutation of ranks: p {p_value(found.ranks.p)}. Ranks that lie "
            f"further apart than {critical:.2f} differ at the 5 % level (Nemenyi). "
        )
        if critical >= len(found.strategies) - 1:
            text += "No two can lie that far apart: to say which strategies differ takes more datasets. "
    return " ".join([text.strip(), *found.left_out])


_SAVINGS_LEGEND = (
    "label savings: the labels random sampling needs over the labels the strategy needs, at the highest score\n"
    "that both reach [95 % interval]; 1 saves nothing. ± is one standard error over trials."
)


def summary(finals, further):
    """A text for the terminal: strategy, test and pool score ± SE and label savings, per dataset and model.

    `further`: pages that follow as they are.
    """
    texts = []
    for table in finals:
        columns = [(key, title) for key, title, compared in _columns(table) if compared]
        lines, current = [], ""
        for heading, strategy, rows in _lines(table):
            if heading != current:
                current = heading
                lines.append([heading])
            cells = [rows.get(key) for key, _ in columns]
            scores = [NONE if row is None else _score(row) for row in cells]
            savings = [NONE if row is None else _savings(row) for row in cells]
            lines.append([f"  {strategy}", *scores, *savings])
        header = [
            "  strategy",
            *(f"{title} (%)" for _, title in columns),
            *(f"label savings, {split}" for (split, _), _ in columns),
        ]
        text = typeset.aligned([header, *lines])
        texts.append("\n".join([f"{table['dataset'].iloc[0]}: {_counts(table)}", *text]))
    texts += [_SAVINGS_LEGEND] if any(isinstance(s, Savings) for table in finals for s in table["savings"]) else []
    return "\n\n".join([*texts, *map(typeset.to_text, further)]) + "\n"
