"""Trainings that collapsed: found by their rule, told, and taken out of verdicts."""

import re

import numpy as np
import pandas as pd
import pytest

import synthetic_study
from labelbench.evidence import collapses, comparison_pages, comparisons, figures, findings, study, wording
from synthetic_study import KINDS

SETTING = ("glyphclip", "linear", "flexmatch")
EQUIVALENCE = 0.002


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return synthetic_study.table(folder, datasets=("digits",), finetune=(), trials=5, noise=0.003)


def fallen(metrics, strategy, trial, round_, score=0.3):
    """The table after one training collapsed, on all splits."""
    at = metrics["strategy"].eq(strategy) & metrics["trial"].eq(trial) & metrics["round"].eq(round_)
    at &= metrics["stage"].eq("proxy") & metrics["split"].ne("") & metrics["metric"].ne("loss")
    return metrics.assign(value=metrics["value"].mask(at, score))


def places(found):
    return sorted(zip(found["strategy"], found["trial"], found["round"], strict=True))


def test_a_plain_study_has_none(metrics):
    assert collapses.found(metrics, "digits", "accuracy").empty
    table = comparisons.comparisons_table(metrics, "digits", "accuracy", KINDS, EQUIVALENCE)
    assert not table["collapsed"].any()


def test_they_are_found_by_how_far_they_fall(metrics):
    worse = fallen(fallen(metrics, "margin", 0, 3), "margin", 2, 4)
    worse = fallen(worse, "badge", 1, 6)  # the last round, and two in a row
    worse = fallen(worse, "margin", 2, 5)
    expected = [("badge", 1, 6), ("margin", 0, 3), ("margin", 2, 4), ("margin", 2, 5)]
    assert places(collapses.found(worse, "digits", "accuracy")) == expected
    # A dent of a few times the noise is none, and a low first round is where curves begin.
    curve = study.curves(metrics, "digits", SETTING, "margin", "test", "accuracy")
    dent = fallen(metrics, "margin", 0, 3, curve.scores[0, 2] - 0.02)
    assert collapses.found(dent, "digits", "accuracy").empty
    assert collapses.found(fallen(metrics, "margin", 0, 1), "digits", "accuracy").empty


def test_without_them_curves_are_read_between_neighbours(metrics):
    worse = fallen(fallen(metrics, "margin", 0, 3), "badge", 1, 6)
    found = collapses.found(worse, "digits", "accuracy")
    mended = collapses.mended(worse, found)
    own = study.curves(mended, "digits", SETTING, "margin", "test", "accuracy")
    whole = study.curves(metrics, "digits", SETTING, "margin", "test", "accuracy")
    between = np.interp(np.log(50), np.log([40, 60]), whole.scores[0, [1, 3]])
    assert own.scores[0, 2] == pytest.approx(between)
    assert np.array_equal(np.delete(own.scores, 2, axis=1), np.delete(whole.scores, 2, axis=1))
    # Nothing follows the last round: that trial is gone.
    assert study.curves(mended, "digits", SETTING, "badge", "test", "accuracy").trials.tolist() == [0, 2, 3, 4]


def test_verdicts_stand_with_and_without_them(metrics):
    """As on fMoW in the authors' results: one round in most runs made a strategy worse by four points."""
    worse = metrics
    for trial in range(4):
        worse = fallen(worse, "margin", trial, 3)
    table = comparisons.comparisons_table(worse, "digits", "accuracy", KINDS, EQUIVALENCE)
    plain = comparisons.comparisons_table(metrics, "digits", "accuracy", KINDS, EQUIVALENCE)

    def line(found, strategy):
        at = found["strategy"].eq(strategy) & found["reference"].eq("random") & found["split"].eq("test")
        return found[at].iloc[0]

    margin = line(table, "margin")
    assert margin["collapsed"] == 4
    assert margin["difference"] < 0
    assert margin["difference_without"] == pytest.approx(line(plain, "margin")["difference"], abs=0.004)
    assert margin["verdict_without"] == line(plain, "margin")["verdict"] != margin["verdict"]
    badge = line(table, "badge")
    assert (badge["collapsed"], badge["difference"]) == (0, badge["difference_without"])
    page = comparison_pages.page(table, EQUIVALENCE, "digits")
    shown = {name: [text for text, _ in cells] for heading, name, cells in page.lines if "test" in heading}
    without = f"{wording.points(margin['difference_without'])} {margin['verdict_without']}"
    assert f"{margin['verdict']} ¤ {without}" in shown["margin"]
    # Also where the verdict stays: the number does not.
    same = comparison_pages.page(table.assign(verdict="better", verdict_without="better"), EQUIVALENCE, "digits")
    assert sum("¤" in text for _, name, cells in same.lines if name == "margin" for text, _ in cells) == 2
    assert "trainings collapsed" in page.note
    text = findings.paragraphs(table, {SETTING: ("proxy", "")}, [], EQUIVALENCE)[0]
    assert "4 trainings of margin collapsed: without, " in text
    told = collapses.told(collapses.found(worse, "digits", "accuracy"))
    assert told == [
        "glyphclip, linear, flexmatch, margin: 4 trainings collapsed (round 3; 30.0 to 30.0 %, far below the rounds "
        "before and after)."
    ]
    # The summary speaks of what is left, and says so.
    judged = {SETTING: ("proxy", "")}
    over = comparisons.pooled(table, judged, EQUIVALENCE)
    own, other = (findings.headline("digits", t, over, judged) for t in (table, plain))
    assert re.sub(r"[−+]?[0-9.]+", "", own) == re.sub(r"[−+]?[0-9.]+", "", other)
    assert findings.caveats({"digits": table}, {})[0].startswith("Trainings collapsed in digits;")


def test_wins_ranks_and_figures_are_without_them_or_show_them(metrics):
    worse = metrics
    for trial in range(4):
        worse = fallen(worse, "margin", trial, 3)
    leads = {"digits": "accuracy"}
    wins, plain = (comparisons.wins_table(m, leads, KINDS, EQUIVALENCE) for m in (worse, metrics))
    pd.testing.assert_frame_equal(wins, plain)
    both, apart = (pd.concat([m, m[m["stage"] == "proxy"].assign(selector="shallow")]) for m in (worse, metrics))
    ranked, expected = (comparisons.ranking(m, leads, KINDS) for m in (both, apart))
    assert ranked.strategies == expected.strategies
    for figure, ends in (
        (figures.learning_curves(worse, "digits", "accuracy", KINDS), True),
        (figures.learning_curves(metrics, "digits", "accuracy", KINDS), False),
    ):
        marks = [text.get_text() for axis in figure.axes for text in axis.texts if text.get_text() == "¤"]
        assert bool(marks) == ends
        assert ("trainings collapsed" in [t.get_text() for t in figure.legends[0].get_texts()]) == ends
    drawn = figures.differences(worse, "digits", "accuracy", KINDS, EQUIVALENCE)
    assert "margin ¤" in [label.get_text() for label in drawn.axes[0].get_yticklabels()]


def test_pooled_settings_are_told_without_them_too(metrics):
    worse = metrics
    for trial in range(4):
        worse = fallen(worse, "margin", trial, 3)
    both = pd.concat([worse, metrics.assign(selector="shallow")])
    table = comparisons.comparisons_table(both, "digits", "accuracy", KINDS, EQUIVALENCE)
    judged = {SETTING: ("proxy", ""), ("glyphclip", "shallow", "flexmatch"): ("proxy", "")}
    found = comparisons.pooled(table, judged, EQUIVALENCE).set_index(["split", "strategy"])
    row = found.loc["test", "margin"]
    assert (row["settings"], row["of"], row["collapsed"]) == (2, 10, 4)
    assert row["difference_without"] > row["difference"] + 0.05
