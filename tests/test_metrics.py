"""Metrics against scikit-learn's, and the two definitions of pool accuracy."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from labelbench import label_set, metrics
from labelbench.datasets import digits


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


def test_pool_accuracy_counts_bought_labels_as_annotated():
    true = np.array([0, 1, 2, 2, 1])
    predicted = np.array([1, 1, 0, 2, 0])
    found = metrics.pool(true, predicted, np.array([0, 2]), np.array([0, 1]), 3)
    assert found["pool_model_accuracy"] == pytest.approx(2 / 5)
    # Bought: example 0 right, example 2 wrong (a mistaken annotator); of the others 1 and 3 are predicted right.
    assert found["pool_accuracy"] == pytest.approx(3 / 5)


def test_evaluate_covers_every_split():
    dataset = digits.prepare(digits.Config())
    rng = np.random.default_rng(0)
    logits = {name: rng.normal(size=(len(s.labels), 10)).astype(np.float32) for name, s in dataset.splits.items()}
    labels = label_set.empty(dataset.fingerprint, 0).extended(np.array([1]), dataset.splits["pool"].labels[[1]], 1)
    found = metrics.evaluate(dataset, logits, labels)
    assert set(found) == {"pool", "val", "test"}
    assert {"pool_accuracy", "pool_model_accuracy", "pool_balanced_accuracy", "pool_macro_f1"} <= set(found["pool"])
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits["test"]), torch.from_numpy(dataset.splits["test"].labels)
    )
    assert found["test"]["loss"] == pytest.approx(float(expected), rel=1e-5)
