import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelbench.evidence import savings, statistics
from labelbench.evidence.savings import Bounded, label_savings, labels_saved, savings_curve

scores = st.floats(0, 1, allow_nan=False)


def rng(seed=0):
    return np.random.default_rng(seed)


def power_law(labels, gain, amount=0.3):
    return 1 - amount * (labels / labels[0]) ** -0.8 / (1 + gain * (1 - labels[0] / labels))


# Plain references.


def isotonic_by_merging(curve):
    """Pool adjacent violators, one block at a time."""
    blocks = []
    for value in curve:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (a, m), (b, n) = blocks[-2:]
            blocks[-2:] = [[(a * m + b * n) / (m + n), m + n]]
    return [value for value, count in blocks for _ in range(count)]


def reach_on_a_grid(labels, fitted, target):
    grid = np.exp(np.linspace(np.log(labels[0]), np.log(labels[-1]), 200_001))
    reached = np.interp(np.log(grid), np.log(labels), fitted) >= target - 1e-12
    return grid[np.argmax(reached)] if reached.any() else grid[-1]


def factor_on_a_grid(labels, curve, random_curve, target=None):
    fits = [isotonic_by_merging(c) for c in (curve, random_curve)]
    target = min(f[-1] for f in fits) if target is None else target
    own, other = (reach_on_a_grid(labels, f, target) for f in fits)
    return other / own


def mean_factor_on_a_grid(labels, curve, random_curve):
    fits = [isotonic_by_merging(c) for c in (curve, random_curve)]
    tenth = np.interp(max(np.log(labels[-1] / 10), np.log(labels[0])), np.log(labels), fits[1])
    low, high = max(tenth, fits[0][0]), min(f[-1] for f in fits)
    levels = low + (np.arange(2000) + 0.5) / 2000 * (high - low)
    return np.exp(np.mean([np.log(factor_on_a_grid(labels, curve, random_curve, t)) for t in levels[::40]]))


# Reading off curves.


@given(st.lists(st.lists(scores, min_size=5, max_size=5), min_size=1, max_size=4))
def test_isotonic_curves_are_the_least_squares_ones(curves):
    assert np.allclose(savings.isotonic(curves), [isotonic_by_merging(c) for c in curves], atol=1e-12)


def test_isotonic_curves_in_parts_are_the_same(monkeypatch):
    curves = rng().normal(0, 1, (7, 3, 6))
    whole = savings.isotonic(curves)
    monkeypatch.setattr(savings, "_BLOCK", 50)
    assert (savings.isotonic(curves) == whole).all()
    assert (np.diff(whole) >= 0).all()


@settings(max_examples=30)
@given(st.lists(scores, min_size=2, max_size=6), scores)
def test_labels_to_reach_interpolates_in_log_labels(curve, target):
    labels = np.array([30, 40, 70, 100, 300, 1000][: len(curve)])
    fitted = np.round(np.sort(curve), 3)
    target = round(target, 3)
    log, sign = savings.labels_to_reach(labels, fitted, target)
    if target > fitted[-1]:
        assert (log, sign) == (np.log(labels[-1]), 1)
    elif target <= fitted[0]:
        assert (log, sign) == (np.log(labels[0]), -1)
    else:
        assert sign == 0
        assert np.exp(log) == pytest.approx(reach_on_a_grid(labels, fitted, target), rel=1e-4)


# Label savings.


@pytest.mark.parametrize("factor", [2.0, 1.0, 0.5])
def test_savings_of_a_shifted_curve(factor):
    # Linear in log labels, so that interpolation is exact: the strategy gets from n labels what random gets from n·f.
    labels = np.array([10, 20, 40, 80, 160])
    curves = np.tile(0.5 + 0.1 * np.log(labels * factor), (3, 1))
    random_curves = np.tile(0.5 + 0.1 * np.log(labels), (3, 1))
    found = label_savings(labels, curves, labels, random_curves, rng())
    for bounded in (found.factor, found.low, found.high, found.mean, found.mean_low, found.mean_high):
        assert bounded.sign == ""
        assert bounded.value == pytest.approx(factor)
    assert found.target == pytest.approx(min(curves[0, -1], random_curves[0, -1]))
    # What random needs for the strategy's final accuracy lies beyond its budget if the strategy is better.
    if factor > 1:
        assert found.random_labels == Bounded(pytest.approx(160), ">")
    else:
        assert found.random_labels.sign == ""
        assert found.random_labels.value == pytest.approx(160 * factor)


@pytest.mark.parametrize("gain", [0.5, -0.3])
def test_savings_are_what_a_fine_grid_finds(gain):
    labels, draw = np.array([20, 40, 70, 100, 300, 500]), rng(2)
    random_curves = power_law(labels, 0.0) + draw.normal(0, 0.01, (4, 6))
    curves = power_law(labels, gain) + draw.normal(0, 0.01, (4, 6))
    curves[:, 0] = random_curves[:, 0]
    found = label_savings(labels, curves, labels, random_curves, rng())
    means = curves.mean(0), random_curves.mean(0)
    assert found.factor.value == pytest.approx(factor_on_a_grid(labels, *means), rel=1e-3)
    assert found.mean.value == pytest.approx(mean_factor_on_a_grid(labels, *means), rel=0.01)
    assert found.mean_low.value < found.mean.value < found.mean_high.value


def test_interval_is_the_symmetric_one_of_the_draws(monkeypatch):
    monkeypatch.setattr(savings, "DRAWS", 64)
    labels, draw = np.array([30, 40, 50, 60]), rng(5)
    random_curves = power_law(labels, 0.0) + draw.normal(0, 0.01, (4, 4))
    curves = power_law(labels, 0.5) + draw.normal(0, 0.01, (4, 4))
    found = label_savings(labels, curves, labels, random_curves, rng(9))
    weights = statistics.trial_weights(4, rng(9), 64)
    draws = [factor_on_a_grid(labels, w @ curves, w @ random_curves) for w in weights]
    half = np.quantile(np.abs(np.log(draws) - np.log(found.factor.value)), 0.95)
    assert found.low.value == pytest.approx(found.factor.value * np.exp(-half), rel=1e-3)
    assert found.high.value == pytest.approx(found.factor.value * np.exp(half), rel=1e-3)


def test_savings_curve_passes_through_the_factors():
    labels, draw = np.array([30, 40, 50, 60, 80]), rng(3)
    random_curves = power_law(labels, 0.0) + draw.normal(0, 0.004, (5, 5))
    curves = power_law(labels, 0.6) + draw.normal(0, 0.004, (5, 5))
    curves[:, 0] = random_curves[:, 0]
    found = savings.savings_curve(labels, curves, labels, random_curves, rng())
    for target, factor in list(zip(found.targets, found.factor, strict=True))[1:-1:9]:
        expected = factor_on_a_grid(labels, curves.mean(0), random_curves.mean(0), target)
        assert factor == pytest.approx(expected, rel=1e-3)
    end = label_savings(labels, curves, labels, random_curves, rng())
    assert (found.targets[-1], found.factor[-1]) == pytest.approx((end.target, end.factor.value))
    assert (found.low <= found.factor).all()
    assert (found.factor <= found.high).all()
    assert savings.savings_curve(labels, random_curves * 0 + 0.5, labels, random_curves, rng()) is None


def test_savings_are_censored_where_the_first_round_is_enough():
    labels = np.array([30, 40, 50])
    falling_then_up = np.array([[0.95, 0.90, 0.94]] * 2)  # random's fitted curve ends at 0.94, below the shared start
    rising = np.array([[0.95, 0.96, 0.97]] * 2)
    found = label_savings(labels, rising, labels, falling_then_up, rng())
    assert found.factor == found.low == found.high == Bounded(pytest.approx(50 / 30), ">")
    assert math.isnan(found.mean.value)  # no accuracy lies on both curves
    found = label_savings(labels, falling_then_up, labels, rising, rng())
    assert found.factor == Bounded(pytest.approx(30 / 50), "<")
    flat = np.array([[0.9, 0.9, 0.9]] * 2)
    assert label_savings(labels, flat, labels, flat, rng()).factor == Bounded(1.0)


def test_interval_ends_carry_their_censoring():
    labels = np.array([30, 40, 50])
    # Over all trials random passes the strategy's start in the last round only; with more weight on the second trial
    # its curve ends below that start.
    strategy = np.array([[0.90, 0.95, 0.96], [0.90, 0.91, 0.92]])
    random_curves = np.array([[0.90, 0.92, 0.95], [0.90, 0.85, 0.89]])
    found = label_savings(labels, strategy, labels, random_curves, rng())
    assert found.factor.sign == ""
    assert found.high.sign == ">"
    assert found.low.sign == ""


def test_bootstrap_is_joint_and_seeded():
    labels = np.array([30, 40, 50, 60])
    draw = rng(1)
    luck = draw.normal(0, 0.03, (8, 1))
    random_curves = power_law(labels, 0.0) + luck
    curves = power_law(labels, 0.5) + luck
    found = label_savings(labels, curves, labels, random_curves, rng(5))
    # Luck that hits both curves of a trial alike is no uncertainty, if the same weights hold for both.
    assert found.high.value - found.low.value == pytest.approx(0, abs=1e-9)
    noisy = curves + draw.normal(0, 0.01, curves.shape)
    first, second = (label_savings(labels, noisy, labels, random_curves, rng(5)) for _ in range(2))
    assert first == second
    assert first.low.value < first.factor.value < first.high.value


@pytest.mark.parametrize("n", [2, 4, 10])
def test_ends_of_intervals_do_not_hang_on_the_draws(n):
    """Printed are two digits of a wide interval, three of a narrow one."""
    labels, draw = np.array([30, 40, 50, 60, 80, 100]), rng(3)
    for gain in (0.2, 0.5):
        curves, random_curves = (power_law(labels, g) + draw.normal(0, 0.004, (n, 6)) for g in (gain, 0.0))
        found = [label_savings(labels, curves, labels, random_curves, rng(seed)) for seed in range(4)]
        for end in ("low", "high", "mean_low", "mean_high"):
            values = [getattr(savings, end).value for savings in found]
            assert max(values) / min(values) < 1.02


def test_one_trial_has_savings_without_interval():
    labels = np.array([30, 40, 50])
    found = label_savings(labels, [[0.8, 0.9, 0.95]], labels, [[0.8, 0.85, 0.9]], rng())
    assert found.factor.value == pytest.approx(50 / 40)
    assert all(math.isnan(end.value) for end in (found.low, found.high, found.mean_low, found.mean_high))


def test_unpaired_curves_are_refused():
    labels = np.array([30, 40])
    with pytest.raises(ValueError, match="pair trials"):
        label_savings(labels, np.ones((3, 2)), labels, np.ones((4, 2)), rng())


def noisy(better, base, n, draw):
    """Curves of n trials, the strategy's and random sampling's: with luck that they share, and the first round."""
    luck = draw.normal(0, 0.01, (n, 1))
    random_curves = base + luck + draw.normal(0, 0.01, (n, 10))
    curves = better + luck + draw.normal(0, 0.01, (n, 10))
    curves[:, 0] = random_curves[:, 0]
    return curves, random_curves


@pytest.mark.parametrize(("n", "gain"), list(itertools.product((2, 4, 5, 10), (0.5, -0.3))))
def test_savings_intervals_cover_the_truth(monkeypatch, n, gain):
    """In 400 draws of noisy curves; docs/statistics.md has what 1,000 gave."""
    monkeypatch.setattr(savings, "DRAWS", 512)
    monkeypatch.setattr(savings, "LEVELS", 8)
    labels, runs = np.arange(30, 130, 10.0), 400
    base, better = power_law(labels, 0.0), power_law(labels, gain)
    truth = label_savings(labels, better[None], labels, base[None], rng())
    draw, hits, mean_hits = rng(11), 0, 0
    for _ in range(runs):
        curves, random_curves = noisy(better, base, n, draw)
        found = label_savings(labels, curves, labels, random_curves, draw)
        hits += found.low.value <= truth.factor.value <= found.high.value
        mean_hits += found.mean_low.value <= truth.mean.value <= found.mean_high.value
    assert min(hits, mean_hits) / runs >= 0.93


@pytest.mark.parametrize(("n", "gain"), list(itertools.product((4, 10), (0.5, -0.3))))
def test_bands_of_savings_cover_the_truth(monkeypatch, n, gain):
    """In 300 draws, at the accuracy halfway."""
    monkeypatch.setattr(savings, "DRAWS", 512)
    labels, runs = np.arange(30, 130, 10.0), 300
    base, better = power_law(labels, 0.0), power_law(labels, gain)
    truth = savings_curve(labels, better[None], labels, base[None], rng(), points=3)
    draw, hits = rng(11), 0
    for _ in range(runs):
        curves, random_curves = noisy(better, base, n, draw)
        found = savings_curve(labels, curves, labels, random_curves, draw, points=13)
        low, high = (np.interp(truth.targets[1], found.targets, ends) for ends in (found.low, found.high))
        hits += low <= truth.factor[1] <= high
    assert hits / runs >= 0.93


def test_labels_saved_are_those_at_randoms_final_accuracy():
    labels = np.array([25.0, 50.0, 100.0])
    random_curves, better = np.array([[0.5, 0.6, 0.7]] * 3), np.array([[0.5, 0.7, 0.8]] * 3)
    saved, low, high = labels_saved(label_savings(labels, better, labels, random_curves, rng()), 100)
    assert [x.value for x in (saved, low, high)] == pytest.approx([50, 50, 50])
    worse = label_savings(labels, random_curves, labels, better, rng())
    assert labels_saved(worse, 100) == (Bounded(0.0, "<"), savings.UNKNOWN, savings.UNKNOWN)
