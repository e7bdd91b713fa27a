"""Figures of a study: learning curves, last scores, differences with what they amount to, label savings, ranks."""

import itertools
import math
import zlib

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from labelbench.evidence import collapses, comparisons, statistics, study, tables
from labelbench.evidence.study import MARKS, NAMES, metric_of

# Okabe & Ito's colours for all kinds of colour vision, without yellow, which white paper swallows; and three of Tol's,
# so that no two of the ten common strategies share one.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
WINE, OLIVE, INDIGO = "#882255", "#999933", "#332288"
GREY = "#4D4D4D"
_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, WINE, OLIVE, INDIGO)
_LINES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
# One look per name in every figure of every study. Marker and line style tell them apart in grey print too.
_LOOKS = {
    "random": (GREY, "o", _LINES[1]),
    "margin": (BLUE, "s", _LINES[0]),
    "badge": (VERMILLION, "^", _LINES[0]),
    "coreset": (GREEN, "D", _LINES[3]),
    "entropy": (PURPLE, "v", _LINES[2]),
    "confidence": (ORANGE, "P", _LINES[0]),
    "galaxy": (SKY, "X", _LINES[3]),
    "bait": (WINE, "<", _LINES[0]),
    "direct": (OLIVE, ">", _LINES[1]),
    "typiclust": (INDIGO, "h", _LINES[3]),
}
_COMMON = tuple(_LOOKS.values())
# Markers and lines are used up before a pair of them comes again in another colour.
_PAIRS = [*itertools.product(_LINES, ("p", "*", "d", "H")), *itertools.product(_LINES, ("1", "3"))]
_FURTHER = [
    (_COLOURS[(i + block) % len(_COLOURS)], marker, line)
    for block in range(len(_COLOURS))
    for i, (line, marker) in enumerate(_PAIRS)
]
_LESS_COMMON = (
    *("bait_binary", "bait_topc", "maxherding", "uherding", "probcover", "dropquery", "cluster_margin", "alfamix"),
    *("base", "power_margin", "class_balanced", "kmeans", "oracle", "refine", "tcm", "falcun", "clue"),
    *("dcom", "selectal", "typiclass", "dropquery_class"),
)
# Trainers and selectors never stand in one figure with strategies and take the same looks, the grey one for what
# others are compared with.
_TRAINERS = (
    *("passive", "flexmatch", "fixmatch", "pseudolabel", "uda", "freematch", "softmatch", "lora"),
    "linear_probe_then_finetune",
)
_SELECTORS = ("finetune", "linear", "shallow", "blend")
for _names in (_TRAINERS, _SELECTORS):
    _LOOKS |= zip(_names, _COMMON, strict=False)
_LOOKS |= zip(_LESS_COMMON, _FURTHER, strict=False)
_UNKNOWN = _FURTHER[len(_LESS_COMMON) :]
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.markersize": 5,
    "pdf.fonttype": 42,  # letters stay letters in the PDF
    "svg.hashsalt": "labelbench",  # else every run writes other element ids
}
_START = ("black", "8", "")
_FILLS = ("full", "none", "left", "top")
_EQUIVALENCE = "#DDDDDD"
_REFERENCE_FILLS = {"random": "full", "margin": "none"}
_REFERENCE_OFFSETS = {"random": -0.13, "margin": 0.2}
COLLAPSED = "¤"  # marks rounds, and comparisons, with trainings that collapsed (`collapses`)
_LOG_FROM = 8  # last budget / first budget from which the label axis is logarithmic


def look(name):
    """(colour, marker, line style) of a strategy, trainer or selector: the same whichever others stand beside it.

    Names that are not known take a further combination by a hash of the name; two of them may share one.
    """
    if name in _LOOKS:
        return _LOOKS[name]
    other = _UNKNOWN[zlib.crc32(name.encode()) % len(_UNKNOWN)]
    # An import's run of a strategy that stands there already, `margin (lab)`, keeps the strategy's colour.
    base = name.split(" (")[0]
    return (_LOOKS[base][0], *other[1:]) if base in _LOOKS else other


def learning_curves(metrics, dataset, lead, kinds):
    """Figure of test and pool curves side by side, one row of panels per (encoder, selector, trainer).

    `metrics`: the study's table (`study.load`); `lead`: a key of `tables.MEASURES`; `kinds`: by strategy, as for
    `tables.final_table`, marked behind its name. Lines are means over trials, bands their 95 % Student-t intervals
    (none with one trial), the dotted line the encoder's zero-shot level.
    """
    settings, strategies = study.settings(metrics, dataset), study.strategies_of(metrics, dataset)
    lines = {strategy: strategy + MARKS[kinds[strategy]] for strategy in strategies}

    def curves(setting, strategy, split, metric):
        return study.curves(metrics, dataset, setting, strategy, split, metric)

    fallen = _fallen(metrics, dataset, lead)
    return _curves_figure(metrics, dataset, tables.MEASURES[lead], settings, lines, curves, fallen=fallen)


def finetuned_curves(metrics, dataset, lead, kinds):
    """The same of the models fine-tuned end to end on the chosen labels, where several rounds were evaluated so.

    One row of panels per (encoder, selector, trainer) and fine-tuned model.
    """
    lines = {strategy: strategy + MARKS[kinds[strategy]] for strategy in study.strategies_of(metrics, dataset)}
    tuned = metrics[(metrics["dataset"] == dataset) & (metrics["stage"] == "finetune")]
    several = tuned.groupby([*study.SETTING[1:], "model"], sort=False)["round"].nunique() > 1
    rows = [(*names, f"→ {model}") for *names, model in several.index[several]]

    def curves(row, strategy, split, metric):
        *setting, model = row
        return study.curves(metrics, dataset, setting, strategy, split, metric, "finetune", model.removeprefix("→ "))

    about, fallen = ", fine-tuned on the chosen labels", _fallen(metrics, dataset, lead)
    return _curves_figure(metrics, dataset, tables.MEASURES[lead], rows, lines, curves, about, fallen)


def _fallen(metrics, dataset, lead):
    """Rounds in which trainings collapsed, by ((*setting, or with → model), strategy)."""
    rounds = {}
    for row in collapses.found(metrics, dataset, lead).to_dict("records"):
        of = tuple(row[column] for column in study.SETTING[1:]) + ((f"→ {row['model']}",) if row["model"] else ())
        rounds.setdefault((of, row["strategy"]), set()).add(row["round"])
    return rounds


def trainer_curves(metrics, dataset, lead, kinds):
    """Figure of what each trainer makes of the same labels, one row of panels per (encoder, selector).

    The labels are those of `tables.strategy_of_trainers`. Arguments and marks as in `learning_curves`.
    """
    strategy = tables.strategy_of_trainers(metrics, dataset)
    rivals = [block for block in tables.rival_trainers(metrics, dataset) if block[0][3] == "proxy"]
    rows = [block[0][:2] for block in rivals]
    trainers = {trainer: trainer for block in rivals for _, _, trainer, *_ in block}

    def curves(row, trainer, split, metric):
        return study.curves(metrics, dataset, (*row, trainer), strategy, split, metric)

    by = f", labels bought by {strategy}{MARKS[kinds[strategy]]}"
    return _curves_figure(metrics, dataset, [lead], rows, trainers, curves, by)


def selector_curves(metrics, dataset, lead, kinds):
    """Figure of what each selector's labels are worth, one row of panels per (encoder, strategy).

    Of the model that `study.judged` names. Arguments and marks as in `learning_curves`.
    """
    settings = study.settings(metrics, dataset)
    stage, model = study.judged(metrics, dataset)
    encoders = dict.fromkeys(encoder for encoder, _, _ in settings)
    strategies = {s + MARKS[kinds[s]]: s for s in study.strategies_of(metrics, dataset)}
    rows = [(encoder, strategy) for encoder in encoders for strategy in strategies]
    selectors = {(setting[0], name): setting for setting, name in study.selector_names(settings).items()}
    lines = {name: name for _, name in selectors}

    def curves(row, name, split, metric):
        setting = selectors.get((row[0], name))
        return setting and study.curves(metrics, dataset, setting, strategies[row[1]], split, metric, stage, model)

    of = f", fine-tuned with {model}" if model else ", the selectors' own models"
    return _curves_figure(metrics, dataset, [lead], rows, lines, curves, of)


def _curves_figure(metrics, dataset, measures, rows, lines, curves_of, about="", fallen=None):
    """Figure with a row of panels for each of `rows`, tuples that begin with the encoder, and of `measures`.

    A row has a panel for each split. Rows and lines without any curve are left out.

    `lines`: labels of the lines by name; `curves_of(row, name, split, metric)`: the `study.Curves` of one, or None;
    `about`: the end of the title; `fallen`: by (row, name), rounds that are marked, for trainings in them collapsed.
    """
    fallen = fallen or {}
    splits, drawn = study.splits_of(metrics, dataset), {}
    for row, measure, split, name in itertools.product(rows, measures, splits, lines):
        curves = curves_of(row, name, split, metric_of(split, measure))
        if curves is not None:
            drawn.setdefault((row, measure), {}).setdefault(split, {})[name] = curves
    lines = {
        name: label
        for name, label in lines.items()
        if any(name in found for panels in drawn.values() for found in panels.values())
    }
    with mpl.rc_context(_STYLE):
        figure, panels = _panels(list(drawn), splits, 2.9, share_y=False, title=lambda key: key[0])
        for axis, (row, measure), split in panels:
            found = drawn[row, measure].get(split)
            if found is None:
                axis.set_axis_off()
                continue
            for name, curves in found.items():
                _draw_curve(axis, look(name), curves)
                for at in np.flatnonzero(np.isin(curves.rounds, list(fallen.get((tuple(row), name), ())))):
                    point = curves.labels[at], 100 * curves.scores[:, at].mean()
                    axis.annotate(COLLAPSED, point, (0, -10), textcoords="offset points", ha="center", va="center")
            _limit_scores(axis, found.values())
            # Of one strategy: BADGE of the authors' files has 2,001 labels where the others have 2,000.
            usual = found.get(study.REFERENCE) or max(found.values(), key=lambda curves: len(curves.labels))
            _label_axis(axis, [int(n) for n in usual.labels])
            axis.set_ylabel(f"{split} {NAMES[measure]} (%)")
            axis.yaxis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10)))
            level = study.zero_shot(metrics, dataset, row[0], split, metric_of(split, measure))
            if level is not None:
                _draw_level(axis, 100 * level, "zero-shot")
        _title(figure, metrics, dataset, about)
        handles = []
        for name, label in lines.items():
            colour, marker, line = look(name)
            handles.append(Line2D([], [], color=colour, marker=marker, linestyle=line, label=label))
        if fallen:
            handles.append(_collapsed())
        # Long names leave room for fewer columns, and further rows must not take theirs from the panels.
        columns = _legend_columns(len(handles), 5 if max(len(h.get_label()) for h in handles) <= 10 else 4)
        figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(handles) // columns) - 1))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=3)
    return figure


def final_scores(metrics, dataset, lead, kinds):
    """Figure of what the labels are worth to each model: the selectors' own, fine-tuned ones, zero-shot heads.

    One line per strategy after the last round, preceded by the start that all strategies share. Filled markers are the
    selectors' own models, other fillings the models fine-tuned on the same labels, where there are any. Bars are 95 %
    Student-t intervals over trials. Arguments as in `learning_curves`.
    """
    settings, strategies = study.settings(metrics, dataset), study.strategies_of(metrics, dataset)
    models = study.models(metrics, dataset)
    with mpl.rc_context(_STYLE):
        height = 0.9 + (1 + len(strategies)) * (0.16 + 0.14 * len(models))
        figure, panels = _panels(settings, study.splits_of(metrics, dataset), height, share_y=True)
        for axis, setting, split in panels:
            names = {}
            # Where encoders select and are evaluated fine-tuned, these are the same models.
            distinct = study.distinct_models(metrics, dataset, setting)
            for (stage, model), fill, offset in zip(
                models, itertools.cycle(_FILLS), _spread(len(models)), strict=False
            ):
                if (stage, model) not in distinct:
                    continue
                for line, strategy in enumerate(strategies, start=1):
                    metric = metric_of(split, lead)
                    curves = study.curves(metrics, dataset, setting, strategy, split, metric, stage, model)
                    if curves is None:
                        continue
                    names[line] = f"{strategy}{MARKS[kinds[strategy]]}, {curves.labels[-1]:,} labels"
                    _draw_score(axis, line + offset, curves.scores[:, -1], look(strategy), fill)
                    if line == 1 and curves.rounds[0] == 1 and len(curves.rounds) > 1:
                        names[0] = f"first round, {curves.labels[0]:,} labels"
                        _draw_score(axis, offset, curves.scores[:, 0], _START, fill)
            axis.set_yticks(sorted(names), [names[line] for line in sorted(names)])
            axis.set_ylim(max(names) + 0.6, min(names) - 0.6)
            axis.grid(visible=False, axis="y")
            axis.xaxis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10)))
            axis.set_xlabel(f"{split} {NAMES[lead]} (%)")
            level = study.zero_shot(metrics, dataset, setting[0], split, metric_of(split, lead))
            if level is not None:
                axis.axvline(100 * level, color="black", linestyle=":", linewidth=1)
        _title(figure, metrics, dataset)
        handles = []
        for (_, model), fill in zip(models, itertools.cycle(_FILLS), strict=False):
            name = f"fine-tuned, {model}" if model else "selector's model"
            handles.append(Line2D([], [], color=GREY, marker="o", linestyle="", label=name, **_filling(fill)))
        if (metrics["stage"] == "zero_shot").any():
            handles.append(Line2D([], [], color="black", linestyle=":", linewidth=1, label="zero-shot"))
        figure.legend(handles=handles, loc="outside lower center", ncols=_legend_columns(len(handles), 4))
    return figure


def differences(metrics, dataset, lead, kinds, equivalence, images=None):
    """Figure of every strategy's area under the learning curve against random's and margin's, in points.

    Rows of panels as in `learning_curves`, of the model that `study.judged` names. Markers are mean paired differences,
    filled against random sampling, hollow against margin; bars their 95 % intervals on these images, thin ones about
    other images of this kind, where that is known (`images`). Grey: the region of practical equivalence, ±`equivalence`
    (a fraction). A bracket at zero above the strategies: plus and minus one standard deviation of training noise, where
    it was measured. Arguments as in `comparisons.comparisons_table`.
    """
    table = comparisons.comparisons_table(metrics, dataset, lead, kinds, equivalence, images)
    table = table[table["reference"] != ""]
    names = [name for name in study.strategies_of(metrics, dataset) if (table["strategy"] == name).any()]
    settings = study.settings(metrics, dataset)
    with mpl.rc_context(_STYLE):
        height, title = 1.0 + 0.34 * (1 + len(names)), _with_model(metrics, dataset)
        figure, panels = _panels(settings, study.splits_of(metrics, dataset), height, True, title)
        for axis, setting, split in panels:
            at = table["split"] == split
            columns = (*study.SETTING[1:], "stage", "model")
            for column, value in zip(columns, (*setting, *study.judged(metrics, dataset, setting)), strict=True):
                at &= table[column] == value
            _draw_differences(axis, table[at], names, kinds, 100 * equivalence)
            axis.set_xlabel(f"{split} {NAMES[lead]}: difference of AULC (points)")
        _title(figure, metrics, dataset)
        handles = [
            Line2D([], [], color=GREY, marker="o", linestyle="-", label=f"to {reference}", **_filling(fill))
            for reference, fill in _REFERENCE_FILLS.items()
            if (table["reference"] == reference).any()
        ]
        handles.append(Patch(color=_EQUIVALENCE, label=f"practically equal (±{100 * equivalence:g} points)"))
        if table["noise"].notna().any():
            handles.append(Line2D([], [], color="black", marker="|", markersize=8, label="training noise, ±1 sd"))
        if table["collapsed"].any():
            handles.append(_collapsed())
        figure.legend(handles=handles, loc="outside lower center", ncols=_legend_columns(len(handles), 4))
    return figure


def _collapsed():
    """What a legend says of the mark of trainings that collapsed."""
    return Line2D([], [], linestyle="", marker="$\u00a4$", color="black", label="trainings collapsed")


def _draw_differences(axis, table, names, kinds, equivalence):
    if table.empty:
        _nothing(axis, "nothing to compare")
        return
    axis.axvspan(-equivalence, equivalence, color=_EQUIVALENCE, linewidth=0)
    axis.axvline(0, color="black", linewidth=0.8)
    for row in table.to_dict("records"):
        colour, marker, _ = look(row["strategy"])
        height = names.index(row["strategy"]) + _REFERENCE_OFFSETS[row["reference"]]
        if not math.isnan(row["low"]):
            axis.plot([100 * row["low"], 100 * row["high"]], [height, height], color=colour, linewidth=1.8)
        if not math.isnan(row["other_low"]):
            axis.plot([100 * row["other_low"], 100 * row["other_high"]], [height] * 2, color=colour, linewidth=0.7)
        fill = _filling(_REFERENCE_FILLS[row["reference"]])
        axis.plot([100 * row["difference"]], [height], color=colour, marker=marker, linestyle="", **fill)
    noise = 100 * table["noise"].max()
    if not math.isnan(noise):
        axis.plot([-noise, noise], [-0.75, -0.75], color="black", marker="|", markersize=8, linewidth=1.2)
    fallen = set(table.loc[table["collapsed"] > 0, "strategy"])
    marked = [name + MARKS[kinds[name]] + (f" {COLLAPSED}" if name in fallen else "") for name in names]
    axis.set_yticks(range(len(names)), marked)
    axis.set_ylim(len(names) - 0.4, -1.1)
    axis.grid(visible=False, axis="y")
    # Where all are ties the region's ends must be seen, or the whole panel is grey.
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, -2 * equivalence), max(high, 2 * equivalence))
    axis.xaxis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}".replace("-", "−") if x else "0"))


def _with_model(metrics, dataset):
    """`title` of panels of the models that `study.judged` names."""

    def title(setting):
        stage, model = study.judged(metrics, dataset, setting)
        return (*setting[:-1], setting[-1] + (f" → fine-tuned, {model}" if stage == "finetune" else ""))

    return title


def label_savings(metrics, dataset, lead, kinds):
    """Figure of the labels random sampling needs divided by the labels a strategy needs, by the accuracy reached.

    Rows of panels as in `learning_curves`, of the model that `study.judged` names. Lines are read off isotonic mean
    curves (`savings.savings_curve`), bands their 95 % intervals, point by point. A panel without random sampling, or
    without an accuracy that both reach, stays empty.
    """
    settings = study.settings(metrics, dataset)
    strategies = [name for name in study.strategies_of(metrics, dataset) if name != study.REFERENCE]
    with mpl.rc_context(_STYLE):
        title = _with_model(metrics, dataset)
        figure, panels = _panels(settings, study.splits_of(metrics, dataset), 2.9, share_y=False, title=title)
        for axis, setting, split in panels:
            model = study.judged(metrics, dataset, setting)
            compared = comparisons.savings_curves(metrics, dataset, setting, split, lead, *model)
            curves = {strategy: curve for strategy, curve in compared.items() if curve is not None}
            if not curves:
                _nothing(axis, "no accuracies that both pass through" if compared else "nothing to compare")
                continue
            for i, (strategy, curve) in enumerate(curves.items()):
                colour, marker, line = look(strategy)
                targets, at = 100 * curve.targets, (3 * i % 10, 10)  # markers of several lines side by side
                axis.plot(
                    targets, curve.factor, color=colour, linestyle=line, marker=marker, markevery=at, linewidth=1.5
                )
                axis.fill_between(targets, curve.low, curve.high, color=colour, alpha=0.13, linewidth=0)
            axis.axhline(1, color=GREY, linewidth=1)
            axis.set_yscale("log")
            _label_factors(axis)
            axis.xaxis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10)))
            axis.set_xlabel(f"{split} {NAMES[lead]} reached (%)")
            axis.set_ylabel("label savings (log scale)")
        _title(figure, metrics, dataset)
        handles = []
        for name in strategies:
            colour, marker, line = look(name)
            label = name + MARKS[kinds[name]]
            handles.append(Line2D([], [], color=colour, marker=marker, linestyle=line, label=label))
        handles.append(Line2D([], [], color=GREY, linewidth=1, label="random"))
        columns = _legend_columns(len(handles), 5)
        figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(handles) // columns) - 1))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=3)
    return figure


# Factors that a tick may stand at, the more telling first.
_FACTORS = (1, 2, 0.5, 4, 0.25, 8, 0.125, 1.5, 0.7, 3, 0.8, 1.2, 0.6, 0.9, 1.1, 0.95, 1.05)


def _label_factors(axis):
    """Ticks at factors that have a name, as many as the axis has room for."""
    low, high = axis.get_ylim()
    low, high = max(low, 1 / 8), min(high, 8)
    axis.set_ylim(low, high)
    room, ticks = math.log(high / low) / 10, []
    for factor in _FACTORS:
        if low <= factor <= high and all(abs(math.log(factor / tick)) > room for tick in ticks):
            ticks.append(factor)
    axis.yaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    axis.yaxis.set_minor_locator(NullLocator())


def critical_differences(metrics, leads, kinds, images=None):
    """Figure of the strategies' mean ranks over settings, with bars that join those no further apart than chance.

    After J. Demšar, JMLR 7, 2006: a bar joins strategies whose mean ranks differ by less than Nemenyi's critical
    difference. Arguments as for `comparisons.ranking`.
    """
    ranking = comparisons.ranking(metrics, leads, kinds, images)
    names, found = ranking.strategies, ranking.ranks
    groups = _joined(found.mean, found.critical)
    with mpl.rc_context({**_STYLE, "axes.grid": False}):
        height = 1.5 + 0.26 * len(names) + 0.12 * len(groups)
        figure = Figure(figsize=(7.2, height), layout="constrained")
        axis = figure.subplots()
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.spines["top"].set_visible(True)
        axis.xaxis.tick_top()
        axis.xaxis.set_label_position("top")
        over = f"{ranking.settings} settings on {ranking.groups} set{'s' * (ranking.groups != 1)} of images"
        axis.set_xlabel(f"mean rank over {over} (1 is best)")
        most = max(len(names), 2)
        axis.set_xlim(0.8, most + 0.2)
        axis.set_xticks(range(1, most + 1))
        axis.set_yticks([])
        bars = 0.45 * (1 + len(groups))
        for line, (name, rank) in enumerate(zip(names, found.mean, strict=True)):
            colour, marker, _ = look(name)
            depth = line + 0.5 + bars
            axis.plot([rank, rank], [0, depth], color=colour, linewidth=1)
            axis.plot([rank], [depth], color=colour, marker=marker)
            right = rank < (1 + most) / 2
            axis.annotate(
                f"{name}{MARKS[kinds[name]]}  {rank:.2f}",
                (rank, depth),
                xytext=(8 if right else -8, 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                # Lines of worse ranks cross the names of better ones.
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
        for i, (first, last) in enumerate(groups):
            ends = [found.mean[first] - 0.03, found.mean[last] + 0.03]
            axis.plot(ends, [0.45 * (i + 1)] * 2, color="black", linewidth=4, solid_capstyle="butt")
        axis.set_ylim(len(names) + 0.2 + bars, 0)
        text = (
            f"critical difference {found.critical:.2f}"
            if not math.isnan(found.critical)
            else "no test: too few datasets"
        )
        figure.suptitle(f"all settings: ranks by area under the learning curve, {text}", fontsize=10)
    return figure


def _joined(ranks, critical):
    """(first, last) of the longest runs of at least two ascending ranks that span less than the critical difference."""
    groups = []
    for first in range(len(ranks)):
        last = max((i for i in range(first, len(ranks)) if ranks[i] - ranks[first] < critical), default=first)
        if last > first and not any(last <= end for _, end in groups):
            groups.append((first, last))
    return groups


def lever_effects(found):
    """Figure of what each lever is worth on the first test set, a panel for each dataset (`levers.table`)."""
    rows = found[~found["split"].str.startswith("pool")]
    blocks = [(dataset, block.iloc[::-1]) for dataset, block in rows.groupby("dataset", sort=False)]
    heights = [len(block) for _, block in blocks] or [1]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 0.9 + sum(0.24 * height + 0.45 for height in heights)), layout="constrained")
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=[h + 1 for h in heights], squeeze=False)[
            :, 0
        ]
        for axis, (dataset, block) in zip(axes, blocks, strict=False):
            for height, row in enumerate(block.to_dict("records")):
                low, high = comparisons.told(row)
                colour = GREY if row["verdict"] in ("undecided", "") else BLUE
                middle = 100 * row["difference"]
                if not math.isnan(low):
                    axis.plot([100 * low, 100 * high], [height] * 2, color=colour, linewidth=1.5)
                axis.plot([middle], [height], color=colour, marker="o", markersize=4)
            names = [f"{row.lever}: {row.level}, not {row.reference}" for row in block.itertuples()]
            axis.set_yticks(range(len(names)), names)
            axis.set_ylim(-0.6, len(names) - 0.4)
            axis.axvline(0, color="black", linewidth=0.8)
            measure = NAMES.get(block["measure"].iloc[0], "score")
            axis.set_title(f"{dataset}: {block['split'].iloc[0]} {measure}", loc="left", fontsize=9)
        if not blocks:
            _nothing(axes[0], "no lever was moved with all others held")
        axes[-1].set_xlabel("points after the last label, all other levers held; 95 % intervals")
        figure.suptitle("all settings: which lever pays (grey: undecided)", fontsize=10)
    return figure


def save(figure, path, format):
    """Write a figure as "svg" or "pdf", byte for byte the same for the same figure: no dates, no random ids."""
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with mpl.rc_context(_STYLE):
        figure.savefig(path, format=format, metadata=dates[format])


def _panels(settings, splits, height, share_y, title=lambda setting: setting):
    """A figure with one row of panels per setting, `height` inches each, and its (axis, setting, split).

    `title`: the names that stand over a setting's row.
    """
    figure = Figure(figsize=(max(7.2, 3.6 * len(splits)), height * len(settings) + 0.6), layout="constrained")
    axes = figure.subplots(len(settings), len(splits), squeeze=False, sharey="row" if share_y else False)
    for row, setting in zip(axes, settings, strict=True):
        row[0].set_title(" · ".join(title(setting)), loc="left", fontsize=9, style="italic")
    return figure, [
        (a, s, split) for row, s in zip(axes, settings, strict=True) for a, split in zip(row, splits, strict=True)
    ]


def _title(figure, metrics, dataset, about=""):
    runs = metrics[(metrics["dataset"] == dataset) & (metrics["stage"] != "zero_shot")]
    # Of a strategy that lost a trial there are fewer (`study.paired`).
    counts = sorted(set(runs.groupby([*study.SETTING, "strategy"])["trial"].nunique()))
    trials = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    over = f"mean and 95 % interval over {trials} paired trials" if counts[-1] > 1 else "one trial"
    pool = _POOLS.get(study.splits_of(metrics, dataset)[-1], "")
    figure.suptitle(f"{dataset}: {over}{about}{pool}", fontsize=10)


_POOLS = {
    study.POOL: "\npool: bought labels as annotated, all others as predicted",
    study.MODEL_POOL: "\npool (model): predictions of all images, also of bought ones",
}


def _legend_columns(entries, most):
    """At most `most` columns, with rows as even as they can be."""
    return -(-entries // -(-entries // most))


def _draw_curve(axis, style, curves):
    colour, marker, line = style
    scores = statistics.estimate(100 * curves.scores)
    axis.plot(curves.labels, scores.mean, color=colour, marker=marker, linestyle=line, linewidth=1.5)
    if len(curves.trials) > 1:
        axis.fill_between(curves.labels, *_ends(scores), color=colour, alpha=0.13, linewidth=0)


def _draw_score(axis, height, values, style, fill):
    colour, marker, _ = style
    score = statistics.estimate(100 * values)
    if len(values) > 1:
        axis.plot(_ends(score), [height, height], color=colour, linewidth=1.2)
    axis.plot([score.mean], [height], color=colour, marker=marker, linestyle="", **_filling(fill))


def _ends(percent):
    """Ends of an interval, cut where no score can be: that of two trials reaches 12.7 standard errors to each side."""
    return np.clip(percent.low, 0, 100), np.clip(percent.high, 0, 100)


def _filling(fill):
    return {"fillstyle": fill, "markerfacecoloralt": "white"} if fill != "none" else {"markerfacecolor": "white"}


def _spread(n):
    """Heights of n markers around their line's, downwards."""
    return [0.56 * (i - (n - 1) / 2) / max(n - 1, 1) for i in range(n)]


def _nothing(axis, text):
    """A panel without data: a text, and no axes that would make believe there were any."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", fontsize=8)
    axis.set_xticks([])
    axis.tick_params(axis="y", left=False, labelleft=False)
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)


def _limit_scores(axis, curves):
    """Cut the y axis where bands leave the lines' own range, to both sides, by more than its height.

    The band of two trials can reach from nothing to 100 %, and would flatten the lines.
    """
    means = 100 * np.concatenate([curve.scores.mean(axis=0) for curve in curves])
    height = max(np.ptp(means), 1.0)
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, means.min() - height), min(high, means.max() + height))


def _draw_level(axis, level, name):
    """A dotted line at a level, in percent, for which the panel grows up to twofold; beyond that, words at its edge."""
    low, high = axis.get_ylim()
    height = high - low
    right = axis.get_yaxis_transform()  # x in fractions of the panel, y in percent
    style = {"transform": right, "ha": "right", "fontsize": 8}
    if not low - height <= level <= high + height:
        above = level > high
        text = f"{name} {level:.1f} {'↑' if above else '↓'}"
        axis.text(0.99, high if above else low, text, va="top" if above else "bottom", **style)
        return
    axis.axhline(level, color="black", linestyle=":", linewidth=1)
    axis.text(0.99, level, name, va="bottom", **style)
    axis.set_ylim(min(low, level - 0.05 * height), max(high, level + 0.1 * height))


def _label_axis(axis, budgets):
    """Ticks at budgets, as many as have room; logarithmic for long schedules."""
    logarithmic = budgets[-1] >= _LOG_FROM * budgets[0]
    place = math.log if logarithmic else float
    # A panel holds about 45 characters side by side.
    room = (place(budgets[-1]) - place(budgets[0])) * max(len(f"{budgets[-1]:,}") + 2, 6) / 45
    ticks = [budgets[0], budgets[-1]]
    for budget in reversed(budgets):
        if all(abs(place(budget) - place(tick)) > room for tick in ticks):
            ticks.append(budget)
    if logarithmic:
        axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("labels bought (log scale)" if logarithmic else "labels bought")
