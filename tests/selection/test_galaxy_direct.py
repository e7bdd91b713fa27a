"""GALAXY and DIRECT: the one-vs-rest orders, picks computed by hand, every labelling of a small pool, noise."""

import itertools

import numpy as np
import pytest
from scipy import stats

from labelbench.common import registry
from labelbench.selection.pool import Pool
from labelbench.selection.strategies._one_vs_rest import orders
from pools import blobs, classes, expect, run

BOTH = ["galaxy", "direct"]


def line(n):
    """Features and probabilities of n examples, K = 2, that class 0 sorts as 0 ... n − 1 and class 1 backwards."""
    confident = np.linspace(0.99, 0.01, n, dtype=np.float32)
    return np.zeros((n, 1), np.float32), np.stack([confident, 1 - confident], axis=1)


# Orders


def test_orders_by_hand():
    probabilities = np.array(
        [
            [0.25, 0.5, 0.25],  # margins −1/4, 0, −1/4
            [0.5, 0.25, 0.25],  # 0, −1/4, −1/4
            [0.75, 0.25, 0.0],  # 0, −1/2, −3/4
            [0.375, 0.625, 0.0],  # −1/4, 0, −5/8
            [0.5, 0.25, 0.25],  # a copy
        ]
    )
    pool = Pool.from_arrays(np.zeros((5, 1)), probabilities, [], [])
    # Of equal margins the more confident comes first, then the lower index.
    assert orders(pool, np.arange(5)).tolist() == [[2, 1, 4, 3, 0], [3, 0, 1, 4, 2], [0, 1, 4, 3, 2]]
    assert orders(pool, np.array([0, 2, 3]))[0].tolist() == [1, 2, 0]


@pytest.mark.parametrize("chunk_size", [1, 7, 8192])
def test_orders_are_those_of_sorting_by_margin_confidence_and_index(chunk_size):
    features, probabilities, _ = blobs(n=300, sharpness=8)
    probabilities[:50] = np.eye(5, dtype=np.float32)[np.arange(50) % 5]
    found = orders(Pool.from_arrays(features, probabilities, [], [], chunk_size=chunk_size), np.arange(300))
    largest = probabilities.max(1)
    for k, order in enumerate(found):
        assert order.tolist() == np.lexsort((-largest, largest - probabilities[:, k])).tolist()


# Both against their references


@pytest.mark.parametrize("name", BOTH)
def test_same_picks_as_the_reference_for_every_labelling_of_a_small_pool(name):
    pool = line(6)
    for seed, given in enumerate(itertools.product([None, 0, 1], repeat=6)):
        labelled = [i for i, label in enumerate(given) if label is not None]
        # What is not given yet alternates by the seed, so that the second pick sees either answer.
        truth = np.array([(seed + i) % 2 if label is None else label for i, label in enumerate(given)])
        budget = min(2, 6 - len(labelled))
        if budget:
            arguments = {"seed": seed, "truth": truth}
            expected = expect(name, *pool, labelled, budget, **arguments)
            assert run(name, *pool, labelled, budget, **arguments).tolist() == expected.tolist(), given


@pytest.mark.parametrize("min_budget_per_class", [1, 8, 60])
@pytest.mark.parametrize("parallel_labels", [1, 3, 20])
@pytest.mark.parametrize("noise", [0, 0.3])
def test_direct_picks_as_its_reference_for_other_settings(min_budget_per_class, parallel_labels, noise):
    pool, known = classes(n=200)
    rng = np.random.default_rng(0)
    answers = np.where(rng.random(200) < noise, rng.integers(4, size=200), known["truth"])
    settings = {"min_budget_per_class": min_budget_per_class, "parallel_labels": parallel_labels}
    picks = run("direct", *pool, 70, truth=answers, **settings)
    assert picks.tolist() == expect("direct", *pool, 70, truth=answers, **settings).tolist()


# GALAXY


def test_galaxy_by_hand():
    truth = np.array([0] * 7 + [1] * 4)
    for seed in range(10):  # whichever class is drawn
        picks = run("galaxy", *line(11), [1, 9], 6, seed=seed, truth=truth)
        # The middle of 2 ... 8, of 6 ... 8, and 6 are bisection. Now 6 and 7 are a closed cut: 8 is 2 steps from its
        # farther end and 4 is 3; then 4 is 3 and 10 is 4; then 3 and 10 are both 4, and either class has its own first.
        assert picks[:5].tolist() == [5, 7, 6, 8, 4]
        assert picks[5] in (3, 10)
    assert {run("galaxy", *line(11), [1, 9], 6, seed=seed, truth=truth)[5] for seed in range(10)} == {3, 10}


def test_galaxy_bisects_the_shortest_run():
    truth = np.array([0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1])
    # Cuts: 0–5 with four between, 5–7 with one, 7–11 with three.
    assert run("galaxy", *line(12), [0, 5, 7, 11], 1, truth=truth).tolist() == [6]


def test_galaxy_follows_the_answers_it_bought_even_if_they_are_noise():
    truth = np.array([0] * 7 + [1] * 4)
    truth[5] = 1
    for seed in range(10):
        assert run("galaxy", *line(11), [1, 9], 2, seed=seed, truth=truth).tolist() == [5, 3]


def test_galaxy_picks_uniformly_where_there_is_no_cut():
    truth = np.zeros(6, dtype=np.int64)
    picks = [run("galaxy", *line(6), [2], 1, seed=seed, truth=truth)[0] for seed in range(500)]
    counts = np.bincount(picks, minlength=6)
    assert counts[2] == 0
    assert stats.chisquare(np.delete(counts, 2)).pvalue > 0.001


def test_galaxy_draws_the_class_of_each_pick_uniformly():
    # Certain examples, three of each class, all labelled but the middle ones: each class has a cut of its own.
    probabilities = np.repeat(np.eye(3, dtype=np.float32), 3, axis=0) * 0.9 + np.float32(0.1 / 3)
    probabilities += np.tile(np.float32([[0.03], [0.02], [0.01]]), (3, 1)) * (probabilities > 0.5)
    truth = np.array([0, 0, 1, 1, 1, 2, 2, 2, 0])
    picks = [
        run("galaxy", np.zeros((9, 1)), probabilities, [0, 2, 3, 5, 6, 8], 1, seed, truth=truth)[0]
        for seed in range(450)
    ]
    counts = np.bincount(picks, minlength=9)[[1, 4, 7]]
    assert counts.sum() == 450
    assert stats.chisquare(counts).pvalue > 0.001


# DIRECT


def test_direct_by_hand():
    truth = np.array([0] * 6 + [1] * 6)
    followed = set()
    for seed in range(10):
        picks = run("direct", *line(12), [0, 3, 8, 11], 8, seed=seed, truth=truth, min_budget_per_class=4)
        # Half of the budget is enough to search one class. Between the last sure 0 (3) and the first sure 1 (8) lie 4
        # ... 7, all of which are bought. Then the threshold is known, and the nearest on either side are 2 and 9, then
        # 1 and 10; each class takes one on its confident side before one behind.
        assert sorted(picks[:4]) == [4, 5, 6, 7]
        followed.add(tuple(picks[4:].tolist()))
    assert followed == {(2, 9, 10, 1), (9, 2, 1, 10)}


def test_direct_searches_the_classes_with_the_fewest_labels():
    # Four examples of each class, the first the most confident.
    truth = np.repeat([0, 1, 2], 4)
    confident = np.tile(np.float32([0.9, 0.8, 0.7, 0.6]), 3)[:, None]
    probabilities = np.where(np.arange(3) == truth[:, None], confident, (1 - confident) / 2)
    # Class 2 has one label, its most confident example; 3 is next in its order after its own four.
    pool = (np.zeros((12, 1)), probabilities, [0, 3, 4, 7, 8])
    picks = run("direct", *pool, 6, truth=truth, min_budget_per_class=3)
    assert sorted(picks[:3]) == [9, 10, 11]


@pytest.mark.parametrize("noise", [0, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_direct_finds_the_threshold_and_labels_around_it(noise, seed):
    n, threshold, budget = 20_000, 7_000, 400
    rng = np.random.default_rng(seed)
    truth = (np.arange(n) >= threshold) ^ (rng.random(n) < noise)
    labelled = rng.choice(n, 20, replace=False)
    picks = run("direct", *line(n), labelled, budget, seed=seed, truth=truth.astype(np.int64))
    away = np.abs(picks[budget // 2 :] - threshold)
    assert np.median(away) < (400 if noise else 200)


@pytest.mark.parametrize("setting", ["parallel_labels", "min_budget_per_class"])
def test_direct_refuses_impossible_settings(setting):
    with pytest.raises(ValueError, match=f"{setting} must be at least 1, not 0"):
        registry.load("strategies", "direct").Config(**{setting: 0})
