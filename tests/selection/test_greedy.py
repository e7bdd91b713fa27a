"""Blocked k-centre and D² sampling, and the strategies that are made of them."""

import itertools

import numpy as np
import pytest
import torch

from labelbench.selection import greedy
from pools import blobs, expect, goodness_of_fit, run

# k-centre


def awkward_features(kind, n=400):
    rng = np.random.default_rng(1)
    normal = rng.standard_normal((n, 16))
    return {
        "normal": normal,
        "far from the origin": normal + 30,
        "unequal norms": normal * np.exp(2 * rng.standard_normal((n, 1))),
        "copies": normal[rng.integers(20, size=n)],
        "copies on a grid": np.round(4 * normal[rng.integers(20, size=n)]),
        "one hot": np.eye(16)[rng.integers(16, size=n)],
        "zeros and ones": rng.integers(0, 2, size=(n, 16)),
        "all zero": 0 * normal,
    }[kind].astype(np.float32)


KINDS = [
    *("normal", "far from the origin", "unequal norms", "copies", "copies on a grid"),
    *("one hot", "zeros and ones", "all zero"),
]


@pytest.mark.parametrize("block", [1, 4, 32, 512])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "copies"])
def test_k_centre_picks_the_same_in_blocks_of_any_size(kind, block):
    features = awkward_features(kind)
    pool = greedy.points(torch.tensor(features[10:]))
    picks = greedy.k_centre(pool, torch.tensor(features[:10]), budget=150, block=block)
    expected = expect("coreset", features, np.ones((len(features), 2)), np.arange(10), 150)
    assert np.array_equal(picks + 10, expected)


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_k_centre_picks_a_farthest_point_when_ties_exceed_the_largest_block(kind, block, monkeypatch):
    monkeypatch.setattr(greedy, "LARGEST_BLOCK", 4)
    features = awkward_features(kind)
    pool = greedy.points(torch.tensor(features[10:]))
    picks = greedy.k_centre(pool, torch.tensor(features[:10]), budget=150, block=block)
    assert len(set(picks)) == 150
    x = features.astype(np.float64)
    squared = np.square(x[:, None] - x).sum(2)
    nearest = squared[:10].min(0)
    for pick in picks + 10:
        assert nearest[pick] >= nearest.max() - 4 * greedy.RESOLUTION * np.square(x).sum(1).max()
        nearest = np.minimum(nearest, squared[pick])


@pytest.mark.parametrize("block", [1, 4, 32])
def test_k_centre_takes_copies_last_and_by_index(block):
    features = awkward_features("copies")
    picks = greedy.k_centre(greedy.points(torch.tensor(features)), torch.tensor(features[:0]), 400, block=block)
    _, first = np.unique(features, axis=0, return_index=True)
    assert set(picks[: len(first)]) == set(first)
    assert picks[len(first) :].tolist() == sorted(picks[len(first) :])


def test_k_centre_float64_decides_where_float32_cannot():
    # The two candidates differ by 1e-7 of their squared distance, the second is farther.
    features = np.zeros((40, 8), dtype=np.float32)
    features[1:] = np.random.default_rng(0).standard_normal((39, 8)).astype(np.float32)
    features[10] = features[20] = 3
    features[20, 0] = np.nextafter(np.float32(3), np.float32(4))
    assert run("coreset", features, np.full((40, 2), 0.5, np.float32), [0], 1).tolist() == [20]


@pytest.mark.parametrize("block", [4, 512])
def test_k_centre_breaks_ties_by_index_where_float64_rounds_differently(block):
    # Permuted coordinates: all as far from the origin, but sums of squares in another order differ in the last place.
    row = np.exp(3 * np.random.default_rng(0).standard_normal(48))
    features = np.array([np.random.default_rng(i).permutation(row) for i in range(60)], dtype=np.float32)
    pool, origin = greedy.points(torch.tensor(features)), torch.zeros((1, 48))
    assert greedy.k_centre(pool, origin, 1, block=block).tolist() == [0]


def test_coreset_needs_no_labelled_example():
    features, probabilities, _ = blobs(n=50)
    picks = run("coreset", features, probabilities, [], 20)
    assert picks[0] == 0
    assert np.array_equal(picks, expect("coreset", features, probabilities, [], 20))


# D² sampling


def sequence_probabilities(gradients, budget):
    """Probability of every ordered sequence of picks, from explicit gradients: {sequence: probability}."""
    squared = np.square(gradients[:, None] - gradients[None]).sum(2)
    first = int(np.square(gradients).sum(1).argmax())
    level = {(first,): 1.0}
    for _ in range(budget - 1):
        following = {}
        for picks, probability in level.items():
            weights = squared[list(picks)].min(0)
            weights[list(picks)] = 0
            if weights.sum() == 0:
                weights = np.ones(len(gradients))
                weights[list(picks)] = 0
            for i in np.flatnonzero(weights):
                following[(*picks, int(i))] = probability * weights[i] / weights.sum()
        level = following
    return level


def tiny_pool(kind):
    rng = np.random.default_rng(5)
    v, p = rng.standard_normal((6, 3)), rng.dirichlet(np.ones(3), size=6)
    if kind == "copies":
        v, p = v[[0, 1, 0, 2, 1, 2]], p[[0, 1, 0, 2, 1, 2]]
    elif kind == "close":  # three pairs: a pick makes its neighbour improbable, so stale proposals must be rejected
        v, p = v[[0, 1, 2, 0, 1, 2]] + 0.05 * v, p[[0, 1, 2, 0, 1, 2]]
    elif kind == "certain":
        p[[1, 4, 5]] = np.eye(3)[[0, 1, 2]]
        v[3] = 0
    elif kind == "two classes":
        p = np.stack([p[:, 0], 1 - p[:, 0]], axis=1)
    return v.astype(np.float32), p.astype(np.float32)


@pytest.mark.parametrize("kind", ["scattered", "copies", "close", "certain", "two classes"])
@pytest.mark.parametrize("block", [1, 3, 32])
def test_badge_draws_from_the_distribution_of_d2_sampling(kind, block):
    features, probabilities = tiny_pool(kind)
    residuals = probabilities.astype(np.float64)
    residuals[np.arange(6), probabilities.argmax(1)] -= 1
    gradients = np.einsum("nk,nd->nkd", residuals, features.astype(np.float64)).reshape(6, -1)
    expected = sequence_probabilities(gradients, 4)
    points = greedy.points(torch.tensor(features), torch.tensor(residuals, dtype=torch.float32))
    rng = np.random.default_rng(0)
    draws = [tuple(greedy.d2_sampling(points, 4, rng, block=block).tolist()) for _ in range(2000)]
    assert goodness_of_fit(draws, expected) > 0.001


def test_badge_and_its_reference_draw_alike():
    features, probabilities = tiny_pool("close")
    residuals = probabilities.astype(np.float64)
    residuals[np.arange(6), probabilities.argmax(1)] -= 1
    gradients = np.einsum("nk,nd->nkd", residuals, features.astype(np.float64)).reshape(6, -1)
    expected = sequence_probabilities(gradients, 3)
    for draw in (run, expect):
        draws = [tuple(draw("badge", features, probabilities, [], 3, seed=seed).tolist()) for seed in range(1500)]
        assert goodness_of_fit(draws, expected) > 0.001


def test_badge_is_uniform_once_nothing_is_left_to_cover():
    features = np.ones((5, 2), dtype=np.float32)
    probabilities = np.full((5, 2), 0.5, dtype=np.float32)
    draws = [tuple(run("badge", features, probabilities, [], 3, seed=seed).tolist()) for seed in range(1200)]
    expected = {(0, *rest): 1 / 12 for rest in itertools.permutations(range(1, 5), 2)}
    assert goodness_of_fit(draws, expected) > 0.001


def test_badge_never_takes_a_copy_of_a_pick_while_others_are_left():
    features, probabilities, _ = blobs(n=100, d=64, sharpness=3)
    rows = np.repeat(np.arange(100), 8)
    for seed in range(5):
        picks = run("badge", features[rows], probabilities[rows], [], 100, seed=seed)
        assert len(set(rows[picks])) == 100


@pytest.mark.parametrize("seed", range(5))
def test_d2_sampling_never_repeats_a_pick_even_if_rounding_leaves_it_a_distance(seed, monkeypatch):
    monkeypatch.setattr(greedy, "RESOLUTION", -1.0)
    features, probabilities, _ = blobs(n=60, d=64, seed=seed)
    points = greedy.points(torch.tensor(features[[0] * 30 + [*range(30)]]), torch.tensor(probabilities))
    rounding = torch.full_like(points.norms, 1.0)
    points = greedy.Points(points.vectors, points.residuals, points.norms + rounding)
    picks = greedy.d2_sampling(points, 60, np.random.default_rng(seed))
    assert len(set(picks)) == 60


def test_outer_products_have_the_distances_of_explicit_gradients():
    features, probabilities, _ = blobs(n=50)
    gradients = np.einsum("nk,nd->nkd", probabilities, features).reshape(50, -1).astype(np.float64)
    expected = np.square(gradients[:, None] - gradients[None]).sum(2)
    points = greedy.points(torch.tensor(features), torch.tensor(probabilities))
    assert np.allclose(greedy.distances(points, points).numpy(), expected, rtol=1e-4, atol=1e-5)
    nearest = torch.full((50,), torch.inf)
    greedy.lower(nearest, points, points.take(np.arange(7)), block=3)
    assert np.allclose(nearest.numpy(), expected[:, :7].min(1), rtol=1e-4, atol=1e-5)
