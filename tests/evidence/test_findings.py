"""What a study says in words: every kind of sentence, the summary first, and pages that hold it all."""

import dataclasses
import math
import re

import numpy as np
import pandas as pd
import pytest

import synthetic_study
from labelbench.evidence import comparison_pages, comparisons, findings, statistics, wording
from labelbench.evidence.savings import UNKNOWN, Bounded, Savings
from synthetic_study import KINDS

SETTING = ("glyphclip", "linear", "flexmatch")
OTHER = ("glyphclip", "shallow", "flexmatch")
JUDGED = {SETTING: ("proxy", "")}
EQUIVALENCE = 0.002


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    metrics = synthetic_study.table(tmp_path_factory.mktemp("study"), datasets=("digits",), finetune=(), trials=4)
    return comparisons.comparisons_table(metrics, "digits", "accuracy", KINDS, EQUIVALENCE)


def told(table, **changes):
    """The rows on the test set against random sampling, margin's and badge's, with changes; pairs by strategy."""
    rows = table[(table["reference"] == "random") & (table["split"] == "test")].copy()
    for column, values in changes.items():
        rows[column] = pd.Series(list(values), index=rows.index, dtype=object)
    return rows


def paragraph(rows):
    return findings.paragraphs(rows, JUDGED, [], EQUIVALENCE)[0]


def headline(rows, judged=JUDGED):
    return findings.headline("digits", rows, comparisons.pooled(rows, judged, EQUIVALENCE), judged)


def savings(factor):
    return Savings(0.9, True, Bounded(factor), Bounded(1.1), Bounded(1.9), UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)


GAPS = {"difference": (0.012, 0.004), "low": (0.008, -0.003), "high": (0.016, 0.011)}


def test_a_winner_is_named_with_what_it_saves(table):
    rows = told(table, **GAPS, verdict=("better", "undecided"), savings=(savings(1.5), savings(1.2)))
    expected = (
        "digits: margin beats random sampling by +1.20 points of AULC [+0.80, +1.60] in test accuracy over 4 trials; "
    )
    saved = "at the highest score that both reach random sampling needs 1.5 [1.1, 1.9] times margin's labels."
    assert headline(rows) == expected + saved
    both = told(table, **GAPS, verdict=("better", "better"), savings=(None, None))
    assert headline(both).endswith("in test accuracy over 4 trials, and so does badge.")


def test_without_a_winner_the_direction_comes_first_and_then_what_is_missing(table):
    undecided = {"verdict": ("undecided",) * 2, "trials": (2, 2), "above": (2, 1), "of": (2, 2), "p_holm": (0.3, 0.9)}
    start = "digits: no strategy is shown to beat random sampling in test accuracy over 2 trials; margin comes nearest "
    start += "(+1.20 points of AULC [+0.80, +1.60], Holm p 0.30, above it in 2 of 2 trial differences)"
    for needed, luck, words in (
        (5.0, math.nan, "; 2 trials do not decide, 5 would if difference and spread stayed as they are."),
        (
            math.inf,
            math.nan,
            "; more than 100 trials would be needed if difference and spread stayed as they are.",
        ),
        (math.inf, 0.02, "; no number of trials would decide, for the test set is too small."),
        (math.nan, math.nan, "."),
    ):
        rows = told(table, **GAPS, **undecided, needed=(needed,) * 2, image_se=(luck,) * 2)
        assert headline(rows) == start + words
    rows = told(table, **GAPS, **undecided, needed=(5.0, 9.0), image_se=(math.nan,) * 2)
    text = paragraph(rows)
    assert "No strategy is shown to beat random sampling; margin lies above it in every trial; " in text
    assert "; for margin, 2 trials do not decide, 5 would if difference and spread stayed as they are." in text
    both = told(table, **GAPS, **(undecided | {"above": (2, 2)}), needed=(9.0, 5.0), image_se=(math.nan,) * 2)
    assert "margin and badge lie above it in every trial; for badge, 2 trials do not decide, 5 would" in paragraph(both)
    assert "not after correction for all strategies compared: margin (" in text
    assert "with zero in the interval: badge (" in text


def test_ties_one_trial_and_nothing_to_compare(table):
    ties = told(table, verdict=("tie", "tie"), difference=(0, 0), low=(-0.001,) * 2, high=(0.001,) * 2)
    assert headline(ties) == (
        "digits: all strategies tie with random sampling in test accuracy over 4 trials; choosing labels gains nothing."
    )
    single = told(table, low=(math.nan,) * 2, high=(math.nan,) * 2, verdict=("", ""))
    assert "one trial there are no intervals" in headline(single)
    assert headline(table[table["reference"] == ""]) == "digits: nothing was compared with random sampling."
    alone = table[table["reference"] == "random"].head(1).assign(strategy="random", reference="")
    assert "Nothing whole was run beside random sampling" in paragraph(alone)


def test_contradictions_are_explained(table):
    rows = told(table, **GAPS, verdict=("worse", "better"), savings=(savings(1.4), savings(0.8)))
    text = paragraph(rows)
    assert "worse on the way, better at the end)" in text
    assert "better on the way, worse at the end)" in text
    rows = told(table, **GAPS, verdict=("better", "better"), savings=(savings(0.8), savings(0.7)))
    assert headline(rows).endswith("needs 0.80 [1.1, 1.9] times margin's labels: better on the way, worse at the end.")


def test_against_margin_says_why_something_is_undecided(table):
    rows = table[(table["split"] == "test")].copy()
    at = rows["reference"].eq("margin") & rows["strategy"].eq("badge")
    for column, value in (("low", 0.001), ("high", 0.01), ("difference", 0.005), ("verdict", "undecided")):
        rows.loc[at, column] = value
    assert "Against margin, undecided after correction for all strategies compared: badge (" in paragraph(rows)
    rows.loc[at, "low"] = -0.01
    assert "Against margin, undecided, with zero in the interval: badge (" in paragraph(rows)


def test_digits_follow_the_width_of_the_interval():
    assert wording.interval(-0.00201, -0.002038, -0.001982) == "−0.2010 [−0.2038, −0.1982]"
    assert wording.interval(-0.00201, -0.0022, -0.0018) == "−0.201 [−0.220, −0.180]"
    assert wording.interval(0.012, 0.002, 0.022) == "+1.20 [+0.20, +2.20]"
    assert wording.interval(0.012, -0.153, 0.178) == "+1.2 [−15.3, +17.8]"
    assert wording.interval(0.012, math.nan, math.nan) == "+1.20"
    assert wording.interval(-0.002, -0.002, -0.002) == "−0.20 in every trial"
    # An end beside zero says on which side it lies.
    assert wording.interval(0.0031, -0.00002, 0.0061) == "+0.310 [−0.002, +0.610]"
    assert wording.interval(0.0031, 0.0, 0.0061) == "+0.31 [+0.00, +0.61]"
    assert wording.interval(0.0031, -1e-9, 0.0061) == "+0.31 [−0.00, +0.61]"
    # The same mean has the same digits, in whatever order it was summed.
    assert {wording.percent(x) for x in (0.97965, 0.97965 - 1e-16, 0.97965 + 1e-16)} == {"97.97"}
    assert (wording.percent(0.00625), wording.points(-0.00625)) == ("0.63", "−0.63")
    for width in (1e-6, 1e-4, 0.0007, 0.003, 0.2):
        low, high = (wording.points(x, wording.digits_of(width)) for x in (0.001, 0.001 + width))
        assert low != high or width < 1e-5


def test_factors_have_no_more_digits_than_their_interval_gives():
    for low, high, text in (
        (1.3, 1.6, "1.42× [1.30, 1.60]"),
        (0.8, 3.4, "1.4× [0.80, 3.4]"),
        (0.2, 14, "1.4× [0.20, 14]"),
    ):
        found = dataclasses.replace(savings(1.42), low=Bounded(low), high=Bounded(high))
        assert wording.savings(found) == text


def test_intervals_say_what_they_are_about(table):
    known = told(table, images=(597, 597), image_se=(0.003, 0.002), other_low=(0.004, -0.01), other_high=(0.02, 0.02))
    text = paragraph(known)
    assert "Intervals are about other images of this kind; on these 597 alone that of margin would be ±" in text
    assert "The test set shows no difference finer than ±0.39 points, so no tie either." in text
    assert "other images" not in paragraph(told(table))


def test_settings_are_taken_together_where_one_cannot_decide(table):
    """Two trials in each of six settings: no setting decides, all of them do."""
    rows, judged = [], {}
    for i in range(6):
        gaps = np.array([0.010, 0.014]) + 0.0003 * i
        gap = statistics.estimate(gaps)
        row = told(table, gaps=(gaps, -0.1 * gaps), paired=([0, 1], [0, 1])).assign(
            trainer=f"t{i}", trials=2, verdict="undecided"
        )
        row["difference"], row["low"], row["high"] = float(gap.mean), float(gap.low), float(gap.high)
        rows.append(row)
        judged["glyphclip", "linear", f"t{i}"] = ("proxy", "")
    rows = pd.concat(rows, ignore_index=True)
    found = comparisons.pooled(rows, judged, EQUIVALENCE).set_index("strategy")
    margin = found.loc["margin"]
    assert (margin["settings"], margin["above"], margin["of"], margin["verdict"]) == (6, 12, 12, "better")
    assert margin["p_holm"] == pytest.approx(2 * margin["p"])
    assert (found.loc["badge", "above"], found.loc["badge", "of"]) == (0, 12)
    text = findings.headline("digits", rows, found.reset_index(), judged)
    assert text.startswith("digits: margin beats random sampling by +1.28 points of AULC [")
    # Which is also said for trials that count once, as they would have to if settings shared all of their luck.
    assert "in test accuracy over 6 settings of 2 trials, if these share at most half of their luck (if all, [" in text
    alike = statistics.estimate(np.mean([rows["gaps"][2 * i] for i in range(6)], axis=0))
    assert (margin["alike_low"], margin["alike_high"]) == pytest.approx((alike.low, alike.high))
    assert "]) (by itself in 0 of the 6)" in text
    page = comparison_pages.page(pd.concat([rows, found.reset_index()]), EQUIVALENCE, "digits")
    assert f"{comparisons.POOLED}: test accuracy" in {heading for heading, _, _ in page.lines}
    assert "All settings: the mean difference over the settings" in page.note
    assert "With fewer than 4 trials that all have" in page.note and "Each trial counts once" not in page.note
    families = 6 + 1
    assert f"The page has {len(rows) + len(found)} tests in {families} such families" in page.note
    assert not any(name == wording.NOISE and heading.startswith(comparisons.POOLED) for heading, name, _ in page.lines)


def test_with_four_trials_a_trial_counts_once_over_settings(table):
    draw = np.random.default_rng(5)
    gaps = draw.normal(0.004, 0.001, (3, 4)) + draw.normal(0, 0.002, 4)
    rows = pd.concat(
        [
            told(table, gaps=(gap, -gap), paired=(range(4), range(4))).assign(trainer=f"t{i}", trials=4)
            for i, gap in enumerate(gaps)
        ],
        ignore_index=True,
    )
    judged = {("glyphclip", "linear", f"t{i}"): ("proxy", "") for i in range(3)}
    found = comparisons.pooled(rows, judged, EQUIVALENCE).set_index("strategy")
    expected = statistics.estimate(gaps.mean(axis=0))
    margin = found.loc["margin"]
    assert (margin["low"], margin["high"]) == pytest.approx((expected.low, expected.high))
    assert margin["p"] == pytest.approx(statistics.student_t_p(gaps.mean(axis=0)))
    assert margin["needed"] > 4 or margin["p_holm"] < 0.05
    page = comparison_pages.page(pd.concat([rows, found.reset_index()]), EQUIVALENCE, "digits")
    assert "Each trial counts once, with its mean over the settings" in page.note
    assert "With fewer than 4 trials that all have" not in page.note


def test_the_summary_is_short():
    headlines = {f"d{i}": f"d{i}: something." for i in range(14)}
    ranking = comparisons.Ranking(
        ["margin", "badge", "random"], statistics.Ranks(np.array([1.1, 2.0, 2.9]), 0.01, 1.2), 21, 5, []
    )
    found = findings.summary(headlines, ranking, ["A caveat.", "Another."])
    assert len(found) == findings.MOST
    assert found[6] == "The table below has 8 datasets more."
    assert found[7] == (
        "Of the 3 strategies that were run in all 21 settings compared, margin has the best mean rank (ranked within a "
        "dataset first), 1.1; over 5 datasets of other images it is shown to rank before random."
    )
    again = findings.summary({"a": "a: x.", "b": "b: y."}, None, [], {"a": "photos", "b": "photos"})
    assert again == ["a: x.", "b: y. (These are the images of a again, not others that bear it out.)"]
    untested = comparisons.Ranking(
        ["margin", "random"], statistics.Ranks(np.array([1, 2]), math.nan, math.nan), 3, 1, []
    )
    assert "there is no test of ranks" in findings.summary({}, untested, [])[0]
    unpaired = comparisons.Ranking(["margin", "random"], statistics.Ranks(np.array([1.4, 1.6]), 0.02, 1.0), 3, 2, [])
    assert findings.summary({}, unpaired, [])[0].endswith("before any, though they are not all equal (p 0.020).")
    alike = comparisons.Ranking(["margin", "random"], statistics.Ranks(np.array([1.4, 1.6]), 0.7, 1.0), 3, 2, [])
    assert findings.summary({}, alike, [])[0].endswith("it is not shown to rank before any.")


def test_caveats_are_told(table):
    assert findings.caveats({"digits": table}, {"digits": ["a", "b"]}) == [
        "What was left out, or is not known of the runs, is told below (2 notes).",
        "All intervals are about these very test images: which of them each model got right was not kept.",
    ]
    known = table.assign(test="images")
    assert findings.caveats({"digits": known}, {}) == []
    assert findings.caveats({"digits": known, "letters": table}, {}) == [
        "Where it was not kept which test images each model got right, intervals are about these very images."
    ]
    assert findings.caveats({"digits": known.assign(collapsed=1)}, {}) == [
        "Trainings collapsed in digits; this summary, and the table below it, are without them."
    ]


def test_pages_begin_with_the_summary_and_fold_the_rest(table):
    texts = {"digits": findings.paragraphs(table, JUDGED, ["A note."], EQUIVALENCE)}
    about, overview = findings.note(KINDS, EQUIVALENCE), findings.overview({"digits": table}, {"digits": JUDGED})
    assert {name for _, name, _ in overview.lines} == {f"{' · '.join(SETTING)}: {split}" for split in ("test", "pool")}
    page = findings.to_html(texts, about, ["First of all."], overview)
    assert page.index("First of all.") < page.index("<table>") < page.index("<details>") < page.index("A note.")
    assert len(re.findall("<details>", page)) == 1
    text = findings.to_text(texts, about, ["First of all."], overview)
    assert text.splitlines()[2] == "* First of all."
    assert max(len(line) for line in text.splitlines() if "  " not in line) <= 110
