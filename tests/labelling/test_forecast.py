"""Forecasts of labels: ranges that hold the truth of curves that are known, and what is said where nothing can be."""

import math

import numpy as np
import pytest

from labelbench.labelling import forecast


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):  # for time
    monkeypatch.setattr(forecast, "DRAWS", 4000)
    monkeypatch.setattr(forecast, "ENOUGH", 20.0)


def audit(rng, labels, error, images=150):
    """hits (R, n) of models with these errors on the same images: an image has a difficulty that all models share."""
    difficulty = rng.random(images)
    return np.array([difficulty > error(n) for n in labels])


def curve(exponent, floor=0.0, now=0.1, at=200):
    scale = (now - floor) * at**exponent
    return lambda n: floor + scale * n**-exponent


def test_ranges_hold_the_truth_of_known_curves():
    rng = np.random.default_rng(0)
    labels, target, held, given = [50, 100, 150, 200], 0.93, 0, 0
    for _ in range(400):
        exponent = max(0.1, rng.normal(*forecast.EXPONENT))
        floor = rng.uniform(0, forecast.FLOOR) * 0.1
        error = curve(exponent, floor)
        truth = 200 * ((0.1 - floor) / (0.07 - floor)) ** (1 / exponent) if floor < 0.07 else math.inf
        found = forecast.labels_to(target, labels, audit(rng, labels, error), 10_000, rng)
        if found:
            given += 1
            high = found.high or (math.inf if truth > forecast.AHEAD * 200 or found.low <= truth else 0)
            held += found.low <= truth <= high
    assert given >= 100
    assert held / given >= 0.8 - 3 * math.sqrt(0.16 / given), (held, given)


def test_more_audit_images_tell_more():
    labels, rng = [50, 100, 200, 400], np.random.default_rng(1)
    sure, vague = (
        forecast.labels_to(0.94, labels, audit(rng, labels, curve(0.6), images), 10_000, rng)
        for images in (20_000, 200)
    )
    assert 400 <= sure.low < 470 < sure.high < 1600
    assert vague is None or vague.high is None or vague.high - vague.low > sure.high - sure.low


@pytest.mark.parametrize("labels", [[100], [100, 100]])
def test_one_number_of_labels_is_no_curve(labels):
    hits = np.ones((len(labels), 100), bool)
    assert forecast.labels_to(0.99, labels, hits, 1000, np.random.default_rng(0)) is None


def test_nothing_is_told_where_anything_could_be():
    rng = np.random.default_rng(2)
    assert forecast.labels_to(0.91, [100, 120], audit(rng, [100, 120], curve(0.5), 30), 10_000, rng) is None


@pytest.mark.parametrize(("images", "told"), [(100, False), (124, False), (130, True)])
def test_an_audit_is_large_enough_to_show_the_errors_of_the_target(images, told):
    rng, labels = np.random.default_rng(4), [100, 200, 400]
    found = forecast.labels_to(0.96, labels, np.arange(images) >= np.array([[40], [20], [7]]), 10_000, rng)
    assert (found is not None) == told


def test_no_more_is_asked_for_than_there_is():
    rng, labels = np.random.default_rng(3), [100, 200]
    found = forecast.labels_to(0.999, labels, audit(rng, labels, curve(0.5), 6000), 210, rng)
    assert found.high is None
    assert found.low == 210


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "Labels to 95 %: cannot tell yet."),
        (forecast.Forecast(300, None), "at least 100 more, perhaps more than can be looked ahead to"),
        (forecast.Forecast(200, 200), "there already"),
        (forecast.Forecast(200, 350), "at most 150 more"),
        (forecast.Forecast(250, 600), "50 to 400 more"),
    ],
)
def test_sentences(found, said):
    assert said in forecast.sentence(found, 200, 0.95)
