import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labelbench.evidence import statistics


def rng(seed=0):
    return np.random.default_rng(seed)


# Means and intervals.


def test_estimate_is_the_textbook_interval():
    values = np.array([[0.91, 0.5], [0.93, 0.6], [0.90, 0.9], [0.95, 0.1]])
    found = statistics.estimate(values)
    for i in range(2):
        se = values[:, i].std(ddof=1) / 2
        low, high = stats.t.interval(0.95, 3, loc=values[:, i].mean(), scale=se)
        assert np.allclose(
            [found.mean[i], found.se[i], found.low[i], found.high[i]], [values[:, i].mean(), se, low, high]
        )


def test_one_trial_has_a_mean_and_no_interval():
    found = statistics.estimate([[0.9, 0.8]])
    assert found.mean.tolist() == [0.9, 0.8]
    assert np.isnan([found.se, found.low, found.high]).all()


def test_differences_are_paired():
    luck = rng().normal(0, 0.1, 5)
    gap = statistics.paired_difference(0.8 + luck + 0.01, 0.8 + luck)
    assert gap.mean == pytest.approx(0.01)
    assert gap.high - gap.low == pytest.approx(0, abs=1e-12)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=7))
def test_sign_flip_counts_all_assignments(differences):
    sums = [abs(np.dot(s, differences)) for s in itertools.product((-1, 1), repeat=len(differences))]
    expected = np.mean([s >= abs(sum(differences)) for s in sums])
    assert statistics.sign_flip_p(np.array(differences) / 10, rng()) == expected


def test_sign_flip_ties_survive_rounding():
    # 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in the last bit: all-plus and all-minus must both count.
    assert statistics.sign_flip_p([0.1, 0.2, 0.3, 0.7], rng()) == 2 / 16


def test_sign_flip_of_many_trials_is_close_to_exact(monkeypatch):
    differences = rng(3).normal(0.3, 1, 16)
    exact = statistics.sign_flip_p(differences, rng())
    monkeypatch.setattr(statistics, "EXACT_FLIPS", 10)
    drawn = statistics.sign_flip_p(differences, rng())
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / statistics.RANDOM_FLIPS))


# Areas under learning curves.


def test_aulc_is_the_integral_over_log_labels():
    labels = np.array([30, 40, 100, 1000])
    scores = np.array([[0.5, 0.6, 0.8, 0.9], [0.9, 0.2, 0.4, 0.4]])
    grid = np.linspace(np.log(30), np.log(1000), 400_001)
    expected = [np.interp(grid, np.log(labels), curve).mean() for curve in scores]
    assert np.allclose(statistics.aulc(labels, scores), expected, atol=1e-5)
    assert np.allclose(statistics.aulc(labels, np.full((2, 4), 0.7)), 0.7)
    assert np.isnan(statistics.aulc([30], [[0.5]])).all()


def test_aulc_is_no_running_maximum():
    # A lucky early round counts where it was measured and nowhere after it.
    labels = np.array([10, 20, 40, 80])
    lucky, plain = [0.5, 0.9, 0.6, 0.7], [0.5, 0.55, 0.6, 0.7]
    gap = statistics.aulc(labels, [lucky])[0] - statistics.aulc(labels, [plain])[0]
    assert gap == pytest.approx(0.35 / 3)
    maximum = np.maximum.accumulate([lucky], axis=1)
    assert statistics.aulc(labels, [lucky])[0] < statistics.aulc(labels, maximum)[0] - 0.05


# Many comparisons.


def test_holm_of_the_textbook():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.7]).tolist() == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_rejects_step_by_step(p_values):
    adjusted = statistics.holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for step, i in enumerate(np.argsort(p_values, kind="stable")):
            if p_values[i] * (len(p_values) - step) > alpha:
                break
            rejected.add(int(i))
        assert rejected == set(np.flatnonzero(adjusted <= alpha))


def test_unknown_p_values_are_no_part_of_the_family():
    assert statistics.holm([math.nan, 0.02, 0.5])[1:].tolist() == [0.04, 0.5]
    assert math.isnan(statistics.holm([math.nan])[0])


def test_p_of_students_t():
    differences = rng(4).normal(0.5, 1, 6)
    assert statistics.student_t_p(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert (statistics.student_t_p([0.1, 0.1]), statistics.student_t_p([0.0, 0.0])) == (0.0, 1.0)
    assert math.isnan(statistics.student_t_p([0.1]))


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (-0.1, 0.15, 0.5, "tie"),
        (0.01, 0.15, 0.01, "tie"),  # real, and too small to matter
        (0.1, 0.9, 0.01, "better"),
        (-0.9, -0.1, 0.01, "worse"),
        (0.1, 0.9, 0.08, "undecided"),  # not after correction for the other strategies
        (-0.1, 0.9, 0.01, "undecided"),
        (-0.3, 0.1, 0.5, "undecided"),
        (math.nan, math.nan, math.nan, ""),
    ],
)
def test_verdicts(low, high, p, expected):
    assert statistics.verdict(low, high, p, equivalence=0.2) == expected


# The bootstrap.


@pytest.mark.parametrize("n", [2, 4, 10])
def test_bootstrap_of_a_mean_is_students_interval(n):
    values = rng(n).normal(0.9, 0.02, n)
    draws = statistics.trial_weights(n, rng(), 2**17) @ values
    interval = statistics.estimate(values, level=0.8)
    assert np.quantile(draws, [0.1, 0.9]) == pytest.approx([interval.low, interval.high], rel=2e-3)
    assert np.allclose(statistics.trial_weights(n, rng(), 64).sum(axis=1), 1)


@pytest.mark.parametrize("n", [4, 5, 10])
def test_interval_of_the_difference_of_aulc_covers_the_truth(n):
    """In 4,000 draws of noisy curves. docs/statistics.md has what other intervals cover."""
    labels, draw = np.array([30, 40, 50, 60, 70, 80]), rng(n)
    truth = statistics.aulc(labels, [[0, 0.01, 0.02, 0.02, 0.02, 0.015]])[0]
    shape = (4000, n, len(labels))
    gaps = np.array([0, 0.01, 0.02, 0.02, 0.02, 0.015]) + draw.normal(0, 0.01, shape) - draw.normal(0, 0.01, shape)
    gaps[:, :, 0] = 0  # the shared first round
    found = statistics.estimate((gaps @ statistics.aulc_weights(labels)).T)
    assert 0.94 <= np.mean((found.low <= truth) & (truth <= found.high)) <= 0.96


# Ranks over settings.


def test_ranks_of_the_textbook():
    # Demšar (2006), table 6: the areas under the curve of four classifiers on 14 datasets.
    scores = np.array(
        [
            [0.763, 0.768, 0.771, 0.798],
            [0.599, 0.591, 0.590, 0.569],
            [0.954, 0.971, 0.968, 0.967],
            [0.628, 0.661, 0.654, 0.657],
            [0.882, 0.888, 0.886, 0.898],
            [0.936, 0.931, 0.916, 0.931],
            [0.661, 0.668, 0.609, 0.685],
            [0.583, 0.583, 0.563, 0.625],
            [0.775, 0.838, 0.866, 0.875],
            [1.000, 1.000, 1.000, 1.000],
            [0.940, 0.962, 0.965, 0.962],
            [0.619, 0.666, 0.614, 0.669],
            [0.972, 0.981, 0.9751, 0.975],
            [0.957, 0.978, 0.946, 0.970],
        ]
    )
    found = statistics.ranks(scores)
    assert found.mean == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=6e-4)
    # With as many blocks the approximation of the textbook is near.
    assert found.p == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue, abs=0.005)
    assert found.critical == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)


@pytest.mark.parametrize("blocks", [[[1, 2, 3], [1, 3, 2]], [[1, 2, 3], [1.5, 1.5, 3], [2, 1, 3]], [[1, 2, 3, 4]] * 2])
def test_friedmans_p_is_the_share_of_all_orders(blocks):
    """Visited one by one, all blocks permuted; drawn, the share is near."""

    def spread(rows):
        return ((np.sum(rows, axis=0) - np.sum(rows) / len(rows[0])) ** 2).sum()

    orders = itertools.product(*[list(itertools.permutations(block)) for block in blocks])
    share = np.mean([spread(rows) >= spread(blocks) - 1e-9 for rows in orders])
    assert statistics.friedman_p(blocks, rng()) == pytest.approx(share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "EXACT_ORDERS", 1)
        patch.setattr(statistics, "RANDOM_ORDERS", 20_000)
        assert statistics.friedman_p(blocks, rng()) == pytest.approx(share, abs=0.015)


def test_ranks_of_too_little():
    assert math.isnan(statistics.ranks([[0.3, 0.2, 0.1]]).critical)
    two = statistics.ranks([[0.3, 0.2], [0.1, 0.2]])
    assert two.mean.tolist() == [1.5, 1.5]
    assert math.isnan(two.p)
    assert statistics.ranks(np.ones((3, 3))).p == 1.0


def test_interval_of_a_deviation_covers_it():
    draw, freedom = np.random.default_rng(0), 6
    ends = [
        statistics.deviation_interval(sample.std(ddof=1), freedom) for sample in draw.normal(0, 2, (2000, freedom + 1))
    ]
    assert np.mean([low <= 2 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.015)


def studies_of_equal_strategies(draw, datasets, settings, strategies=7, shared=0.7):
    """Scores (datasets × settings, strategies) of equal strategies: a part of their luck is that of the dataset."""
    of_dataset = draw.normal(0, math.sqrt(shared), (datasets, 1, strategies))
    own = draw.normal(0, math.sqrt(1 - shared), (datasets, settings, strategies))
    return (of_dataset + own).reshape(-1, strategies), np.repeat(np.arange(datasets), settings)


@pytest.mark.parametrize(("datasets", "settings"), [(2, 3), (3, 4), (6, 3)])
def test_equal_strategies_are_seldom_told_apart_by_ranks(datasets, settings, monkeypatch):
    """Settings that share a dataset share its luck: taken for blocks, they would find differences in most studies."""
    monkeypatch.setattr(statistics, "EXACT_ORDERS", 10_000)
    monkeypatch.setattr(statistics, "RANDOM_ORDERS", 1_000)
    draw, studies = rng(5), 400
    wrong = {"friedman": 0, "nemenyi": 0, "settings as blocks": 0}
    for _ in range(studies):
        scores, groups = studies_of_equal_strategies(draw, datasets, settings)
        found, naive = statistics.ranks(scores, groups), statistics.ranks(scores)
        wrong["friedman"] += found.p < 0.05
        wrong["nemenyi"] += np.ptp(found.mean) > found.critical
        wrong["settings as blocks"] += naive.p < 0.05
    # The bounds are 5 % and two standard errors of 400 studies.
    assert wrong["friedman"] / studies <= 0.072
    assert wrong["nemenyi"] / studies <= 0.072
    assert wrong["settings as blocks"] / studies > 0.2


def test_settings_of_one_dataset_have_ranks_and_no_test():
    scores = rng(1).normal(size=(4, 5))
    found = statistics.ranks(scores, ["digits"] * 4)
    assert found.mean.tolist() == stats.rankdata(-scores, axis=1).mean(axis=0).tolist()
    assert np.isnan([found.p, found.critical]).all()
    # A dataset with many settings weighs as much as one with few.
    weighed = statistics.ranks(np.array([[3, 2, 1], [3, 2, 1], [3, 2, 1], [1, 2, 3]]), "aaab")
    assert weighed.mean.tolist() == [2, 2, 2]


def pooled_studies(settings, trials, shared, studies=1000):
    """Paired differences of equal strategies, lists of Series: settings share a part of their trials' luck."""
    draw = rng(7)
    for _ in range(studies):
        luck = draw.normal(0, math.sqrt(shared), (1, trials))
        yield [pd.Series(gap) for gap in luck + draw.normal(0, math.sqrt(1 - shared), (settings, trials))]


def claims(mean, se, freedom):
    return abs(mean) > stats.t.ppf(0.975, freedom) * se


@pytest.mark.parametrize(
    ("settings", "trials", "shared"), [(6, 2, 0.0), (6, 2, 0.5), (3, 4, 0.0), (3, 4, 0.5), (3, 4, 1.0)]
)
def test_pooled_settings_seldom_tell_equal_strategies_apart(settings, trials, shared):
    """With four trials whatever settings share, with two up to half of it; taken for independent, they often do."""
    wrong, naive, studies = 0, 0, 1000
    for gaps in pooled_studies(settings, trials, shared, studies):
        mean, se, freedom = statistics.pooled(gaps)
        assert mean == pytest.approx(np.mean(gaps))
        assert freedom == (trials - 1 if trials == 4 else settings * (trials - 1))
        wrong += claims(mean, se, freedom)
        whole = statistics.estimate(np.ravel(gaps))
        naive += whole.low > 0 or whole.high < 0
    assert wrong / studies <= 0.064  # 5 % and two standard errors
    if shared:
        assert naive / studies > 0.1


def test_pooled_trials_that_settings_do_not_share_are_no_unit():
    gaps = [pd.Series([0.1, 0.2, 0.3, 0.2]), pd.Series([0.1, 0.2, 0.4], index=[0, 1, 2])]
    mean, se, freedom = statistics.pooled(gaps)
    assert (mean, freedom) == (pytest.approx((gaps[0].mean() + gaps[1].mean()) / 2), 5)
    assert se == pytest.approx(math.hypot(*(gap.sem() for gap in gaps)) / math.sqrt(2))


def test_pooled_settings_find_what_two_trials_cannot():
    gaps = [pd.Series([0.006, 0.008]) + 0.0005 * i for i in range(6)]
    mean, se, freedom = statistics.pooled(gaps)
    assert statistics.student_t_p(gaps[0]) > 0.05
    assert abs(mean) > stats.t.ppf(0.999, freedom) * se
