import io
import itertools
import warnings
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import synthetic_study
from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.evidence import comparisons, figures, statistics, study
from synthetic_study import KINDS

SETTING = ("glyphclip", "linear", "flexmatch")
COMMON = ("random", "margin", "badge", "coreset", "entropy", "confidence", "galaxy", "bait", "direct", "typiclust")


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    return synthetic_study.table(tmp_path_factory.mktemp("study"), datasets=("digits",))


def line(axis, strategy):
    """The data line drawn in the look of a strategy."""
    colour, marker, _ = figures.look(strategy)
    return next(x for x in axis.lines if x.get_color() == colour and x.get_marker() == marker)


def test_legends_mark_what_is_no_plain_batch_strategy(metrics):
    kinds = KINDS | {"margin": "upper bound"}
    legend = figures.learning_curves(metrics, "digits", "accuracy", kinds).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["random", "margin ‡", "badge"]


def test_every_strategy_has_a_look_of_its_own():
    looks = [figures.look(name) for name in registry.names("strategies")]
    assert len(set(looks)) == len(looks)
    assert set(registry.names("strategies")) <= set(figures._LOOKS)
    assert len({figures.look(name)[1] for name in COMMON}) == len(COMMON)  # markers tell them apart without colour
    assert len({figures.look(name)[0] for name in COMMON}) == len(COMMON)
    assert figures.look("my_strategy") == figures.look("my_strategy")
    assert figures.look("my_strategy") not in figures._LOOKS.values()
    assert len({figures.look(f"variant_{i}") for i in range(20)}) > 12


def test_curves_are_means_with_their_intervals(metrics):
    figure = figures.learning_curves(metrics, "digits", "accuracy", KINDS)
    for axis, split, metric in zip(figure.axes, ("test", "pool"), ("accuracy", "pool_accuracy"), strict=True):
        assert axis.get_ylabel() == f"{split} accuracy (%)"
        assert axis.get_xlabel() == "labels bought"
        assert sorted(axis.get_xticks()) == [30, 40, 50, 60, 70, 80]
        for strategy, band in zip(("random", "margin", "badge"), axis.collections, strict=True):
            curves = study.curves(metrics, "digits", SETTING, strategy, split, metric)
            drawn = line(axis, strategy)
            assert drawn.get_xdata().tolist() == [30, 40, 50, 60, 70, 80]
            assert np.allclose(drawn.get_ydata(), 100 * curves.scores.mean(0))
            low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
            expected = statistics.estimate(100 * curves.scores)
            assert (low, high) == pytest.approx((expected.low.min(), expected.high.max()))
    assert "95 % interval over 4 paired trials" in figure.get_suptitle()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["random", "margin", "badge"]


def test_zero_shot_is_a_line_where_it_was_measured(metrics):
    test, pool = figures.learning_curves(metrics, "digits", "accuracy", KINDS).axes
    assert [t.get_text() for t in test.texts] == ["zero-shot"]
    assert any(set(x.get_ydata()) == {87.0} for x in test.lines)
    assert not pool.texts
    assert test.get_ylim()[0] < 87 < test.get_ylim()[1]


@pytest.mark.parametrize(("level", "text"), [(0.2, "zero-shot 20.0 ↓"), (1.8, "zero-shot 180.0 ↑")])
def test_a_zero_shot_level_far_away_is_told_at_the_edge(metrics, level, text):
    """Drawn where it is, it would flatten the curves, or lie outside of the panel and take its place from it."""
    far = metrics.copy()
    far.loc[far["stage"] == "zero_shot", "value"] = level
    figure = figures.learning_curves(far, "digits", "accuracy", KINDS)
    axis = figure.axes[0]
    assert [t.get_text() for t in axis.texts] == [text]
    assert axis.get_ylim()[0] <= axis.texts[0].get_position()[1] <= axis.get_ylim()[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.save(figure, io.BytesIO(), "svg")


def test_long_schedules_are_logarithmic_with_room_between_ticks(tmp_path):
    labels = (200, 400, 600, 800, 1000, 1500, 2000, 3000, 5000, 7000, 10000)
    metrics = synthetic_study.table(tmp_path, datasets=("digits",), labels=labels, trials=2, finetune=())
    axis = figures.learning_curves(metrics, "digits", "accuracy", KINDS).axes[0]
    assert axis.get_xscale() == "log"
    assert "log scale" in axis.get_xlabel()
    ticks = sorted(axis.get_xticks())
    assert {labels[0], labels[-1]} <= set(ticks) <= set(labels)
    assert min(b / a for a, b in itertools.pairwise(ticks)) > 1.7


def test_ticks_are_numbers_of_labels_that_were_asked_for(metrics):
    """BADGE of the authors' files buys one label more in every round."""
    more = metrics.copy()
    more.loc[more["strategy"] == "badge", "num_labels"] += more["round"] - 1
    axis = figures.learning_curves(more, "digits", "accuracy", KINDS).axes[0]
    assert sorted(axis.get_xticks()) == [30, 40, 50, 60, 70, 80]


def test_bands_of_two_trials_leave_the_lines_room(tmp_path):
    metrics = synthetic_study.table(tmp_path, datasets=("digits",), trials=2, finetune=(), zero_shot=None)
    apart = metrics["split"].eq("test") & metrics["strategy"].eq("margin") & metrics["round"].eq(2)
    metrics.loc[apart, "value"] += 0.03 * metrics["trial"]  # a band of ±19 points
    axis = figures.learning_curves(metrics, "digits", "accuracy", KINDS).axes[0]
    means = np.concatenate([line(axis, s).get_ydata() for s in ("random", "margin", "badge")])
    low, high = axis.get_ylim()
    assert low < means.min() and means.max() < high
    assert high - low <= 3 * np.ptp(means) + 1e-9


def test_panels_without_data_look_empty(metrics):
    """Neither the grey of ties nor an axis of accuracies that nobody reached."""
    far = metrics.copy()
    far.loc[far["strategy"].ne("random") & far["split"].eq("test"), "value"] -= 0.9
    alone = metrics[(metrics["strategy"] == "random") | (metrics["split"] == "test")]
    drawn = (
        (figures.label_savings(far, "digits", "accuracy", KINDS).axes[0], "no accuracies that both pass through"),
        (figures.label_savings(alone, "digits", "accuracy", KINDS).axes[1], "nothing to compare"),
        (figures.differences(alone, "digits", "accuracy", KINDS, 0.002).axes[1], "nothing to compare"),
    )
    for axis, text in drawn:
        assert [x.get_text() for x in axis.texts] == [text]
        assert not (axis.patches or axis.lines or list(axis.get_xticks()))
        assert not any(spine.get_visible() for spine in axis.spines.values())


def test_the_region_of_ties_has_ends_that_show(metrics):
    axis = figures.differences(metrics, "digits", "accuracy", KINDS, 0.5).axes[0]
    low, high = axis.get_xlim()
    assert low <= -100 and high >= 100


@pytest.mark.parametrize(("low", "high"), [(0.97, 1.31), (0.7, 1.6), (0.2, 6)])
def test_ticks_of_savings_have_room(low, high):
    axis = mpl.figure.Figure().subplots()
    axis.set_yscale("log")
    axis.set_ylim(low, high)
    figures._label_factors(axis)
    ticks = np.log(axis.get_yticks())
    assert len(ticks) >= 3 and 0 in ticks
    assert np.diff(ticks).min() > np.log(high / low) / 10


def test_final_scores_show_every_model(metrics):
    figure = figures.final_scores(metrics, "digits", "accuracy", KINDS)
    test = figure.axes[0]
    assert [t.get_text() for t in test.get_yticklabels()] == [
        "first round, 30 labels",
        "random, 80 labels",
        "margin, 80 labels",
        "badge, 80 labels",
    ]
    drawn = {round(float(x.get_xdata()[0]), 6) for x in test.lines if x.get_linestyle() == "None"}
    expected = set()
    for stage, model in (("proxy", ""), ("finetune", "flexmatch"), ("finetune", "passive")):
        for strategy in ("random", "margin", "badge"):
            curves = study.curves(metrics, "digits", SETTING, strategy, "test", "accuracy", stage, model)
            expected |= {round(100 * float(curves.scores[:, i].mean()), 6) for i in (0, -1)}
    assert drawn == expected
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "selector's model",
        "fine-tuned, flexmatch",
        "fine-tuned, passive",
        "zero-shot",
    ]


def test_final_scores_without_fine_tuned_models(tmp_path):
    metrics = synthetic_study.table(tmp_path, datasets=("digits",), trials=2, finetune=(), zero_shot=None)
    figure = figures.final_scores(metrics, "digits", "accuracy", KINDS)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["selector's model"]


@pytest.mark.parametrize("draw", [figures.learning_curves, figures.final_scores])
def test_one_trial_has_no_interval(tmp_path, draw):
    metrics = synthetic_study.table(tmp_path, datasets=("digits",), trials=1, finetune=(), zero_shot=None)
    figure = draw(metrics, "digits", "accuracy", KINDS)
    assert all(not axis.collections for axis in figure.axes)
    assert all(x.get_marker() != "None" for axis in figure.axes for x in axis.lines)
    assert "one trial" in figure.get_suptitle()


def test_every_setting_has_its_row(metrics):
    both = pd.concat([metrics, metrics[metrics["stage"] != "zero_shot"].assign(selector="shallow")])
    titles = [a.get_title(loc="left") for a in figures.learning_curves(both, "digits", "accuracy", KINDS).axes]
    assert titles == ["glyphclip · linear · flexmatch", "", "glyphclip · shallow · flexmatch", ""]


def test_unknown_dataset_is_refused(metrics):
    with pytest.raises(UserError, match="nothing about dataset cifar10"):
        figures.learning_curves(metrics, "cifar10", "accuracy", KINDS)


@pytest.mark.parametrize("format", ["svg", "pdf"])
def test_files_are_the_same_every_time(metrics, tmp_path, format):
    before = dict(mpl.rcParams)
    for name in ("a", "b"):
        figures.save(figures.learning_curves(metrics, "digits", "accuracy", KINDS), tmp_path / name, format)
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    assert dict(mpl.rcParams) == before
    if format == "svg":
        root = ElementTree.fromstring(content)
        assert root.tag.endswith("svg")
        assert b"dc:date" not in content
    else:
        assert content.startswith(b"%PDF")
        assert b"CreationDate" not in content


@pytest.mark.parametrize("draw", [figures.learning_curves, figures.final_scores])
def test_every_test_set_has_a_panel(metrics, draw):
    shifted = metrics[metrics["split"] == "test"].assign(split="test_ood")
    axes = draw(pd.concat([metrics, shifted]), "digits", "accuracy", KINDS).axes
    labels = [axis.get_ylabel() if draw is figures.learning_curves else axis.get_xlabel() for axis in axes]
    assert labels == ["test accuracy (%)", "test_ood accuracy (%)", "pool accuracy (%)"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two trainers of one selector and one of another."""
    settings = (("linear", "passive"), ("linear", "fixmatch"), ("finetune", "passive"))
    return synthetic_study.table(tmp_path_factory.mktemp("compared"), datasets=("digits",), settings=settings)


def test_trainers_are_drawn_on_the_labels_of_random(compared):
    figure = figures.trainer_curves(compared, "digits", "accuracy", KINDS)
    assert [a.get_title(loc="left") for a in figure.axes] == ["glyphclip · linear", ""]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["passive", "fixmatch"]
    assert "labels bought by random" in figure.get_suptitle()
    for trainer in ("passive", "fixmatch"):
        curves = study.curves(compared, "digits", ("glyphclip", "linear", trainer), "random", "test", "accuracy")
        assert np.allclose(line(figure.axes[0], trainer).get_ydata(), 100 * curves.scores.mean(0))


@pytest.mark.parametrize("end_to_end", [True, False])
def test_selectors_are_drawn_by_strategy(compared, end_to_end):
    drawn = compared if end_to_end else compared[compared["stage"] != "finetune"]
    figure = figures.selector_curves(drawn, "digits", "accuracy", KINDS | {"margin": "upper bound"})
    titles = [f"glyphclip · {strategy}" for strategy in ("random", "margin ‡", "badge")]
    assert [a.get_title(loc="left") for a in figure.axes] == [x for title in titles for x in (title, "")]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["linear · passive", "linear · fixmatch", "finetune"]
    assert ("fine-tuned with flexmatch" if end_to_end else "selectors' own models") in figure.get_suptitle()
    model = ("finetune", "flexmatch") if end_to_end else ("proxy", "")
    curves = study.curves(
        compared, "digits", ("glyphclip", "finetune", "passive"), "badge", "pool", "pool_accuracy", *model
    )
    assert np.allclose(line(figure.axes[5], "finetune").get_ydata(), 100 * curves.scores.mean(0))


def test_trainers_and_selectors_have_looks_of_their_own():
    for names in (registry.names("trainers"), registry.names("proxies")):
        assert len({figures.look(name) for name in names}) == len(names)


def test_models_fine_tuned_after_several_rounds_have_curves_of_their_own(metrics):
    figure = figures.finetuned_curves(metrics, "digits", "accuracy", KINDS)
    titles = [f"glyphclip · linear · flexmatch · → {model}" for model in ("flexmatch", "passive")]
    assert [a.get_title(loc="left") for a in figure.axes] == [x for title in titles for x in (title, "")]
    curves = study.curves(metrics, "digits", SETTING, "margin", "test", "accuracy", "finetune", "passive")
    assert np.allclose(line(figure.axes[2], "margin").get_ydata(), 100 * curves.scores.mean(0))
    assert "fine-tuned on the chosen labels" in figure.get_suptitle()


def test_a_long_tail_has_rows_for_both_of_its_measures(metrics):
    axes = figures.learning_curves(metrics, "digits", "balanced_accuracy", KINDS).axes
    names = [f"{split} {measure} (%)" for measure in ("balanced accuracy", "macro F1") for split in ("test", "pool")]
    assert [axis.get_ylabel() for axis in axes] == names


def test_what_was_not_run_has_no_panel_and_no_line(compared):
    part = compared[~((compared["selector"] == "finetune") & compared["strategy"].isin(["margin", "badge"]))]
    part = part[~((part["strategy"] == "badge") & (part["split"] == "pool"))]
    part = part[~((part["stage"] == "finetune") & (part["strategy"] == "margin"))]
    figure = figures.selector_curves(part, "digits", "accuracy", KINDS)
    titles = [a.get_title(loc="left") for a in figure.axes]
    assert titles == ["glyphclip · random", "", "glyphclip · badge", ""]
    assert not figure.axes[3].axison


def test_an_imported_run_keeps_the_colour_of_its_strategy():
    colour, marker, line = figures.look("margin (lab)")
    assert colour == figures.look("margin")[0]
    assert (marker, line) != figures.look("margin")[1:]


# Differences, savings, ranks.

LEADS = {"digits": "accuracy", "digits_longtail": "balanced_accuracy"}


@pytest.fixture(scope="module")
def two_datasets(tmp_path_factory):
    strategies = ("random", "margin", "badge", "coreset")
    return synthetic_study.table(tmp_path_factory.mktemp("two"), strategies=strategies, finetune=())


def test_differences_are_drawn_with_intervals_and_the_region_of_equivalence(two_datasets):
    figure = figures.differences(two_datasets, "digits", "accuracy", KINDS | {"badge": "sequential"}, 0.002)
    table = comparisons.comparisons_table(two_datasets, "digits", "accuracy", KINDS, 0.002)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["random", "margin", "badge †", "coreset"]
    drawn = {round(float(x.get_xdata()[0]), 9) for x in axis.lines if x.get_linestyle() == "None"}
    test = table[table["split"] == "test"]
    assert drawn == {round(100 * gap, 9) for gap in test["difference"]}
    bars = {tuple(np.round(x.get_xdata(), 9)) for x in axis.lines if len(x.get_xdata()) == 2}
    assert {(round(100 * a, 9), round(100 * b, 9)) for a, b in zip(test["low"], test["high"], strict=True)} <= bars
    region = axis.patches[0].get_extents().transformed(axis.transData.inverted())
    assert (region.x0, region.x1) == pytest.approx((-0.2, 0.2))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["to random", "to margin", "practically equal (±0.2 points)"]


def test_each_setting_is_judged_by_the_best_model_it_has(compared):
    """Of three settings, one was not fine-tuned end to end: its selector's own models stand in its row."""
    setting = compared["selector"].eq("linear") & compared["trainer"].eq("passive")
    part = compared[~(setting & compared["stage"].eq("finetune"))]
    for figure in (
        figures.differences(part, "digits", "accuracy", KINDS, 0.002),
        figures.label_savings(part, "digits", "accuracy", KINDS),
    ):
        assert [axis.get_title(loc="left") for axis in figure.axes[::2]] == [
            "glyphclip · linear · passive",
            "glyphclip · linear · fixmatch → fine-tuned, flexmatch",
            "glyphclip · finetune · passive → fine-tuned, flexmatch",
        ]
        assert all(len(axis.lines) > 2 for axis in figure.axes)
    assert len(comparisons.settings_curves(part, {"digits": "accuracy"})) == 3


def test_savings_are_drawn_as_a_curve(two_datasets):
    figure = figures.label_savings(two_datasets, "digits", "accuracy", KINDS)
    found = comparisons.savings_curves(two_datasets, "digits", SETTING, "test", "accuracy", "proxy", "")
    axis = figure.axes[0]
    assert axis.get_xlabel() == "test accuracy reached (%)"
    for strategy in ("margin", "badge", "coreset"):
        drawn = line(axis, strategy)
        assert np.allclose(drawn.get_ydata(), found[strategy].factor)
        assert np.allclose(drawn.get_xdata(), 100 * found[strategy].targets)
    assert len(axis.collections) == 3


def test_ranks_join_what_is_not_shown_to_differ(two_datasets):
    figure = figures.critical_differences(two_datasets, LEADS, KINDS)
    found = comparisons.ranking(two_datasets, LEADS, KINDS)
    axis = figure.axes[0]
    assert axis.get_xlabel() == f"mean rank over {found.settings} settings on 2 sets of images (1 is best)"
    ranked = zip(found.strategies, found.ranks.mean, strict=True)
    assert [text.get_text() for text in axis.texts] == [f"{name}  {rank:.2f}" for name, rank in ranked]
    assert figures._joined([1.0, 2.0, 2.5, 4.0, 5.5], 1.6) == [(0, 2), (2, 3), (3, 4)]
    assert figures._joined([1.0, 3.0], 1.5) == []
    assert figures._joined([1.0, 3.0], float("nan")) == []


def test_looks_differ_in_grey_print():
    """Without colour, strategies, trainers and selectors still differ by marker or line."""
    for names in (registry.names("strategies"), figures._TRAINERS, figures._SELECTORS):
        assert len({figures.look(name)[1:] for name in names}) == len(names)
