"""Metrics against scikit-learn's, and the two definitions of pool accuracy."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from labelbench.data import label_set
from labelbench.data.datasets import digits
from labelbench.training import metrics


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("absent", [0, 3])
def test_classification_is_scikit_learns(seed, absent):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(7 - absent, size=50), rng.integers(7, size=50)
    ours = metrics.classification(true, predicted, 7)
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
    present = np.unique(true)
    assert ours["balanced_accuracy"] == pytest.approx(
        sk.recall_score(true, predicted, labels=present, average="macro", zero_division=0)
    )
    assert ours["macro_f1"] == pytest.approx(
        sk.f1_score(true, predicted, labels=present, average="macro", zero_division=0)
    )


@pytest.mark.parametrize("seed", range(5))
def test_worst_class_and_worst_group_are_the_lowest_of_those_present(seed):
    rng = np.random.default_rng(seed)
    true, predicted, groups = rng.choice([0, 2, 3], 60), rng.integers(4, size=60), rng.choice([-1, 1, 4], 60)
    found = metrics.classification(true, predicted, 4, groups)
    right = true == predicted
    assert found["worst_class_accuracy"] == pytest.approx(min(right[true == k].mean() for k in (0, 2, 3)))
    assert found["worst_group_accuracy"] == pytest.approx(min(right[groups == g].mean() for g in (1, 4)))


def test_without_groups_there_is_no_worst_group():
    true, predicted = np.array([0, 1, 1]), np.array([0, 1, 0])
    for groups in (None, np.array([-1, -1, -1])):
        found = metrics.classification(true, predicted, 2, groups)
        assert found == {
            "accuracy": pytest.approx(2 / 3),
            "balanced_accuracy": pytest.approx(3 / 4),
            "macro_f1": pytest.approx(2 / 3),
            "worst_class_accuracy": pytest.approx(1 / 2),
        }


def test_a_pool_is_judged_by_what_is_known_of_it():
    true, predicted = np.array([0, -1, 1, -1, 1]), np.array([0, 1, 0, 0, 1])
    groups, bought = np.array([0, 0, 1, 1, 1]), np.array([2])
    found = metrics.pool(true, predicted, bought, true[bought], 2, groups)
    known = metrics.pool(true[true >= 0], predicted[true >= 0], np.array([1]), np.array([1]), 2, groups[true >= 0])
    assert found == known
    assert (found["pool_accuracy"], found["pool_model_accuracy"]) == (1.0, pytest.approx(2 / 3))
    assert (found["pool_worst_group_accuracy"], found["pool_model_worst_group_accuracy"]) == (1.0, pytest.approx(1 / 2))
    assert metrics.pool(np.full(3, -1), predicted[:3], np.array([], int), np.array([], int), 2) == {}


def test_pool_accuracy_counts_bought_labels_as_annotated():
    true = np.array([0, 1, 2, 2, 1])
    predicted = np.array([1, 1, 0, 2, 0])
    found = metrics.pool(true, predicted, np.array([0, 2]), np.array([0, 1]), 3)
    assert found["pool_model_accuracy"] == pytest.approx(2 / 5)
    # Bought: example 0 right, example 2 wrong (a mistaken annotator); of the others 1 and 3 are predicted right.
    assert found["pool_accuracy"] == pytest.approx(3 / 5)


def test_logits_are_reduced_batch_by_batch():
    """To the same numbers as at once, and without memory for more than a batch, or for pairs of classes."""
    rng = np.random.default_rng(0)
    true, logits = rng.integers(20, size=300), rng.normal(scale=9, size=(300, 20)).astype(np.float32)
    whole = metrics.of_logits([logits], true)
    parts = metrics.of_logits(np.array_split(logits, 11), true)
    assert all(np.array_equal(one, other) for one, other in zip(whole, parts, strict=True))
    assert np.array_equal(whole.classes, logits.argmax(1))
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(true))
    assert -whole.log_likelihood.mean() == pytest.approx(float(expected), rel=1e-5)

    classes, batches, rows = 20_000, 8, 50
    tracemalloc.start()
    made = (rng.normal(size=(rows, classes)).astype(np.float32) for _ in range(batches))
    many = metrics.of_logits(made, np.arange(rows * batches))
    found = metrics.classification(np.arange(rows * batches), many.classes, classes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["accuracy"] < 0.1
    assert peak < 5 * 8 * rows * classes  # all logits are 8 batches of float32, pairs of classes 200 times as much


def test_evaluate_covers_every_split():
    dataset = digits.prepare(digits.Config())
    cameras = dataset.splits["test"]._replace(groups=np.arange(len(dataset.splits["test"].labels)) % 3)
    dataset = replace(dataset, splits={**dataset.splits, "test_ood": cameras})
    rng = np.random.default_rng(0)
    logits = {name: rng.normal(size=(len(s.labels), 10)).astype(np.float32) for name, s in dataset.splits.items()}
    labels = label_set.empty(dataset.fingerprint, 0).extended(np.array([1]), dataset.splits["pool"].labels[[1]], 1)
    predictions = {
        name: metrics.of_logits([part[:7], part[7:]], dataset.splits[name].labels) for name, part in logits.items()
    }
    found = metrics.evaluate(dataset, predictions, labels)
    assert set(found) == {"pool", "val", "test", "test_ood"}
    assert found["test_ood"].keys() - found["test"].keys() == {"worst_group_accuracy"}
    assert {"pool_accuracy", "pool_model_accuracy", "pool_balanced_accuracy", "pool_macro_f1"} <= set(found["pool"])
    assert "pool_worst_class_accuracy" in found["pool"]
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits["test"]), torch.from_numpy(dataset.splits["test"].labels)
    )
    assert found["test"]["loss"] == pytest.approx(float(expected), rel=1e-5)
