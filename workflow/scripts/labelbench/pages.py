"""The tables of a data set laid out for readers, with what they must know, and the summary that ends a run."""

import math

from labelbench import statistics, study, tables, typeset

NONE = "–"
_POOL = "Pool metrics count bought labels as annotated and all others as predicted."
# From this many trials on the bootstrap interval covers about 95 % in the simulation of tests/test_statistics.py.
_CALIBRATED_TRIALS = 5


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
        f"{_POOL} Bold: the best mean of its block, and every mean whose paired 95 % interval to it holds zero."
    )
    text += _marks(table)
    if table["trials"].max() < _CALIBRATED_TRIALS:
        text += " With so few trials the bootstrap interval is somewhat too narrow."
    return text


def _marks(table):
    """What the marks behind names of strategies mean, of those that the table has."""
    text = ""
    if (table["kind"] == "sequential").any():
        text += " †: sees the label of every pick before it makes the next; the others choose a batch at once."
    if (table["kind"] == "upper bound").any():
        text += (
            " ‡: not a strategy that can be used, but a bound for those that can: it tries candidate batches with "
            "labels of the pool that nobody bought."
        )
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
    order = (*tables.MEASURES[lead], *tables.WORST)
    found = table[["split", "measure"]].drop_duplicates().itertuples(index=False, name=None)
    # Test sets come before the pool, each in its alphabetical place.
    keys = sorted(found, key=lambda key: (order.index(key[1]), key[0] == "pool", key[0]))
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
    lines = []
    for heading, name, rows in _lines(table):
        cells = []
        for key, _, compared in columns:
            row = rows.get(key)
            first, *others = _cells(row, compared)
            cells += [(first, bool(row and row["best"])), *((text, False) for text in others)]
        lines.append((heading, name, cells))
    names = [name for _, span in spans for name in ("% ± SE", "vs random", "label savings")[:span]]
    return typeset.Page(table["dataset"].iloc[0], "final", "strategy", spans, names, lines, note(table))


def trainers_page(table):
    """The comparison of trainers as readers see it: numbers of labels side by side, test sets and pool in blocks."""
    labels = sorted(set(table["num_labels"]))
    compared = table["difference"].notna().any()
    names = ["% ± SE", "vs passive"] if compared else ["% ± SE"]
    lines = {}
    for row in table.to_dict("records"):
        heading = f"{row['encoder']} · {row['selector']}"
        if row["stage"] == "finetune":
            # What random sampling bought does not depend on the setting.
            heading = row["encoder"] if row["strategy"] == tables.REFERENCE else f"{heading} · {row['trainer']}"
            heading += " → fine-tuned"
        heading += f": {row['split']} {study.NAMES[row['measure']]}"
        name = tables.trained_by(row["trainer"], row["stage"], row["model"])
        lines.setdefault((heading, name), {})[row["num_labels"]] = row
    cells = {
        line: [cell for n in labels for cell in _trainer_cells(rows.get(n), compared)] for line, rows in lines.items()
    }
    text = (
        f"Every trainer on the same labels, bought by {table['strategy'].iloc[0]}: {_counts(table)}. "
        "Mean ± standard error over trials, in percent. "
    )
    if compared:
        text += (
            "vs passive: difference in points to the training on labels alone, paired by trial, with its 95 % "
            "Student-t interval. "
        )
    text += (
        f"{_POOL} Bold: the best mean of its block and number of labels, and every mean whose paired 95 % interval "
        "to it holds zero."
    )
    spans = [(f"{n:,} labels", len(names)) for n in labels]
    return typeset.Page(
        table["dataset"].iloc[0],
        "trainers",
        "trainer",
        spans,
        names * len(labels),
        [(*line, texts) for line, texts in cells.items()],
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
    of = "the selectors' own models" if (table["stage"] == "proxy").all() else "the encoder fine-tuned on them"
    text = (
        f"What labels are worth that were chosen by other models. Scores are of {of}, after the last round: "
        f"{_counts(table)}. Mean ± standard error over trials, in percent. {_POOL} Bold: the best mean of its column "
        f"and block, and every mean whose paired 95 % interval to it holds zero.{_marks(table)}"
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
        "of jobs with their start-up. CPU hours are hours times threads of jobs without a GPU. Precomputation: the "
        "embeddings, made once for all runs that use them. Training for selection: the models of all rounds but the "
        "last; the first round, which strategies share, counts once a trial. Final models: those of the last round. "
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


def summary(finals, comparisons):
    """A short text for the terminal: strategy, test and pool score ± SE and label savings, per dataset and model.

    `comparisons`: pages that follow as they are.
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
            savings = [NONE if row is None else _savings(row).split(" ")[0] for row in cells]
            lines.append([f"  {strategy}", *scores, *savings])
        header = [
            "  strategy",
            *(f"{title} (%)" for _, title in columns),
            *(f"label savings, {split}" for (split, _), _ in columns),
        ]
        text = typeset.aligned([header, *lines])
        texts.append("\n".join([f"{table['dataset'].iloc[0]}: {_counts(table)}", *text]))
    return "\n\n".join([*texts, *map(typeset.to_text, comparisons)]) + "\n"
