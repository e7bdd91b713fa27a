"""What is particular to the strategies around a last layer: mixing, dropout, boundaries, clusters, and the oracle."""

import itertools

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import references
from labelbench.common import refit, registry
from labelbench.selection import clustering
from labelbench.selection import linkage as cells
from labelbench.selection.pool import Head, Pool
from labelbench.selection.representatives import representatives
from labelbench.selection.strategies import alfamix, dcom, oracle, selectal
from labelbench.selection.strategies._turns import in_turn
from pools import blobs, classes, expect, goodness_of_fit, run


@pytest.mark.parametrize(
    "name, settings",
    [
        ("alfamix", {"epsilon": 0}),
        ("alfamix", {"epsilon": 1.5}),
        ("cluster_margin", {"candidates": 0}),
        ("cluster_margin", {"cluster_size": 0}),
        ("clue", {"temperature": 0}),
        ("dropquery", {"passes": 0}),
        ("dropquery", {"dropout": 1}),
        ("dcom", {"delta": 0}),
        ("dcom", {"largest_delta": 0}),
        ("dcom", {"resolution": float("inf")}),
        ("dcom", {"centre": 1.1}),
        ("dcom", {"steepness": -1}),
        ("dcom", {"largest_part": 0}),
        ("dropquery_class", {"passes": 0}),
        ("falcun", {"gamma": float("inf")}),
        ("oracle", {"candidates": 0}),
        ("oracle", {"evaluated": 0}),
        ("oracle", {"subset": 0}),
        ("oracle", {"strategies": ()}),
        ("oracle", {"strategies": ("margin", "oracle")}),
        ("oracle", {"strategies": ("galaxy",)}),
        ("refine", {"depth": -1}),
        ("refine", {"subset": 0}),
        ("refine", {"share": 0}),
        ("refine", {"strategies": ("oracle",)}),
        ("selectal", {"share": 0}),
        ("selectal", {"folds": 1}),
        ("tcm", {"batches": -1}),
        ("power_margin", {"beta": 0}),
        ("power_margin", {"beta": float("inf")}),
    ],
)
def test_impossible_settings_are_value_errors(name, settings):
    with pytest.raises(ValueError, match="must"):
        registry.load("strategies", name).Config(**settings)


# Groups in turn


def test_groups_give_one_in_turn_and_those_used_up_are_skipped():
    group = np.array([0, 0, 1, 0, 2, 2, 0])
    turn = np.array([2, 0, 1])
    assert in_turn(group, turn, 7).tolist() == [2, 4, 0, 5, 1, 3, 6]
    assert in_turn(group, turn, 2).tolist() == [2, 4]


# Representatives


def test_representatives_are_nearest_to_their_centre_and_the_first_of_equals():
    rng = np.random.default_rng(0)
    features = torch.tensor(rng.standard_normal((300, 5)), dtype=torch.float32)
    features[0] = 0
    unit = torch.nn.functional.normalize(features, dim=1)
    centres, own = clustering.k_means(unit, 40, np.random.default_rng(1))
    picks = representatives(features, 40, np.random.default_rng(1))
    squared = (unit - centres[own]).double().square().sum(1)
    for pick in picks[: len(own.unique())]:
        members = torch.nonzero(own == own[pick]).flatten()
        assert squared[pick] <= squared[members].min() + 1e-5
        if len(members) == 2:
            assert pick == members[0]


def test_representatives_of_copies_make_up_the_number_by_index():
    features = torch.ones((10, 3))
    picks = representatives(features, 4, np.random.default_rng(0))
    assert sorted(picks) == [0, 1, 2, 3]


# Class-balanced


def guesses(counts):
    """A pool in which `counts[c]` examples are guessed to be of class c, and the guesses."""
    guess = np.repeat(np.arange(len(counts)), counts)
    return np.zeros((len(guess), 2), np.float32), np.eye(len(counts), dtype=np.float32)[guess], guess


def test_classes_get_equal_shares_and_what_small_ones_lack_is_shared_evenly():
    features, probabilities, guess = guesses([50, 3, 40, 0, 30])
    picks = run("class_balanced", features, probabilities, [], 42)
    assert np.bincount(guess[picks], minlength=5).tolist() == [13, 3, 13, 0, 13]
    picks = run("class_balanced", features, probabilities, [], 113)
    assert np.bincount(guess[picks], minlength=5).tolist() == [40, 3, 40, 0, 30]


def test_class_balanced_is_uniform_within_a_class_and_over_the_classes_that_get_one_more():
    features, probabilities, _ = guesses([3, 2])
    draws = [tuple(sorted(run("class_balanced", features, probabilities, [], 3, seed=s).tolist())) for s in range(1500)]
    # Two of the first and one of the second class, or one and both.
    two_one = {(*pair, i): 1 / 12 for pair in itertools.combinations(range(3), 2) for i in (3, 4)}
    one_two = {(i, 3, 4): 1 / 6 for i in range(3)}
    assert goodness_of_fit(draws, two_one | one_two) > 0.001


# Power-margin


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_power_margin_draws_in_proportion_to_the_power_of_the_score(beta):
    first = np.array([0.5, 0.6, 0.75, 0.9, 1.0])
    probabilities = np.stack([first, 1 - first], axis=1).astype(np.float32)
    weights = (1 - (2 * first - 1)) ** beta
    expected = {}
    for picks in itertools.permutations(range(4), 3):
        probability, left = 1.0, weights.sum()
        for i in picks:
            probability, left = probability * weights[i] / left, left - weights[i]
        expected[picks] = probability
    features = np.zeros((5, 2), np.float32)
    for draw in (run, expect):
        draws = [
            tuple(draw("power_margin", features, probabilities, [], 3, seed=s, beta=beta).tolist()) for s in range(1500)
        ]
        assert goodness_of_fit(draws, expected) > 0.001


def test_power_margin_takes_certain_examples_last_and_at_random():
    probabilities = np.array([[1, 0], [0.9, 0.1], [0, 1], [1, 0]], np.float32)
    draws = [run("power_margin", np.zeros((4, 1)), probabilities, [], 4, seed=s).tolist() for s in range(1200)]
    assert all(picks[0] == 1 for picks in draws)
    expected = dict.fromkeys(itertools.permutations((0, 2, 3)), 1 / 6)
    assert goodness_of_fit([tuple(picks[1:]) for picks in draws], expected) > 0.001


# BASE


def test_base_takes_for_each_class_what_is_nearest_to_its_boundary():
    # Three classes around the origin, at 120 degrees: boundaries are the rays in between.
    angles = np.deg2rad([90, 210, 330])
    weight = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, size=(500, 2)).astype(np.float32)
    head = (weight, np.zeros(3, np.float32))
    picks = run("base", features, np.full((500, 3), 1 / 3, np.float32), [], 90, head=head)
    logits = features @ weight.T
    predicted = logits.argmax(1)
    ordered = np.sort(logits, axis=1)
    margin = (ordered[:, 2] - ordered[:, 1]) / np.sqrt(3)
    # All boundaries are shared by two classes, so that the 90 picks lie on both sides of each.
    assert margin[picks].max() < np.quantile(margin, 0.35)
    assert np.bincount(predicted[picks], minlength=3).min() >= 15


@pytest.mark.parametrize("budget", [2, 7, 41])
def test_base_works_where_classes_share_their_weights(budget):
    features, probabilities, labelled = blobs(n=60, k=4, d=3)
    weight = np.ones((4, 3), np.float32)
    weight[3] = -1
    known = {"head": (weight, np.array([0, 0, 1, 0], np.float32))}
    arguments = ("base", features, probabilities, labelled[:10], budget)
    assert np.array_equal(run(*arguments, **known), expect(*arguments, **known))


def test_base_lets_chance_decide_which_classes_a_small_budget_reaches():
    (features, probabilities, labelled), known = classes(k=4)
    draws = {tuple(run("base", features, probabilities, labelled, 1, seed=s, **known)) for s in range(30)}
    assert len(draws) > 1


# DropQuery


@pytest.mark.parametrize("passes", [1, 3, 4])
@pytest.mark.parametrize("budget", [2, 30])
def test_dropquery_lowers_the_threshold_only_where_candidates_are_few(passes, budget):
    (features, probabilities, labelled), known = classes(n=900, d=16, spread=0.6)
    arguments = ("dropquery", features, probabilities, labelled, budget)
    known |= {"passes": passes}
    assert np.array_equal(run(*arguments, **known), expect(*arguments, **known))


def test_dropquery_takes_all_candidates_first_and_the_rest_uniformly():
    # Dropping the only feature of an example of class 1 leaves the bias, which says class 0.
    features = np.array([[4], [-1], [-1], [-1], [-1]], np.float32)
    head = (np.array([[0], [1]], np.float32), np.array([0.5, 0], np.float32))
    probabilities = np.full((5, 2), 0.5, np.float32)
    draws = [run("dropquery", features, probabilities, [], 3, seed=s, head=head).tolist() for s in range(1500)]
    with_candidate = [tuple(picks[1:]) for picks in draws if picks[0] == 0]
    # Dropped in at least one of three passes, unless nothing is: 1 − 1/64.
    assert len(with_candidate) > 1400
    expected = dict.fromkeys(itertools.permutations(range(1, 5), 2), 1 / 12)
    assert goodness_of_fit(with_candidate, expected) > 0.001


# ALFA-Mix


def flips_by_autograd(features, weight, bias, anchors, epsilon):
    """Whether some anchor, mixed in with the closed-form ratio, changes the prediction; the gradient by autograd."""
    z = torch.tensor(features, dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.tensor(x, dtype=torch.float64) for x in (weight, bias))
    logits = z @ weight.T + bias
    predicted = logits.argmax(1)
    loss = torch.nn.functional.cross_entropy(logits, predicted, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, z)
    flips = torch.zeros(len(z), dtype=torch.bool)
    with torch.no_grad():
        for anchor in torch.tensor(anchors):
            difference = anchor - z
            ratio = epsilon * (difference.norm(dim=1) / gradient.norm(dim=1))[:, None] * gradient / difference
            mixed = ratio * anchor + (1 - ratio) * z
            flips |= (mixed @ weight.T + bias).argmax(1) != predicted
    return flips.numpy()


@pytest.mark.parametrize("seed", range(3))
def test_alfamix_finds_the_changes_that_mixing_all_anchors_makes(seed):
    (features, _, labelled), known = classes(n=400, k=5, d=12, labelled=20, seed=seed, spread=0.7)
    weight, bias = known["head"]
    weight = 0.5 * weight  # confident predictions would have no gradient left for autograd to see
    labels = known["truth"][labelled]
    head = Head(torch.tensor(weight), torch.tensor(bias))
    pool = Pool.from_head(features, head, labelled, labels)
    level = alfamix._level_of_change(pool, 0.2, 5)
    anchors = np.array([features[labelled[labels == c]].astype(np.float64).mean(0) for c in np.unique(labels)])
    for multiple in range(1, 6):
        flips = flips_by_autograd(features[pool.unlabelled], weight, bias, anchors, 0.2 * multiple / np.sqrt(12))
        assert 0 < flips.sum() < len(flips)
        assert np.array_equal(level <= multiple, flips)


@pytest.mark.parametrize("epsilon", [0.03125, 0.3, 1.0])
@pytest.mark.parametrize("budget", [5, 60])
def test_alfamix_raises_the_bound_until_there_are_enough_candidates(epsilon, budget):
    pool, known = classes(n=400, k=5, d=12, labelled=20, spread=0.7)
    arguments = ("alfamix", *pool, budget)
    known |= {"epsilon": epsilon}
    assert np.array_equal(run(*arguments, **known), expect(*arguments, **known))


def test_alfamix_is_uniform_where_nothing_is_labelled():
    features, probabilities, _ = blobs(n=4, k=3, d=2, labelled=0)
    draws = [tuple(run("alfamix", features, probabilities, [], 2, seed=s).tolist()) for s in range(1200)]
    assert goodness_of_fit(draws, dict.fromkeys(itertools.permutations(range(4), 2), 1 / 12)) > 0.001


# Cluster-Margin


def test_average_linkage_is_that_of_scipy():
    features = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    found = cells.average_linkage(torch.tensor(features), 20, np.random.default_rng(0))
    expected = fcluster(linkage(features.astype(np.float64), "average"), 20, "maxclust")
    assert len(set(found)) == 20
    assert len(set(zip(found, expected, strict=True))) == 20


def test_average_linkage_in_cells_finds_the_clusters_that_lie_apart(monkeypatch):
    monkeypatch.setattr(cells, "LARGEST_CELL", 64)
    rng = np.random.default_rng(0)
    group = rng.integers(30, size=600)
    features = 20 * rng.standard_normal((30, 8))[group] + 0.1 * rng.standard_normal((600, 8))
    sizes = [len(cell) for cell in cells._cells(torch.tensor(features, dtype=torch.float32), rng)]
    assert max(sizes) <= 64
    assert sum(sizes) == 600
    found = cells.average_linkage(torch.tensor(features, dtype=torch.float32), 60, np.random.default_rng(0))
    assert len(set(found)) == 60
    for cluster in range(60):  # none reaches over two groups
        assert len(set(group[found == cluster])) == 1


def test_average_linkage_cuts_copies_into_cells_by_position(monkeypatch):
    monkeypatch.setattr(cells, "LARGEST_CELL", 16)
    found = cells.average_linkage(torch.ones((100, 3)), 10, np.random.default_rng(0))
    assert sorted(set(found)) == list(range(8))  # 100 is halved three times, and nothing is merged across cells
    assert np.bincount(found).max() <= 16


@pytest.mark.parametrize("settings", [{"candidates": 1}, {"candidates": 3, "cluster_size": 4}, {"cluster_size": 500}])
def test_cluster_margin_takes_turns_from_the_smallest_cluster_up(settings):
    arguments = ("cluster_margin", *blobs(n=300), 40)
    picks = run(*arguments, **settings)
    assert np.array_equal(picks, expect(*arguments, **settings))
    _, probabilities, labelled = blobs(n=300)
    ordered = np.sort(probabilities, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    left = np.setdiff1d(np.arange(300), labelled)
    allowed = left[np.argsort(margin[left], kind="stable")[: settings.get("candidates", 10) * 40]]
    assert set(picks) <= set(allowed)


def test_cluster_margin_draws_uniformly_within_a_cluster():
    # Two far groups of 3 and 2; the smaller one gives first.
    features = np.array([[0], [0.1], [0.2], [9], [9.1]], np.float32)
    probabilities = np.full((5, 2), 0.5, np.float32)
    draws = [
        tuple(run("cluster_margin", features, probabilities, [], 2, seed=s, cluster_size=3).tolist())
        for s in range(1200)
    ]
    assert goodness_of_fit(draws, {(b, a): 1 / 6 for b in (3, 4) for a in (0, 1, 2)}) > 0.001


# Oracle


def test_refits_converge_to_the_logistic_regression_of_scikit_learn():
    x, y = load_digits(return_X_y=True)
    x = np.column_stack([(x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1), np.ones(len(x))])
    rng = np.random.default_rng(0)
    sets = np.array([rng.choice(len(x), 120, replace=False) for _ in range(4)])
    few, many = (refit.fit_heads(torch.tensor(x[sets]), torch.tensor(y[sets]), 10, i).numpy() for i in (50, 3000))
    for rows, at_once, converged in zip(sets, few, many, strict=True):
        model = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=5000).fit(x[rows], y[rows])
        assert np.allclose(converged.T, model.coef_, atol=1e-5)
        assert np.mean((x @ at_once).argmax(1) == model.predict(x)) > 0.99


@pytest.mark.parametrize("penalty", [1.0, 30.0])
def test_refits_by_blocks_of_rows_are_those_at_once(penalty, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = torch.tensor(rng.normal(size=(2, 90, 7))).float(), torch.tensor(rng.integers(5, size=(2, 90)))
    whole = refit.fit_heads(x.double(), y, 5, penalty=penalty)
    monkeypatch.setattr(refit, "BLOCK", 2 * 7 * 13)  # 13 rows
    torch.testing.assert_close(refit.fit_heads(x, y, 5, penalty=penalty), whole, rtol=1e-9, atol=1e-12)
    scores = whole.double()
    slope = x.double().mT @ ((x.double() @ scores).softmax(2) - torch.nn.functional.one_hot(y, 5)) + penalty * scores
    assert slope.abs().max() < 1e-3


def test_refits_know_no_more_than_one_class():
    heads = refit.fit_heads(torch.ones((1, 3, 2)).double(), torch.full((1, 3), 2), 4)
    assert (torch.ones(2).double() @ heads[0]).argmax() == 2


@pytest.mark.parametrize("seed", range(3))
def test_oracle_takes_the_batch_that_the_reference_takes(seed):
    pool, known = classes(n=240, seed=seed, spread=1.0)
    known |= {"candidates": 12, "evaluated": 150, "seed": seed}
    assert np.array_equal(run("oracle", *pool, 8, **known), expect("oracle", *pool, 8, **known))


def test_oracle_gives_a_better_model_than_random_batches():
    x, y = load_digits(return_X_y=True)
    x = ((x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)).astype(np.float32)
    gain = []
    for seed in range(3):
        labelled = np.random.default_rng(seed).choice(500, 10, replace=False)
        uniform = np.full((500, 10), 0.1, np.float32)
        accuracy = {}
        for name, settings in (("oracle", {"strategies": ("random", "coreset")}), ("random", {})):
            picks = run(name, x[:500], uniform, labelled, 10, seed=seed, truth=y[:500], **settings)
            known = np.append(labelled, picks)
            accuracy[name] = LogisticRegression(max_iter=1000).fit(x[known], y[known]).score(x[500:], y[500:])
        gain.append(accuracy["oracle"] - accuracy["random"])
    assert np.mean(gain) > 0.05


def test_oracle_buys_all_that_is_left():
    features, probabilities, labelled = blobs(n=40)
    picks = run("oracle", features, probabilities, labelled, 20, candidates=3)
    assert sorted(picks) == np.setdiff1d(np.arange(40), labelled).tolist()


def test_oracle_refits_in_blocks_like_all_at_once(monkeypatch):
    (features, probabilities, labelled), known = classes(n=200)
    arguments = ("oracle", features, probabilities, labelled, 10)
    at_once = run(*arguments, candidates=10, **known)
    monkeypatch.setattr(oracle, "LARGEST_FIT", 1)
    assert np.array_equal(at_once, run(*arguments, candidates=10, **known))


# Switches


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("labelled", [20, 40])
def test_selectal_finds_the_kind_that_the_reference_finds(labelled, seed):
    (features, probabilities, chosen), known = classes(labelled=labelled, seed=seed)
    truth, config = known["truth"], selectal.Config()
    pool = Pool.from_arrays(features, probabilities, chosen, truth[chosen])
    view = references.View(features.astype(float), probabilities.astype(float), chosen, truth[chosen], 4)
    found = selectal.kind_missed_most(pool, config, np.random.default_rng(seed))
    assert found == references.load("selectal").kind_missed_most(view, config, np.random.default_rng(seed))


@pytest.mark.parametrize("kind, name", [("typical", "typiclust"), ("atypical", "badge"), ("any", "random")])
def test_selectal_takes_the_strategy_of_the_kind(kind, name, monkeypatch):
    monkeypatch.setattr(selectal, "kind_missed_most", lambda *_: kind)
    pool = (*blobs(n=100), 30)
    assert np.array_equal(run("selectal", *pool), run(name, *pool))


@pytest.mark.parametrize("coverage, competence", [(0.0, 0.0), (0.8, 0.5), (1.0, 1.0)])
def test_dcom_trusts_margins_where_the_pool_is_covered(coverage, competence):
    assert dcom._competence(coverage, dcom.Config()) == pytest.approx(competence, abs=1e-4)


def test_dcom_covers_first_and_asks_margins_later():
    features = np.repeat(np.eye(4, dtype=np.float32), [5, 10, 20, 40], axis=0)
    margins = np.linspace(0.1, 0.9, 75)
    probabilities = np.stack([0.5 + margins / 2, 0.5 - margins / 2], axis=1).astype(np.float32)
    truth = np.zeros(75, dtype=np.int64)
    assert run("dcom", features, probabilities, [], 4, truth=truth, delta=0.5).tolist() == [35, 15, 5, 0]
    picks = run("dcom", features, probabilities, [35, 15, 5, 0], 4, truth=truth, delta=0.5)
    assert picks.tolist() == [1, 2, 3, 4]


def test_dcom_in_parts_gives_each_its_share():
    pool = (*blobs(n=200), 30)
    picks = run("dcom", *pool, largest_part=50)
    assert len(set(picks)) == 30 and not set(picks) & set(pool[2])


def test_typiclass_takes_the_middle_of_the_class_with_the_fewest_labels():
    angles = np.radians([0, 10, 20, 40, 90, 100, 120, 5])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 0])
    picks = run("typiclass", features, np.full((8, 2), 0.5, np.float32), [7], 3, truth=truth)
    assert picks.tolist() == [5, 2, 4]
