"""The pool: what a strategy may see, in chunks, and nothing else."""

import numpy as np
import pytest
import torch

from labelbench.common.errors import UserError
from labelbench.selection.pool import Head, Pool


def arrays(n=20, k=3, d=4):
    rng = np.random.default_rng(0)
    probabilities = rng.random((n, k))
    return rng.standard_normal((n, d)), probabilities / probabilities.sum(1, keepdims=True)


def test_from_arrays_splits_the_pool_and_keeps_the_order_of_annotation():
    features, probabilities = arrays()
    pool = Pool.from_arrays(features, probabilities, labelled=[7, 2, 11], labels=[0, 2, 1])
    assert pool.labelled.tolist() == [7, 2, 11]
    assert pool.labels.tolist() == [0, 2, 1]
    assert pool.unlabelled.tolist() == [i for i in range(20) if i not in (2, 7, 11)]
    assert pool.num_classes == 3


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 100])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_chunks_cover_the_indices_in_their_order(chunk_size, dtype):
    features, probabilities = (x.astype(dtype) for x in arrays())
    pool = Pool.from_arrays(features, probabilities, [0], [0], chunk_size=chunk_size)
    indices = np.array([5, 3, 19, 4, 12, 0, 1, 2])
    seen = []
    for rows, f, p in pool.chunks(indices):
        assert f.dtype == p.dtype == torch.float32
        assert len(f) == len(p) == len(indices[rows]) <= chunk_size
        assert torch.equal(f, torch.tensor(features[indices[rows]], dtype=torch.float32))
        assert torch.equal(p, torch.tensor(probabilities[indices[rows]], dtype=torch.float32))
        seen += indices[rows].tolist()
    assert seen == indices.tolist()
    f, p = pool.features_and_probabilities(indices)
    assert torch.equal(f, torch.tensor(features[indices], dtype=torch.float32))
    assert torch.equal(p, torch.tensor(probabilities[indices], dtype=torch.float32))
    assert torch.equal(pool.features(indices), f)
    assert torch.equal(pool.probabilities(indices), p)


def test_materialised_outputs_are_copies():
    features, probabilities = (torch.tensor(x, dtype=torch.float32) for x in arrays())
    embed = lambda indices: features[: len(indices)]  # noqa: E731
    classify = lambda indices, _: probabilities[: len(indices)]  # noqa: E731
    pool = Pool(np.array([19]), np.array([0]), np.arange(19), 3, embed, classify)
    before = features.clone(), probabilities.clone()
    for x in pool.features_and_probabilities(pool.unlabelled):
        x.zero_()
    assert torch.equal(features, before[0])
    assert torch.equal(probabilities, before[1])


def test_the_model_is_asked_only_on_demand_and_at_most_a_chunk_at_a_time():
    features, probabilities = arrays()
    asked, classified = [], []

    def embed(indices):
        asked.append(indices.tolist())
        return features[indices]

    def classify(indices, x):
        classified.append((indices.tolist(), len(x)))
        return probabilities[indices]

    pool = Pool(np.array([0]), np.array([0]), np.arange(1, 20), 3, embed, classify, chunk_size=8)
    pool.check_budget(3)
    assert asked == []
    pool.features(pool.unlabelled)
    chunks = [list(range(1, 9)), list(range(9, 17)), list(range(17, 20))]
    assert asked == chunks
    assert classified == []
    pool.probabilities(pool.unlabelled)
    assert classified == [(chunk, len(chunk)) for chunk in chunks]


def test_no_indices_have_features_of_the_right_width():
    pool = Pool.from_arrays(*arrays(), [], [])
    features, probabilities = pool.features_and_probabilities(pool.labelled)
    assert features.shape == (0, 4)
    assert probabilities.shape == (0, 3)


def test_a_pool_with_a_head_has_its_probabilities():
    features, _ = arrays()
    head = Head(torch.tensor([[1.0, 0, 0, 2], [0, -1, 0, 0]]), torch.tensor([0.5, 0.0]))
    pool = Pool.from_head(features, head, [0], [1])
    expected = np.exp(features @ head.weight.numpy().T + head.bias.numpy())
    expected /= expected.sum(1, keepdims=True)
    assert pool.num_classes == 2
    assert np.allclose(pool.probabilities(np.arange(20)), expected, atol=1e-6)


def test_a_pool_cannot_hold_a_label_that_was_not_bought():
    features, probabilities = arrays()
    every_label = np.arange(20) % 3
    with pytest.raises(ValueError, match="20 labels for 2 labelled examples"):
        Pool.from_arrays(features, probabilities, labelled=[1, 2], labels=every_label)
    with pytest.raises(ValueError, match="both labelled and unlabelled"):
        Pool(np.array([1, 2]), np.array([0, 0]), np.arange(2, 20), 3)


def test_unlabelled_indices_must_ascend_because_ties_are_broken_by_index():
    with pytest.raises(ValueError, match="ascending"):
        Pool(np.array([0]), np.array([0]), np.array([3, 2]), 3)


def test_a_strategy_cannot_change_the_label_set():
    pool = Pool.from_arrays(*arrays(), [1, 2], [0, 1])
    for array in (pool.labelled, pool.labels, pool.unlabelled):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


@pytest.mark.parametrize(("budget", "message"), [(19, "only 18 examples"), (0, "at least 1"), (-1, "at least 1")])
def test_impossible_budgets_are_user_errors(budget, message):
    pool = Pool.from_arrays(*arrays(), [1, 2], [0, 1])
    with pytest.raises(UserError, match=message):
        pool.check_budget(budget)
    pool.check_budget(18)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_diverged_model_is_named(which, value):
    data = arrays()
    data[which][13, 2] = value
    pool = Pool.from_arrays(*data, [0], [0], chunk_size=8)
    with pytest.raises(UserError, match="diverged"):
        pool.probabilities(pool.unlabelled)
