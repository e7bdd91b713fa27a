"""Whole curves compared: the table, wins and ranks, the noise floor, and what is said about them."""

import io
import math
import re

import numpy as np
import pandas as pd
import pytest

import synthetic_study
from labelbench.evidence import (
    comparison_pages,
    comparisons,
    findings,
    noise,
    pages,
    statistics,
    study,
    tables,
    typeset,
    wording,
)
from labelbench.evidence.savings import label_savings
from synthetic_study import KINDS

SETTING = ("glyphclip", "linear", "flexmatch")
STRATEGIES = ("random", "margin", "badge", "entropy", "coreset")
LEADS = {"digits": "accuracy", "digits_longtail": "balanced_accuracy"}
EQUIVALENCE = 0.002


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return synthetic_study.table(folder, strategies=STRATEGIES, finetune=(), trials=5)


@pytest.fixture(scope="module")
def digits(metrics):
    return comparisons.comparisons_table(metrics, "digits", "accuracy", KINDS, EQUIVALENCE)


def curves(metrics, strategy, split="test", metric="accuracy"):
    return study.curves(metrics, "digits", SETTING, strategy, split, metric)


def line(table, strategy, reference="random", split="test"):
    keys = {"strategy": strategy, "reference": reference, "split": split}
    found = table[np.logical_and.reduce([table[k] == v for k, v in keys.items()])]
    assert len(found) == 1
    return found.iloc[0]


# The table.


def test_differences_are_of_areas_and_paired(metrics, digits):
    areas = {s: statistics.aulc(curves(metrics, s).labels, curves(metrics, s).scores) for s in STRATEGIES}
    for reference in ("random", "margin"):
        for strategy in STRATEGIES:
            if strategy == reference:
                continue
            found, gap = line(digits, strategy, reference), areas[strategy] - areas[reference]
            expected = statistics.estimate(gap)
            assert found["difference"] == pytest.approx(expected.mean)
            assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
            assert found["p_sign_flip"] == statistics.sign_flip_p(gap, None)
            assert found["aulc"] == pytest.approx(areas[strategy].mean())
    assert len(digits) == 2 * 2 * 4  # references, splits, strategies


def test_all_comparisons_of_a_dataset_may_be_one_family(metrics, digits):
    together = comparisons.comparisons_table(metrics, "digits", "accuracy", KINDS, EQUIVALENCE, None, "dataset")
    assert together["p_holm"].tolist() == pytest.approx(statistics.holm(together["p"]).tolist())
    assert (together["p_holm"] >= digits["p_holm"] - 1e-12).all() and (together["p_holm"] > digits["p_holm"]).any()
    for _, block in digits.groupby(["split", "reference"]):
        assert block["p_holm"].tolist() == pytest.approx(statistics.holm(block["p"]).tolist())
    note = comparison_pages.note(digits, EQUIVALENCE)
    assert "The page has 16 tests in 4 such families" in note
    note = comparison_pages.note(together, EQUIVALENCE, "dataset")
    assert "Corrected by Holm for all 16 tests of single settings together." in note
    assert "all comparisons of a dataset together" in findings.note(KINDS, EQUIVALENCE, "dataset")


def test_curves_of_other_numbers_of_labels_are_read_in_between(metrics):
    """As a strategy that bought one label more in each round than the others."""
    random, margin = curves(metrics, "random"), curves(metrics, "margin")
    same = study.shared(margin, random)
    assert [c.labels.tolist() for c in same] == 2 * [random.labels.tolist()]
    assert np.array_equal(same[0].scores, margin.scores) and np.array_equal(same[1].scores, random.scores)
    shifted = study.Curves(margin.trials[1:], margin.rounds, margin.labels + (margin.rounds > 1), margin.scores[1:])
    own, other = study.shared(shifted, random)
    assert np.array_equal(own.labels, other.labels) and own.trials.tolist() == other.trials.tolist() == [1, 2, 3, 4]
    expected = sorted({*random.labels.tolist(), *shifted.labels[:-1].tolist()})
    assert own.labels.tolist() == expected
    # Each keeps its own rounds, and its area.
    assert np.array_equal(other.scores[:, np.isin(own.labels, random.labels)], random.scores[1:])
    assert np.array_equal(own.scores[:, np.isin(own.labels, shifted.labels)], shifted.scores[:, :-1])
    area = statistics.aulc(other.labels, other.scores)
    assert area == pytest.approx(statistics.aulc(random.labels, random.scores[1:]))
    beyond = random.labels[-1] + np.array([10, 20])
    far = study.Curves(margin.trials, margin.rounds[:2], beyond, margin.scores[:, :2])
    assert study.shared(far, random)[0].scores.shape == (5, 0)


def test_tests_are_corrected_for_all_strategies_of_the_block(digits):
    block = digits[(digits["reference"] == "random") & (digits["split"] == "test")]
    # With 5 trials the sign-flip test cannot go below 1/16: Student's stands in.
    assert set(block["test"]) == {"t"}
    assert block["p_holm"].tolist() == pytest.approx(statistics.holm(block["p"]).tolist())
    assert (block["p_holm"] > block["p"]).any()
    for found in block.itertuples():
        assert found.verdict == statistics.verdict(found.low, found.high, found.p_holm, EQUIVALENCE)


def test_enough_trials_take_the_exact_test(tmp_path):
    metrics = synthetic_study.table(tmp_path, datasets=("digits",), trials=8, finetune=(), zero_shot=None)
    table = comparisons.comparisons_table(metrics, "digits", "accuracy", KINDS, EQUIVALENCE)
    assert set(table["test"]) == {"sign flip"}
    assert (table["p"] == table["p_sign_flip"]).all()
    # Rows without a reference were not tested.
    alone = comparisons.comparisons_table(
        metrics[metrics["strategy"] != "margin"], "digits", "accuracy", KINDS, EQUIVALENCE
    )
    assert "p: exact sign-flip test" in comparison_pages.page(alone, EQUIVALENCE, "digits").note
    mixed = comparison_pages.page(pd.concat([table, table.assign(test="t", trials=5)]), EQUIVALENCE, "digits").note
    assert "p: paired t test, or, in families of fewer tests" in mixed
    assert "cannot fall below 0.0625 with 5 trials" in mixed


def test_upper_bounds_are_no_part_of_the_family(metrics):
    table = comparisons.comparisons_table(metrics, "digits", "accuracy", KINDS | {"badge": "upper bound"}, EQUIVALENCE)
    block = table[(table["reference"] == "random") & (table["split"] == "test")].set_index("strategy")
    others = block.drop(index="badge")
    assert others["p_holm"].tolist() == pytest.approx(statistics.holm(others["p"]).tolist())
    assert block.loc["badge", "p_holm"] == block.loc["badge", "p"]


def test_savings_are_those_of_the_library(metrics, digits):
    own, other = curves(metrics, "margin"), curves(metrics, "random")
    expected = label_savings(own.labels, own.scores, other.labels, other.scores, statistics.bootstrap())
    assert line(digits, "margin")["savings"] == expected
    assert pd.isna(line(digits, "badge", "margin")["savings"])


def test_unequal_curves_are_paired_on_what_both_have(metrics):
    gone = (metrics["strategy"] == "badge") & ((metrics["trial"] == 2) | (metrics["round"] == 4))
    table = comparisons.comparisons_table(metrics[~gone], "digits", "accuracy", KINDS, EQUIVALENCE)
    found = line(table, "badge")
    assert (found["trials"], found["rounds"], found["num_labels"]) == (4, 5, 80)
    at, areas = [0, 1, 3, 4], []
    for strategy, among in (("badge", [0, 1, 2, 4, 5]), ("random", range(6))):
        whole = curves(metrics, strategy)
        areas.append(statistics.aulc(whole.labels[among], whole.scores[at][:, among]))
    assert found["difference"] == pytest.approx((areas[0] - areas[1]).mean())
    assert line(table, "entropy")["trials"] == 5


def test_without_references_there_are_areas_and_no_claims(metrics):
    part = metrics[metrics["strategy"].isin(("badge", "entropy"))]
    table = comparisons.comparisons_table(part, "digits", "accuracy", KINDS, EQUIVALENCE)
    assert set(table["reference"]) == {""}
    page = comparison_pages.page(table, EQUIVALENCE, "digits")
    assert page.names == ["AULC, % ± SE"]
    told = findings.paragraphs(table, {SETTING: ("proxy", "")}, [], EQUIVALENCE)
    assert all("Random sampling was not run" in text for text in told)


def test_one_trial_claims_nothing(metrics):
    table = comparisons.comparisons_table(metrics[metrics["trial"] == 0], "digits", "accuracy", KINDS, EQUIVALENCE)
    assert set(table["verdict"]) == {""}
    told = findings.paragraphs(table, {SETTING: ("proxy", "")}, [], EQUIVALENCE)
    assert all("nothing can be claimed" in text for text in told)
    texts = typeset.to_html(comparison_pages.page(table, EQUIVALENCE, "digits")), comparisons.to_csv(table)
    assert all("one trial" in text and "1 paired" not in text for text in (*told, texts[0]))
    assert all("nan" not in text.split("<script>")[0].lower() for text in texts)


def test_one_round_has_no_curves(metrics):
    table = comparisons.comparisons_table(metrics[metrics["round"] == 6], "digits", "accuracy", KINDS, EQUIVALENCE)
    assert table.empty
    assert "no curves to compare" in comparison_pages.page(table, EQUIVALENCE, "digits").note
    assert comparisons.to_csv(table).startswith("dataset,")
    assert findings.paragraphs(table, {SETTING: ("proxy", "")}, [], EQUIVALENCE)[0].startswith("Nothing was compared")


def test_nothing_is_smoothed_by_a_running_maximum(metrics, digits):
    # Chance gives a test score in the middle a lift that later rounds do not have.
    lifted = (metrics["strategy"] == "margin") & (metrics["round"] == 3) & (metrics["split"] == "test")
    high = metrics.assign(value=metrics["value"].where(~lifted, metrics["value"] + 0.05))
    table = comparisons.comparisons_table(high, "digits", "accuracy", KINDS, EQUIVALENCE)
    weight = statistics.aulc_weights([30, 40, 50, 60, 70, 80])[2]
    assert line(table, "margin")["aulc"] - line(digits, "margin")["aulc"] == pytest.approx(0.05 * weight)
    before, after = (tables.final_table(m, "digits", "accuracy", KINDS) for m in (metrics, high))
    assert before["mean"].tolist() == after["mean"].tolist()


def test_every_format_holds_every_cell(digits):
    page = comparison_pages.page(digits, EQUIVALENCE, "digits")
    assert sum(span for _, span in page.spans) == len(page.names)
    assert all(len(cells) == len(page.names) for _, _, cells in page.lines)
    found = pd.read_csv(io.StringIO(comparisons.to_csv(digits)))
    assert len(found) == len(digits)
    margin = found[(found["strategy"] == "margin") & (found["split"] == "pool")].iloc[0]
    assert margin["difference (points)"] == pytest.approx(
        100 * line(digits, "margin", split="pool")["difference"], rel=1e-5
    )
    low, high = (wording.points(line(digits, "margin")[end]) for end in ("low", "high"))
    assert f"[{low}, {high}]" in typeset.to_html(page)
    assert typeset.to_latex(page).isascii()


# Over settings.


def test_wins_are_counted_over_settings(metrics):
    table = comparisons.wins_table(metrics, LEADS, KINDS, EQUIVALENCE).set_index(["strategy", "against"])
    assert set(table["settings"]) == {2}
    expected = 0
    for dataset, metric in LEADS.items():
        areas, pairs = {}, []
        for strategy in STRATEGIES:
            found = study.curves(metrics, dataset, SETTING, strategy, "test", metric)
            areas[strategy] = statistics.aulc(found.labels, found.scores)
        for i, first in enumerate(STRATEGIES):
            for second in STRATEGIES[i + 1 :]:
                gap = areas[first] - areas[second]
                pairs.append((first, second, statistics.estimate(gap), statistics.student_t_p(gap)))
        adjusted = statistics.holm([p for *_, p in pairs])
        at = next(i for i, pair in enumerate(pairs) if pair[:2] == ("margin", "coreset"))
        gap = pairs[at][2]
        expected += statistics.verdict(gap.low, gap.high, adjusted[at], EQUIVALENCE) == "better"
    assert table.loc[("margin", "coreset"), "wins"] == expected > 0
    assert table.loc[("coreset", "margin"), "wins"] == 0
    page = comparison_pages.wins_page(comparisons.wins_table(metrics, LEADS, KINDS, EQUIVALENCE), KINDS, EQUIVALENCE)
    assert page.lines[1][2][4][0].startswith(f"{expected} of 2")
    assert page.lines[0][2][0][0] == wording.NONE


def test_ranks_are_those_of_the_areas(metrics):
    found = comparisons.ranking(metrics, LEADS, KINDS | {"badge": "upper bound"})
    assert found.settings == 2
    assert set(found.strategies) == set(STRATEGIES) - {"badge"}
    assert found.strategies[-1] == "coreset"
    assert found.ranks.mean.tolist() == sorted(found.ranks.mean)
    assert found.left_out == []
    page = comparison_pages.ranks_page(comparisons.ranking(metrics, LEADS, KINDS), KINDS)
    assert "No two can lie that far apart" in page.note
    assert found.groups == 2
    # Two datasets of the same images are no two blocks: mean ranks, and no test.
    images = dict.fromkeys(LEADS, "digits")
    alike = comparisons.ranking(metrics, LEADS, KINDS, images)
    assert (alike.settings, alike.groups) == (2, 1)
    assert math.isnan(alike.ranks.p) and math.isnan(alike.ranks.critical)
    assert "There is no test and no critical difference" in comparison_pages.ranks_page(alike, KINDS).note
    assert set(comparisons.ranks_table(alike)["independent_datasets"]) == {1}


def test_ranks_name_settings_and_strategies_that_they_leave_out(metrics):
    """As where a setting of other people's results has random sampling alone, and a strategy was run here and there."""
    alone = metrics[(metrics["dataset"] == "digits") & (metrics["strategy"] == "random")]
    lacking = metrics[(metrics["dataset"] != "digits_longtail") | (metrics["strategy"] != "badge")]
    found = comparisons.ranking(pd.concat([lacking, alone.assign(selector="shallow")]), LEADS, KINDS)
    assert found.settings == 2
    assert set(found.strategies) == set(STRATEGIES) - {"badge"}
    note = comparison_pages.ranks_page(found, KINDS).note
    assert "fewer than 3 strategies, or no trials or labels shared: digits · glyphclip · shallow" in note
    assert "not run in all of these settings: badge." in note
    # Where no three were run everywhere, two are ranked where they were.
    few = {"digits": ("random", "margin", "badge"), "digits_longtail": ("random", "margin", "coreset")}
    part = pd.concat([metrics[(metrics["dataset"] == d) & metrics["strategy"].isin(few[d])] for d in few])
    pair = metrics[(metrics["dataset"] == "digits") & metrics["strategy"].isin(("random", "margin"))]
    found = comparisons.ranking(pd.concat([part, pair.assign(selector="shallow")]), LEADS, KINDS)
    assert (set(found.strategies), found.settings) == ({"random", "margin"}, 3)


def test_ranks_are_of_the_trials_that_all_have(metrics):
    """A trial that helps one strategy does not count where another has lost it."""
    digits, trial = metrics["dataset"] == "digits", metrics["trial"] == 0
    lucky = digits & trial & (metrics["strategy"] == "coreset") & (metrics["split"] == "test")
    table = metrics.assign(value=metrics["value"] + np.where(lucky, 10.0, 0.0))
    assert comparisons.ranking(table, LEADS, KINDS).strategies[-1] != "coreset"
    table = table[~(digits & trial & (metrics["strategy"] == "margin"))]
    assert comparisons.ranking(table, LEADS, KINDS).strategies[-1] == "coreset"


def test_upper_bounds_win_nothing(metrics):
    table = comparisons.wins_table(metrics, LEADS, KINDS | {"badge": "upper bound"}, EQUIVALENCE)
    assert "badge" not in {*table["strategy"], *table["against"]}


# The noise floor.


def replicated(metrics, sd, replicates=3, rounds=(1, 6)):
    """The table with replicates of random's models whose scores differ from theirs by normal noise."""
    own = metrics[(metrics["strategy"] == "random") & metrics["round"].isin(rounds) & (metrics["stage"] == "proxy")]
    own, draw = own[own["split"] != ""], np.random.default_rng(0)
    again = [
        own.assign(stage=f"replicate{i + 1}", pair="x", value=own["value"] + draw.normal(0, sd, len(own)))
        for i in range(replicates)
    ]
    return pd.concat([metrics, *again])


def test_noise_is_pooled_over_trials(metrics):
    table = replicated(metrics, 0.01, replicates=2)
    found = noise.measured(table, "digits", SETTING, "test", "accuracy")
    assert found.labels.tolist() == [30, 80]
    assert found.freedom == 2 * 5 * 2
    for at, round_ in enumerate((1, 6)):
        keys = (table["round"] == round_) & (table["strategy"] == "random") & (table["dataset"] == "digits")
        rows = table[keys & (table["split"] == "test") & (table["metric"] == "accuracy")]
        variances = rows.groupby("trial")["value"].var(ddof=1)
        assert found.sd[at] == pytest.approx(math.sqrt(variances.mean()))
    assert noise.measured(metrics, "digits", SETTING, "test", "accuracy") is None


def test_noise_of_predictions_in_the_pool_is_measured(metrics):
    table = replicated(metrics, 0.01)
    predicted = table["metric"] == "pool_model_accuracy"
    assert predicted.any()
    found = noise.measured(table, "digits", SETTING, study.MODEL_POOL, "pool_model_accuracy")
    assert found.labels.tolist() == [30, 80]


def apart(metrics, seen):
    """The table where each strategy trained its first models itself; seen: by strategy, which draw of noise it has."""
    first = (metrics["round"] == 1) & (metrics["split"] != "") & (metrics["stage"] == "proxy")
    draws = np.random.default_rng(3).normal(0, 0.01, (3, first.sum() // len(STRATEGIES)))
    parts = [metrics[~first]]
    for strategy, draw in seen.items():
        own = metrics[first & (metrics["strategy"] == strategy)]
        parts.append(own.assign(value=own["value"] + draws[draw, : len(own)]))
    return pd.concat(parts)


def test_first_rounds_trained_apart_measure_noise_and_the_same_model_counts_once(metrics):
    """Scores that are the same to the last bit are one training, however many strategies show it."""
    twice = apart(metrics, dict(zip(STRATEGIES, (0, 0, 1, 1), strict=False)))
    found = noise.measured(twice, "digits", SETTING, "test", "accuracy")
    rows = twice[twice["round"].eq(1) & twice["dataset"].eq("digits") & twice["stage"].eq("proxy")]
    rows = rows[rows["split"].eq("test") & rows["metric"].eq("accuracy")]
    variances = rows.groupby("trial")["value"].agg(lambda values: np.var(values.unique(), ddof=1))
    assert (found.labels.tolist(), found.freedom) == ([30], len(variances))
    assert found.sd[0] == pytest.approx(math.sqrt(variances.mean()))
    # Two models that happen to have the same accuracy are two, by all that else was measured of them.
    same = twice["split"].eq("test") & twice["metric"].eq("accuracy") & twice["round"].eq(1)
    alike = noise.measured(twice.assign(value=twice["value"].where(~same, 0.9)), "digits", SETTING, "test", "accuracy")
    assert (alike.sd[0], alike.freedom) == (0.0, len(variances))
    assert noise.measured(apart(metrics, dict.fromkeys(STRATEGIES, 0)), "digits", SETTING, "test", "accuracy") is None


def test_noise_of_the_first_round_is_not_taken_for_that_of_the_last(metrics):
    twice = apart(metrics, dict(zip(STRATEGIES, (0, 0, 1, 1), strict=False)))
    table = comparisons.comparisons_table(twice, "digits", "accuracy", KINDS, EQUIVALENCE)
    assert table["noise"].isna().all()
    assert set(table["noise_labels"]) == {30}
    sd = noise.measured(twice, "digits", SETTING, "test", "accuracy").sd[0]
    page = comparison_pages.page(table, EQUIVALENCE, "digits")
    assert {cells[1][0] for _, name, cells in page.lines if name == wording.NOISE} == {"first round only"}
    assert "Training noise was measured after the first round only: " in page.note
    text = findings.paragraphs(table, {SETTING: ("proxy", "")}, [], EQUIVALENCE)[0]
    assert f"known of the first round only: a score after 30 labels spreads by ±{100 * sd:.2f} points [" in text
    final = tables.final_table(twice, "digits", "accuracy", KINDS)
    assert final["noise"].isna().all()
    floor = noise.Noise(np.array([30, 80]), np.array([0.02, 0.01]), 10)
    assert np.isnan(floor.at([25, 27.5, 30, 80, 87, 90])).tolist() == [True, False, False, False, False, True]


@pytest.mark.parametrize("later", [0, 1])
def test_noise_of_a_difference_is_what_simulation_gives(later):
    """Also where one strategy bought a label more in each round, and is read in between."""
    labels, draw, trials = np.array([30, 40, 50, 80]), np.random.default_rng(2), np.arange(20_000)
    floor, sides = noise.Noise(np.array([30, 80]), np.array([0.02, 0.01]), 10), []
    for counts in (labels, labels + later * (labels > 30)):
        scores = draw.normal(0, floor.at(counts), (len(trials), 4))
        if sides:
            scores[:, 0] = sides[0].scores[:, 0]  # the first model is shared
        sides.append(study.Curves(trials, np.arange(1, 5), counts, scores))
    own, other = study.shared(*sides)
    gaps = statistics.aulc(own.labels, own.scores) - statistics.aulc(other.labels, other.scores)
    expected = gaps.std() / 2  # of a mean over 4 trials
    assert floor.of_difference(comparisons._models(*sides, own.labels), 4) == pytest.approx(expected, rel=0.02)


def test_replicates_change_no_score(metrics, digits):
    table = comparisons.comparisons_table(replicated(metrics, 0.05), "digits", "accuracy", KINDS, EQUIVALENCE)
    same = [column for column in table if not column.startswith("noise")]
    pd.testing.assert_frame_equal(table[same], digits[same])
    assert table["noise"].notna().all()
    page = comparison_pages.page(table, EQUIVALENCE, "digits")
    shown = [cells[1][0] for _, name, cells in page.lines if name == "training noise"]
    assert all(re.fullmatch(r"±\d\.\d\d", text) for text in shown)
    without = comparison_pages.page(digits, EQUIVALENCE, "digits")
    assert {cells[1][0] for _, name, cells in without.lines if name == "training noise"} == {"not measured"}
    assert "was not measured" in without.note
    before, after = (tables.final_table(m, "digits", "accuracy", KINDS) for m in (metrics, replicated(metrics, 0.05)))
    assert before["mean"].tolist() == after["mean"].tolist()
    assert not any(name == wording.NOISE for _, name, _ in pages.final_page(before).lines)
    shown = [cells for _, name, cells in pages.final_page(after).lines if name == wording.NOISE]
    floor = noise.measured(replicated(metrics, 0.05), "digits", SETTING, "test", "accuracy")
    assert [cells[1][0] for cells in shown] == [f"±{100 * floor.sd[1] * math.sqrt(2 / 5):.2f}"]


# What the study says.


def test_every_claim_has_its_interval(digits):
    told = findings.paragraphs(digits, {SETTING: ("proxy", "")}, ["A note."], EQUIVALENCE)
    assert len(told) == 3
    assert told[-1] == "A note."
    for text, split in zip(told, ("test", "pool"), strict=False):
        assert text.startswith(f"{split.capitalize()} accuracy of linear models")
        rows = digits[digits["split"] == split]
        for found in rows.itertuples():
            low, high = wording.points(found.low), wording.points(found.high)
            gap = f"{wording.points(found.difference)} [{low}, {high}]"
            if found.reference == "random" or found.strategy != "random":
                assert f"{found.strategy} ({gap}" in text
        # Numbers without an interval say nothing: each point and each factor is followed by one.
        for number in re.findall(r"[+−]\d+\.\d+(?! \[|[\d,\]])|×(?! \[)", text):
            pytest.fail(f"no interval after {number!r}")
        assert "not measured" in text


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("better", "Better than random sampling: badge ("),
        ("worse", "Worse than random"),
        ("tie", "a tie (the interval"),
    ],
)
def test_verdicts_in_words(digits, verdict, words):
    table = digits[(digits["strategy"] == "badge") & (digits["reference"] == "random")].assign(verdict=verdict)
    told = findings.paragraphs(table, {SETTING: ("proxy", "")}, [], EQUIVALENCE)
    assert all(words in text for text in told)
    assert all(("No strategy is shown to beat" in text) == (verdict != "better") for text in told)


def test_undecided_is_said_and_marks_are_kept(digits):
    table = digits[digits["reference"] == "random"]
    table = table.assign(verdict="undecided", kind=["sequential", "upper bound", "batch", "batch"] * 2)
    table = table.assign(low=[-0.01, -0.01, -0.01, 0.001] * 2, p_holm=0.08)
    text = findings.paragraphs(table, {SETTING: ("proxy", "")}, [], EQUIVALENCE)[0]
    assert "Undecided, with zero in the interval: margin † (" in text
    assert "but not after correction for all strategies compared: coreset (" in text
    assert "An upper bound, which sees labels that nobody bought: badge ‡ (" in text
    note = findings.note({"margin": "sequential", "badge": "upper bound"}, EQUIVALENCE)
    assert "†" in note
    assert "‡" in note


def test_the_page_is_whole_and_escaped(digits):
    told = {"a<b": findings.paragraphs(digits, {SETTING: ("proxy", "")}, [], EQUIVALENCE)}
    page = findings.to_html(told, findings.note(KINDS, EQUIVALENCE))
    assert "a&lt;b" in page
    assert "<script" not in page
    assert page.count("<p>") == 3
    text = findings.to_text(told, findings.note(KINDS, EQUIVALENCE))
    assert max(map(len, text.splitlines())) <= 110
