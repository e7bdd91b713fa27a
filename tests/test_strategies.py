"""Every strategy of the registry keeps its promises, and picks what its plain reference picks."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import labelbench
import reference_strategies
from labelbench import greedy, registry
from labelbench.errors import UserError
from labelbench.pool import Pool

NAMES = registry.names("strategies")
DETERMINISTIC = ["confidence", "coreset", "entropy", "margin"]

quickly = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(name, features, probabilities, labelled, budget, seed=0, chunk_size=8192):
    """Picks of a strategy with its default settings; every labelled example is of class 0."""
    module = registry.load("strategies", name)
    pool = Pool.from_arrays(features, probabilities, labelled, np.zeros(len(labelled)), chunk_size=chunk_size)
    return module.select(pool, budget, module.Config(), np.random.default_rng(seed))


def expect(name, features, probabilities, labelled, budget, seed=0):
    """Picks of the plain reference, in float64."""
    features, probabilities = features.astype(np.float64), probabilities.astype(np.float64)
    rng = np.random.default_rng(seed)
    return getattr(reference_strategies, name)(features, probabilities, labelled, budget, rng)


def blobs(n=400, k=5, d=8, labelled=20, seed=0, sharpness=1.0):
    """A pool without structure: normal features, softmax of normal logits, some of it labelled."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((n, k))
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    features = rng.standard_normal((n, d))
    return features.astype(np.float32), probabilities.astype(np.float32), rng.choice(n, labelled, replace=False)


@st.composite
def small_pools(draw):
    """Pools with everything that is awkward: copies, ties, zero features, saturated rows, K = 2, all that is left."""
    n, k, d = draw(st.integers(2, 30)), draw(st.integers(2, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features = rng.integers(-2, 3, size=(n, d)).astype(np.float32)
    # Sixteenths: exact in float32, full of ties, with zeros and ones among them.
    cuts = np.sort(rng.integers(0, 17, size=(n, k - 1)), axis=1)
    probabilities = np.diff(cuts, axis=1, prepend=0, append=16).astype(np.float32) / 16
    if draw(st.booleans()):
        rows = rng.integers(draw(st.integers(1, n)), size=n)
        features, probabilities = features[rows], probabilities[rows]
    labelled = rng.choice(n, draw(st.integers(0, n - 1)), replace=False)
    left = n - len(labelled)
    return features, probabilities, labelled, draw(st.one_of(st.just(left), st.integers(1, left)))


@pytest.mark.parametrize("name", NAMES)
@quickly
@given(pool=small_pools(), seed=st.integers(0, 99))
def test_picks_are_distinct_unlabelled_and_as_many_as_asked(name, pool, seed):
    features, _, labelled, budget = pool
    picks = run(name, *pool, seed=seed)
    assert picks.dtype == np.int64
    assert picks.shape == (budget,)
    assert len(set(picks)) == budget
    assert set(picks) <= set(range(len(features))) - set(labelled)


@pytest.mark.parametrize("name", NAMES)
@quickly
@given(pool=small_pools(), seed=st.integers(0, 99), chunk_size=st.integers(1, 40))
def test_picks_depend_on_the_seed_and_not_on_the_chunks(name, pool, seed, chunk_size):
    assert np.array_equal(run(name, *pool, seed=seed), run(name, *pool, seed=seed, chunk_size=chunk_size))


@pytest.mark.parametrize("name", NAMES)
def test_picks_do_not_depend_on_the_number_of_threads(name):
    pool = (*blobs(n=5000, k=20, d=64), 100)
    alone = run(name, *pool)
    torch.set_num_threads(2)
    assert np.array_equal(alone, run(name, *pool))


@pytest.mark.parametrize("name", NAMES)
def test_no_global_random_state_is_read_or_left_behind(name):
    pool = (*blobs(n=100), 30)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    picks = run(name, *pool)
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(torch_before, torch.get_rng_state())
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert np.array_equal(picks, run(name, *pool))


@pytest.mark.parametrize("name", ["badge", "random"])
def test_random_strategies_use_the_seed(name):
    pool = (*blobs(n=100), 30)
    assert not np.array_equal(run(name, *pool, seed=0), run(name, *pool, seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_larger_than_what_is_left_is_a_user_error(name):
    features, probabilities, labelled = blobs(n=50, labelled=20)
    with pytest.raises(UserError, match="only 30 examples"):
        run(name, features, probabilities, labelled, 31)


@pytest.mark.parametrize("name", NAMES)
def test_only_strategies_that_say_so_ask_for_the_model(name):
    def outputs(indices):
        raise LookupError("the model was asked")

    module = registry.load("strategies", name)
    pool = Pool(np.array([0]), np.array([0]), np.arange(1, 50), 3, outputs)
    if module.USES_MODEL:
        with pytest.raises(LookupError):
            module.select(pool, 5, module.Config(), np.random.default_rng(0))
    else:
        assert len(module.select(pool, 5, module.Config(), np.random.default_rng(0))) == 5


def test_importing_strategies_and_sampling_at_random_does_not_import_torch():
    code = f"""
import sys
import numpy as np
from labelbench import registry
from labelbench.pool import Pool
modules = {{name: registry.load("strategies", name) for name in {NAMES!r}}}
pool = Pool(np.array([0]), np.array([0]), np.arange(1, 50), 3, outputs=None)
modules["random"].select(pool, 5, modules["random"].Config(), np.random.default_rng(0))
print([name for name in ("torch", "sklearn", "pandas", "scipy") if name in sys.modules])
"""
    library = Path(labelbench.__file__).parent.parent
    result = subprocess.run([sys.executable, "-c", code], cwd=library, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", DETERMINISTIC)
@quickly
@given(pool=small_pools())
def test_same_picks_as_the_reference_on_awkward_pools(name, pool):
    assert np.array_equal(run(name, *pool), expect(name, *pool))


@pytest.mark.parametrize("name", [*DETERMINISTIC, "random"])
@pytest.mark.parametrize("seed", range(3))
def test_same_picks_as_the_reference_on_random_pools(name, seed):
    pool = (*blobs(n=1500, k=10, d=16, labelled=50, seed=seed), 300)
    assert np.array_equal(run(name, *pool, seed=seed), expect(name, *pool, seed=seed))


@pytest.mark.parametrize("name", NAMES)
def test_saturated_probabilities(name):
    features, _, labelled = blobs(n=60)
    certain = np.eye(5, dtype=np.float32)[np.arange(60) % 5]
    picks = run(name, features, certain, labelled, 40)
    assert sorted(picks) == np.setdiff1d(np.arange(60), labelled).tolist()
    if name in ("confidence", "entropy", "margin"):
        assert picks.tolist() == sorted(picks)


def test_entropy_ties_do_not_depend_on_the_order_of_the_classes():
    row = np.array([0.05, 0.1, 0.15, 0.3, 0.4], dtype=np.float32)
    probabilities = np.array([np.random.default_rng(i).permutation(row) for i in range(200)])
    picks = run("entropy", np.zeros((200, 2), np.float32), probabilities, [], 200)
    assert picks.tolist() == list(range(200))


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


def goodness_of_fit(draws, expected):
    """p-value of χ² over all outcomes, those expected fewer than 5 times taken together; 0 for an impossible draw."""
    outcomes = sorted(expected)
    at = {outcome: i for i, outcome in enumerate(outcomes)}
    if not set(draws) <= set(at):
        return 0.0
    counts = np.bincount([at[d] for d in draws], minlength=len(outcomes))
    means = np.array([expected[o] for o in outcomes]) * len(draws)
    rare = means < 5
    counts, means = (np.append(x[~rare], x[rare].sum()) for x in (counts, means))
    if means[-1] == 0:
        counts, means = counts[:-1], means[:-1]
    return stats.chisquare(counts, means).pvalue


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
