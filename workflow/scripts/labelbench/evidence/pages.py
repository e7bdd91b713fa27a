"""The tables of a data set laid out for readers, with what they must know, and the summary that ends a run."""

import itertools
import math

from labelbench.evidence import statistics, study, tables, typeset, wording
from labelbench.evidence.savings import Savings
from labelbench.evidence.study import REFERENCE


def _counts(table):
    """How many labels and trials the table's models have."""
    models = table[table["trials"] > 0]
    lowest, highest = models["num_labels"].min(), models["num_labels"].max()
    labels = f"{highest:,}" if lowest == highest else f"{lowest:,} to {highest:,}"
    trials = models["trials"].max()
    return f"{labels} labels, {wording.paired(trials, trials)}"


def note(table):
    """What a reader must know to read the table: n, what ± and the brackets are, which pool definition."""
    text = (
        f"After the last round: {_counts(table)}. Mean ± standard error over trials, in percent. "
        f"vs random: difference in points, paired by trial, {_interval_note(table)}. "
        f"{wording.noise_note(table)} "
        "Label savings: the labels random sampling needs divided by the labels the strategy needs, at the highest "
        "accuracy that both reach, on isotonic mean curves in log labels, with a 95 % paired bootstrap interval. "
        "Intervals are not corrected for the number of strategies; verdicts that are stand in the comparisons. "
        f"{wording.pool_note(table)} Bold: the best mean of its block, and {wording.AS_GOOD}, read at random "
        "sampling's last number of labels, where the best has "
        f"{statistics.ENOUGH} trials or more."
    )
    return text + wording.marks(set(table["kind"]))


def _interval_note(table):
    """Which interval differences stand with."""
    if table["other_low"].notna().any():
        return (
            "with its 95 % interval: on test sets that of trials and test images together, for what other images of "
            "this kind would give; on the pool Student's over trials"
        )
    return "with its 95 % Student-t interval over trials, on these very images"


def _score(row):
    return wording.percent(row["mean"]) + ("" if math.isnan(row["se"]) else f" ± {wording.percent(row['se'])}")


def _difference(row):
    if math.isnan(row["difference"]):
        return wording.NONE
    low, high = row["difference_low"], row["difference_high"]
    if not math.isnan(row.get("other_low", math.nan)):
        low, high = row["other_low"], row["other_high"]
    return wording.interval(row["difference"], low, high)


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
    score = wording.NONE if row is None else _score(row)
    if not compared:
        return [score]
    return (
        [score, wording.NONE, wording.NONE]
        if row is None
        else [score, _difference(row), wording.savings(row["savings"])]
    )


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
        cells += [wording.NONE, wording.noise([noise.get(key, math.nan)]), wording.NONE] if compared else [wording.NONE]
    return [(heading, wording.NOISE, [(cell, False) for cell in cells])]


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
                shown.append(
                    (heading, f"{n:,} labels", cells + ([(wording.noise(noise[n]), False)] if compared else []))
                )
            continue
        for name, rows in named.items():
            shown.append((heading, name, [cell for n in labels for cell in _trainer_cells(rows.get(n), compared)]))
        if noisy:
            shown.append(
                (
                    heading,
                    wording.NOISE,
                    [(text, False) for n in labels for text in (wording.NONE, wording.noise(noise[n]))],
                )
            )
    side_by_side = trainers if turned else [f"{n:,} labels" for n in labels]
    text = (
        f"Every trainer on the same labels, bought by {table['strategy'].iloc[0]}: {_counts(table)}. "
        "Mean ± standard error over trials, in percent. "
    )
    if compared:
        text += (
            "vs passive: difference in points to the training on labels alone, paired by trial, with its 95 % "
            f"Student-t interval. {wording.noise_note(table)} "
        )
    text += f"{wording.pool_note(table)} Bold: the best mean of its block and number of labels, and {wording.AS_GOOD}."
    spans = [(title, len(names)) for title in side_by_side]
    below = names * len(side_by_side)
    if turned and compared:
        spans, below = [*spans, (wording.NOISE, 1)], [*below, "vs passive"]
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
    score = (wording.NONE, False) if row is None else (_score(row), row["best"])
    difference = wording.NONE if row is None else _difference(row)
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
        shown.append((*line, [(wording.NONE, False) if row is None else (_score(row), row["best"]) for row in found]))
    kinds = {
        "proxy": "the selectors' own models",
        "finetune": "the encoder fine-tuned on them",
    }
    of = ", or of ".join(text for stage, text in kinds.items() if (table["stage"] == stage).any())
    text = (
        f"What the labels are worth that each selector chose. Scores are of {of}, after the last round: "
        f"{_counts(table)}. Mean ± standard error over trials, in percent. {wording.pool_note(table)} Bold: the best "
        f"mean of its column and block, and {wording.AS_GOOD}." + wording.marks(set(table["kind"]))
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
        return wording.NONE
    return f"{x:,.0f}" if x >= 100 else f"{x:#.3g}" if x else "0"


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
            scores = [wording.NONE if row is None else _score(row) for row in cells]
            savings = [wording.NONE if row is None else wording.savings(row["savings"]) for row in cells]
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
