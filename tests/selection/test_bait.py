"""The algebra and the blocks behind the three forms of BAIT."""

import functools

import numpy as np
import pytest
import torch

from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.selection import fisher
from pools import blobs, classes, expect, run
from references import _fisher as reference

BAITS = ["bait", "bait_binary", "bait_topc"]

# One at a time, in blocks


def spectrum_of_embeddings(n=300, k=6, d=12, labelled=0, seed=0):
    """A pool whose features have a decaying spectrum and whose probabilities are sharp: scores of very unequal size."""
    features, probabilities, chosen = blobs(n, k, d, labelled, seed, sharpness=3.0)
    return features * np.arange(1, d + 1, dtype=np.float32) ** -1.0, probabilities, chosen


@pytest.mark.parametrize("block", [1, 4, 32, 256])
@pytest.mark.parametrize("labelled", [0, 100])
def test_bait_binary_picks_the_same_in_blocks_of_any_size(block, labelled, monkeypatch):
    pool = (*spectrum_of_embeddings(labelled=labelled), 30)
    monkeypatch.setattr(fisher, "trade", functools.partial(fisher.trade, block=block))
    assert np.array_equal(run("bait_binary", *pool), expect("bait_binary", *pool))


def test_bait_binary_picks_the_same_when_the_inverse_is_computed_anew_in_between(monkeypatch):
    pool = (*spectrum_of_embeddings(n=200), 40)
    monkeypatch.setattr(fisher, "_LONGEST_RUN", 7)
    assert np.array_equal(run("bait_binary", *pool), expect("bait_binary", *pool))


def test_bait_binary_takes_the_first_of_copies_if_the_block_holds_them(monkeypatch):
    features, probabilities, _ = spectrum_of_embeddings(n=200)
    rows = np.random.default_rng(0).integers(50, size=400)
    pool = (features[rows], probabilities[rows], [], 60)
    monkeypatch.setattr(fisher, "trade", functools.partial(fisher.trade, block=100))
    assert np.array_equal(run("bait_binary", *pool), expect("bait_binary", *pool))


def test_trade_ends_where_more_examples_tie_than_the_block_holds():
    ones = fisher.RankOne(torch.ones(100, 3), torch.full((100,), 0.25, dtype=torch.float64))
    information, total = torch.eye(3, dtype=torch.float64), ones.information()
    picks = fisher.trade(ones, information, total, 100, 1, "adding", block=4)
    assert sorted(picks) == list(range(100))
    assert torch.allclose(information, torch.eye(3, dtype=torch.float64) + total)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_outside_the_block_never_exceeds_its_limit(sign):
    features, probabilities, _ = spectrum_of_embeddings(n=3000, d=32)
    largest = torch.tensor(probabilities).amax(1).double()
    examples = fisher.RankOne(torch.tensor(features), largest * (1 - largest))
    total = examples.information()
    information = torch.eye(32, dtype=torch.float64) + (total if sign == -1 else 0)
    state = fisher._State.of(information, total, sign)
    inside, outside = fisher._split(examples, torch.arange(3000), 300, state)
    others = np.setdiff1d(np.arange(3000), inside)
    x, y = examples.scaled(inside), examples.scaled(others)
    proven = 0
    for pick in range(100):
        ax, bx, ay, by = (((r @ m) * r).sum(1) for r in (x, y) for m in (state.inverse, state.product))
        score = sign * bx / (1 + sign * ax)
        score[:pick] = -torch.inf  # the picks of this test are simply the first of the block
        best = score.max().item()
        if outside.below(best, state):
            proven += 1
            assert (sign * by / (1 + sign * ay)).max() < best
        state.change(x[pick])
    assert proven > 0


# Information of higher rank


def softmax_examples(n=30, k=4, d=3, c=4, seed=0):
    rng = np.random.default_rng(seed)
    features = torch.tensor(rng.standard_normal((n, d)))
    probabilities = torch.tensor(rng.dirichlet(np.ones(k), size=n), dtype=torch.float32)
    return fisher.Softmax(features, probabilities, c)


def explicit(examples, at):
    """G with information GGᵀ, from the gradients one by one."""
    p = examples.probabilities[at].double().numpy()
    p = p / p.sum()
    top = np.argsort(-p, kind="stable")[: examples.classes]
    q = p[top] / p[top].sum()
    basis = fisher.class_basis(len(p), torch.device("cpu")).numpy()
    columns = [
        np.sqrt(w) * np.kron(basis.T @ (np.eye(len(p))[k] - p), examples.features[at])
        for k, w in zip(top, q, strict=True)
    ]
    return torch.tensor(np.stack(columns, 1))


@pytest.mark.parametrize("c", [1, 2, 4])
def test_products_with_outer_products_are_those_of_explicit_gradients(c):
    examples = softmax_examples(c=c)
    g = torch.stack([explicit(examples, i) for i in range(30)])
    rng = np.random.default_rng(1)
    s, v = torch.tensor(rng.standard_normal((9, 9))), torch.tensor(rng.standard_normal((9, 5)))
    s = s + s.T
    assert torch.allclose(examples.information(), (g @ g.mT).sum(0))
    assert torch.allclose(examples.times(v), g.mT @ v)
    assert torch.allclose(examples.between(s), g.mT @ s @ g)
    assert torch.allclose(examples.take([7]).factors().multiply(s), s @ g[7])


def test_the_expectation_over_all_classes_is_the_fisher_information():
    examples = softmax_examples()
    p = examples.probabilities[0].double()
    p = p / p.sum()
    basis = fisher.class_basis(4, torch.device("cpu"))
    assert torch.allclose(basis.T @ basis, torch.eye(3, dtype=torch.float64))
    assert torch.allclose(basis.sum(0), torch.zeros(3, dtype=torch.float64))
    expected = torch.kron(
        basis.T @ (torch.diag(p) - torch.outer(p, p)) @ basis, examples.features[0].outer(examples.features[0])
    )
    assert torch.allclose(examples.take([0]).information(), expected)


@pytest.mark.parametrize("c", [1, 2, 4])
def test_the_inverse_follows_additions_and_removals(c):
    examples = softmax_examples(c=c)
    total = examples.information()
    information = 0.1 * torch.eye(9, dtype=torch.float64)
    state = fisher.Inverse(information, total)
    gains = fisher.Gains.of(examples, state)
    for at, sign in [(0, 1), (3, 1), (5, 1), (3, -1), (8, 1), (0, -1)]:
        change = state.effect(examples, at, sign)
        state.apply(change)
        gains.follow(change)
        information = information + sign * examples.take([at]).information()
    fresh = fisher.Inverse(information, total)
    assert torch.allclose(state.inverse, fresh.inverse)
    assert torch.allclose(state.product, fresh.product)
    each = torch.stack([examples.take([i]).information() for i in range(30)]).numpy()
    expected = reference.gains(information.numpy(), total.numpy(), each, 1)
    assert np.allclose(gains.scores(1), expected)
    # Only what is in can be taken out.
    expected = reference.gains(information.numpy(), total.numpy(), each[[5, 8]], -1)
    assert np.allclose(gains.scores(-1)[[5, 8]], expected)


@pytest.mark.parametrize("size", [1, 5, 8, 30])
def test_subtract_symmetric(size):
    rng = np.random.default_rng(size)
    m, v = torch.tensor(rng.standard_normal((size, size))), torch.tensor(rng.standard_normal((size, 3)))
    m = m + m.T
    expected = m - v @ v.T
    fisher.subtract_symmetric(m, [(v, v)])
    assert torch.allclose(m, expected)
    assert torch.equal(m, m.T)


def test_principal_components_keep_distances_and_leave_out_rounding():
    features = torch.tensor(blobs(n=50, d=6)[0])
    x = fisher.principal(features, 10)
    assert torch.allclose(torch.cdist(x, x), torch.cdist(features.double(), features.double()), atol=1e-5)
    spread = fisher.principal(features, 2).square().sum()
    assert torch.allclose(
        spread, torch.linalg.svdvals(features.double() - features.double().mean(0))[:2].square().sum()
    )
    assert fisher.principal(features[[7] * 50] + 0.1, 10).shape == (50, 0)


# The strategies


@pytest.mark.parametrize("settings", [{"pca_dim": 3}, {"num_proposals": 2, "swaps": 3}, {"ridge": 0.5}])
def test_bait_follows_its_settings(settings):
    pool, known = classes(n=150)
    assert np.array_equal(run("bait", *pool, 20, **known, **settings), expect("bait", *pool, 20, **known, **settings))


def test_bait_picks_the_same_when_the_inverse_is_computed_anew_in_between(monkeypatch):
    pool = (*blobs(n=100), 30)
    monkeypatch.setattr(registry.load("strategies", "bait"), "_REFRESH", 3)
    assert np.array_equal(run("bait", *pool), expect("bait", *pool))


@pytest.mark.parametrize("settings", [{"classes": 1}, {"classes": 9}, {"ridge": 0.01}])
def test_bait_topc_follows_its_settings(settings):
    pool, _ = classes(n=100)
    assert np.array_equal(run("bait_topc", *pool, 15, **settings), expect("bait_topc", *pool, 15, **settings))


def test_bait_topc_of_principal_components():
    features, probabilities, labelled = blobs(n=100)
    reduced = fisher.principal(torch.tensor(features), 3).numpy()
    picks = run("bait_topc", features, probabilities, labelled, 20, pca_dim=3)
    assert np.array_equal(picks, expect("bait_topc", reduced, probabilities, labelled, 20))


@pytest.mark.parametrize("name", BAITS)
def test_the_batch_informs_more_than_a_random_one(name):
    features, probabilities, labelled = spectrum_of_embeddings(n=300, labelled=20)
    everything = fisher.Softmax(torch.tensor(features).double(), torch.tensor(probabilities), 6)
    total = everything.information()
    ridge = torch.eye(len(total), dtype=torch.float64)

    def trace(picks):
        information = everything.take(np.append(labelled, picks)).information()
        return torch.trace(torch.linalg.solve(information + ridge, total)).item()

    rest = np.setdiff1d(np.arange(300), labelled)
    by_chance = [trace(np.random.default_rng(seed).choice(rest, 20, replace=False)) for seed in range(50)]
    assert trace(run(name, features, probabilities, labelled, 20)) < min(by_chance)


@pytest.mark.parametrize("name", BAITS)
def test_copies_of_one_image_are_no_obstacle(name):
    picks = run(name, np.full((30, 4), 0.3, np.float32), np.full((30, 3), 1 / 3, np.float32), [3], 12)
    assert len(set(picks)) == 12


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bait", {"pca_dim": 0}),
        ("bait", {"num_proposals": 0}),
        ("bait", {"swaps": 0}),
        ("bait", {"ridge": 0.0}),
        ("bait_binary", {"ridge": 0.0}),
        ("bait_topc", {"ridge": -1.0}),
        ("bait_topc", {"classes": 0}),
        ("bait_topc", {"pca_dim": 0}),
    ],
)
def test_impossible_settings_are_refused(name, settings):
    with pytest.raises(ValueError, match="must be"):
        registry.load("strategies", name).Config(**settings)


def test_matrices_that_would_not_fit_are_a_user_error():
    features, probabilities, labelled = blobs(n=60, k=40, d=512)
    with pytest.raises(UserError, match="at most 307, or use bait_binary"):
        run("bait_topc", features, probabilities, labelled, 5)
    fisher.check_size(40, 512, 30)
