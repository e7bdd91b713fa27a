"""Greedy coverage in blocks, k-means in one level and two, and the strategies that are made of them."""

import numpy as np
import pytest
import torch

from labelbench.common import registry
from labelbench.selection import clustering, coverage, greedy, temporaries
from pools import blobs, classes, expect, goodness_of_fit, run
from references import _coverage as plain

KERNELS = [coverage.Gaussian(1.0), coverage.Gaussian(0.1), coverage.Ball(0.8)]


def awkward_features(kind, n=500):
    rng = np.random.default_rng(1)
    normal = rng.standard_normal((n, 12))
    return {
        "normal": normal,
        "clusters": normal * 0.1 + rng.standard_normal((8, 12))[rng.integers(8, size=n)],
        "near copies": normal[rng.integers(40, size=n)] + 1e-4 * normal,
        "copies": normal[rng.integers(40, size=n)],
        "a grid": rng.integers(-1, 2, size=(n, 3)),
        "all zero": 0 * normal,
    }[kind].astype(np.float32)


# The engine


@pytest.mark.parametrize("block", [1, 8, 64])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("kind", ["normal", "clusters", "near copies", "copies", "a grid", "all zero"])
def test_blocks_of_any_size_pick_what_greedy_picks(kind, kernel, block):
    features = awkward_features(kind)
    weights = np.random.default_rng(0).integers(0, 3, size=len(features)) / 2
    x = coverage.unit(torch.tensor(features))
    covered = kernel.of(coverage.nearest(x, x[:5]))
    picks = coverage.greedy(x, covered, kernel, 150, torch.tensor(weights), block=block)

    x = plain.unit(features.astype(np.float64))
    k = kernel.of(torch.tensor(plain.squared_distances(x, x))).numpy()
    now = k[:5].max(0)
    grid = 2.0**-34 * weights.sum()
    for pick in picks:
        gains = np.round(np.maximum(k - now, 0) @ weights / grid)
        assert pick == gains.argmax()
        now = np.maximum(now, k[pick])
    if len(picks) < 150:
        assert np.round(np.maximum(k - now, 0) @ weights / grid).max() == 0


def test_float64_decides_between_gains_that_float32_cannot_tell_apart():
    # Two clouds that are the same but for one point, a hair closer to the second centre.
    cloud = np.array([[1, 0, 0, 0], [1, 0.1, 0, 0], [1, -0.1, 0, 0]])
    features = np.concatenate([cloud, np.roll(cloud, 2, axis=1)])
    features[4, 3] -= 1e-7
    x = coverage.unit(torch.tensor(features))
    picks = coverage.greedy(x, torch.zeros(6).double(), coverage.Gaussian(1.0), 1, torch.ones(6).double())
    assert picks.tolist() == [3]


def test_rounding_the_kernel_up_and_down_encloses_it():
    squared = torch.linspace(0, 4, 1000, dtype=torch.float64)
    noisy = (squared + 1e-6 * torch.randn(1000, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)).float()
    for kernel in KERNELS:
        exact = kernel.of(squared.clone())
        above, below = (kernel.of(noisy.clone(), coverage.RESOLUTION, towards) for towards in (1, -1))
        underflow = 1e-37
        assert (above >= exact - underflow).all() and (below <= exact + underflow).all()


@pytest.mark.parametrize("d", [64, 512, 2048])
def test_float32_loses_less_than_the_resolution(d):
    x = coverage.unit(torch.randn((500, d), generator=torch.Generator().manual_seed(0)) + 1)
    x = torch.cat([x, x])  # copies: the largest cancellation
    loss = (coverage.squared_distances(x.float(), x.float()) - coverage.squared_distances(x, x)).abs().max()
    assert loss < coverage.RESOLUTION


@pytest.mark.parametrize("name", ["maxherding", "uherding", "probcover"])
def test_a_large_pool_is_cut_into_parts_that_share_the_budget(name):
    features, probabilities, labelled = blobs(n=500, labelled=20)
    picks = run(name, features, probabilities, labelled, 47, largest_part=100)
    assert len(set(picks) - set(labelled)) == 47
    whole = run(name, features, probabilities, labelled, 47)
    assert not np.array_equal(picks, whole)


def test_maxherding_in_parts_covers_nearly_as_much():
    pool, _ = classes(n=600, labelled=0)
    x = plain.unit(pool[0].astype(np.float64))
    k = np.exp(-plain.squared_distances(x, x))

    def covered(picks):
        return k[picks].max(0).mean()

    whole, parts = run("maxherding", *pool, 30), run("maxherding", *pool, 30, largest_part=200)
    chance = np.random.default_rng(0).choice(600, 30, replace=False)
    assert covered(whole) >= covered(parts) > covered(chance)


# The strategies


@pytest.mark.parametrize("name", ["maxherding", "probcover", "kmeans", "typiclust", "uherding"])
def test_same_picks_as_the_reference_from_nothing(name):
    pool, known = classes(n=200, labelled=0)
    assert np.array_equal(run(name, *pool, 25, **known), expect(name, *pool, 25, **known))


@pytest.mark.parametrize(
    "name, settings",
    [
        ("maxherding", {"sigma": 0.3}),
        ("probcover", {"delta": 0.7}),
        ("probcover", {"purity": 0.5}),
        ("probcover", {"purity": 1.0}),
        ("typiclust", {"neighbours": 3}),
        ("uherding", {"held_out": 0.5, "bins": 5, "temperatures": (0.5, 3.0, 0.25)}),
    ],
)
def test_same_picks_as_the_reference_with_settings(name, settings):
    pool, known = classes(n=250, labelled=30, spread=0.8)
    assert np.array_equal(run(name, *pool, 40, **known, **settings), expect(name, *pool, 40, **known, **settings))


@pytest.mark.parametrize(
    "name, settings",
    [
        ("maxherding", {"sigma": 0.0}),
        ("maxherding", {"largest_part": 0}),
        ("probcover", {"delta": -1.0}),
        ("probcover", {"purity": 0.0}),
        ("probcover", {"largest_part": 0}),
        ("typiclust", {"neighbours": 0}),
        ("uherding", {"held_out": 1.0}),
        ("uherding", {"temperatures": (2.0, 1.0, 0.1)}),
        ("uherding", {"bins": 0}),
        ("uherding", {"largest_part": 0}),
    ],
)
def test_impossible_settings(name, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        registry.load("strategies", name).Config(**settings)


def test_uherding_is_drawn_to_where_the_model_is_uncertain():
    features, probabilities, labelled = blobs(n=300, k=3)
    certain = np.tile(np.array([[1.0, 0, 0]], dtype=np.float32), (300, 1))
    unsure = np.setdiff1d(np.arange(300), labelled)[::10]
    certain[unsure] = [0.4, 0.35, 0.25]
    assert set(run("uherding", features, certain, labelled, len(unsure))) == set(unsure)


def test_uherding_narrows_its_kernel_as_labels_are_added():
    from labelbench.selection.strategies.uherding import _smallest_distance

    x = coverage.unit(torch.tensor(awkward_features("normal")))
    assert _smallest_distance(x[:20]) > _smallest_distance(x)
    squared = plain.squared_distances(x.numpy(), x.numpy())
    assert _smallest_distance(torch.cat([x, x])) == pytest.approx(squared[squared > 1e-6].min() ** 0.5, abs=1e-12)
    assert _smallest_distance(x[[0, 0]]) == 0


def test_typiclust_has_a_cluster_for_every_label():
    # 30 tight groups; the largest come first and each gives the example in its middle.
    rng = np.random.default_rng(0)
    sizes = np.arange(5, 35)
    centres = rng.standard_normal((30, 40))
    group = np.repeat(np.arange(30), sizes)
    features = (centres[group] + 0.02 * rng.standard_normal((len(group), 40))).astype(np.float32)
    labelled = np.array([np.flatnonzero(group == g)[0] for g in (29, 28)])
    picks = run("typiclust", features, np.full((len(group), 2), 0.5, np.float32), labelled, 28)
    assert group[picks].tolist() == list(range(27, -1, -1))


def test_probcover_fills_up_uniformly_when_everything_is_covered():
    features = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    counts = np.zeros(12)
    for seed in range(600):
        picks = run("probcover", features, np.full((12, 3), 1 / 3, np.float32), [], 5, seed=seed, delta=0.5)
        assert picks[:3].tolist() == [0, 4, 8]
        counts[picks[3:]] += 1
    assert set(np.flatnonzero(counts == 0)) == {0, 4, 8}
    assert np.allclose(counts[counts > 0], 1200 / 9, atol=50)


# k-means


def test_the_first_seed_of_k_means_is_drawn():
    """k-means++: uniformly, then by D². The six points of these seeds, by their probabilities."""
    x = torch.nn.functional.normalize(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    squared = torch.cdist(x.double(), x.double()).square()
    expected = {
        (a, b): float(squared[a, b] / squared[a].sum()) / 6 for a in range(6) for b in range(6) if a != b
    }  # fmt: skip
    rng = np.random.default_rng(0)
    drawn = [torch.cdist(clustering.seeds(x, 2, rng), x.double()).argmin(1).tolist() for _ in range(2000)]
    assert goodness_of_fit([tuple(pair) for pair in drawn], expected) > 0.001


@pytest.mark.parametrize("name", ["alfamix", "cluster_margin", "clue", "dropquery", "kmeans", "probcover", "typiclust"])
def test_picks_do_not_depend_on_the_rounding_of_norms(name, monkeypatch):
    """The norms of unit vectors are 1 but for rounding, which each kernel does in its own way."""
    (features, probabilities, labelled), known = classes()
    rng, plain_norms = np.random.default_rng(0), greedy._squared_norms

    def other_kernel(x):
        return plain_norms(x) * torch.from_numpy(1 + 2e-7 * rng.uniform(-1, 1, len(x))).float()

    picks = run(name, features, probabilities, labelled, 40, **known)
    monkeypatch.setattr(greedy, "_squared_norms", other_kernel)
    assert run(name, features, probabilities, labelled, 40, **known).tolist() == picks.tolist()


def lloyd(x, seeds):
    """Plain Lloyd iterations in float64."""
    centres = seeds
    for _ in range(clustering.ITERATIONS):
        cluster = np.round(plain.squared_distances(x, centres), 9).argmin(1)
        centres = np.array([x[cluster == k].mean(0) if np.any(cluster == k) else c for k, c in enumerate(centres)])
    return centres, cluster


@pytest.mark.parametrize("kind", ["normal", "clusters", "near copies", "copies", "a grid", "all zero"])
def test_k_means_is_lloyds_from_its_seeds(kind):
    x = coverage.unit(torch.tensor(awkward_features(kind))).float()
    seeds = clustering.seeds(x, 40, np.random.default_rng(3)).numpy()
    centres, cluster = clustering.k_means(x, 40, np.random.default_rng(3))
    expected_centres, expected = lloyd(x.double().numpy(), seeds)
    assert np.array_equal(cluster.numpy(), expected)
    assert np.allclose(centres.numpy(), expected_centres, atol=1e-6)


def test_k_means_in_float32_costs_no_more(monkeypatch):
    x = coverage.unit(torch.tensor(awkward_features("clusters", 2000))).float()
    costs = []
    for exact in (clustering._EXACT, 0):
        monkeypatch.setattr(clustering, "_EXACT", exact)
        centres, cluster = clustering.k_means(x, 60, np.random.default_rng(0))
        costs.append(float((x - centres[cluster]).square().sum()))
    assert costs[1] == pytest.approx(costs[0], rel=0.01)


@pytest.mark.parametrize("kind", ["normal", "clusters", "copies", "all zero"])
@pytest.mark.parametrize("clusters", [30, 499, 500])
def test_two_levels_make_as_many_clusters(kind, clusters, monkeypatch):
    x = coverage.unit(torch.tensor(awkward_features(kind))).float()
    monkeypatch.setattr(clustering, "ONE_LEVEL", 0)
    centres, cluster = clustering.k_means(x, clusters, np.random.default_rng(0))
    assert centres.shape == (clusters, x.shape[1])
    assert cluster.min() >= 0 and cluster.max() < clusters
    if kind == "normal":
        assert len(cluster.unique()) >= 0.95 * clusters


def test_two_levels_cost_little(monkeypatch):
    x = coverage.unit(torch.tensor(awkward_features("clusters", 3000))).float()
    costs = []
    for limit in (clustering.ONE_LEVEL, 0):
        monkeypatch.setattr(clustering, "ONE_LEVEL", limit)
        centres, cluster = clustering.k_means(x, 100, np.random.default_rng(0))
        costs.append(float((x - centres[cluster]).square().sum()))
    assert costs[1] < 1.15 * costs[0]


def test_the_sums_of_k_means_do_not_depend_on_their_order():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(20_000, 8)) * 10.0 ** rng.integers(-6, 1, (20_000, 1))).float()
    cluster = torch.from_numpy(rng.integers(5, size=len(x)))
    order = torch.from_numpy(rng.permutation(len(x)))
    grid = clustering._grid(x)
    sums, shuffled, detour = torch.zeros(3, 5, 8, dtype=torch.float64)
    clustering._add(sums, x, torch.arange(len(x)), cluster, grid)
    clustering._add(shuffled, x, order, cluster, grid)
    assert torch.equal(sums, shuffled)
    elsewhere = torch.from_numpy(rng.integers(5, size=len(x)))
    for where, sign in ((elsewhere, 1), (cluster, 1), (elsewhere, -1)):
        clustering._add(detour, x, order, where, sign * grid)
    assert torch.equal(sums, detour)
    plain = torch.zeros(5, 8, dtype=torch.float64)
    one, other = (plain.index_add(0, cluster[at], x[at].double()) for at in (torch.arange(len(x)), order))
    assert not torch.equal(one, other)  # as a GPU's atomics add them
    torch.testing.assert_close(sums, one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("divisor", [1, 1 << 14])  # one tile, and tiles of a few rows
def test_nearest_of_others_is_what_all_pairs_say(divisor):
    draw = np.random.default_rng(0)
    x = coverage.unit(torch.as_tensor(draw.normal(size=(60, 5))))
    cluster = torch.as_tensor(draw.integers(0, 4, 60))
    pairs = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    expected = pairs.masked_fill(cluster[:, None] == cluster, torch.inf).min(1).values
    with temporaries.divided(divisor):
        found = coverage.nearest_of_others(x, cluster)
    assert found.sort().values.numpy() == pytest.approx(expected.sort().values.numpy(), abs=1e-9)


def test_one_cluster_has_no_others():
    x = coverage.unit(torch.eye(3, dtype=torch.float64))
    assert torch.isinf(coverage.nearest_of_others(x, torch.zeros(3, dtype=torch.int64))).all()
