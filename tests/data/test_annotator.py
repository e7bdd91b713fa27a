"""Label noise: rates, one annotator per trial, and that nothing but what is bought is wrong."""

import numpy as np
import pytest
from scipy import stats

from labelbench.common.errors import UserError
from labelbench.data import annotator, label_set
from labelbench.data.dataset_file import Dataset, Split
from labelbench.data.oracle import Oracle
from labelbench.training import metrics

SYMMETRIC = {"kind": "symmetric", "rate": 0.3}


def drawn(true, num_classes, seed=0, **settings):
    return annotator.answers(true, num_classes, annotator.Config(**settings), np.random.default_rng(seed))


def small_dataset(labels, annotated=None):
    labels = np.asarray(labels)
    pool = Split(labels, np.arange(len(labels)), annotated=annotated)
    held_out = Split(np.arange(3), np.arange(3))
    return Dataset({"pool": pool, "val": held_out, "test": held_out}, ("a", "b", "c"), ("{}",), "0")


@pytest.mark.parametrize(("rate", "num_classes"), [(0.1, 10), (0.45, 2), (0.3, 3), (1.0, 5)])
def test_symmetric_noise_has_its_rate_and_spreads_evenly_over_the_other_classes(rate, num_classes):
    true = np.arange(20000) % num_classes
    given = drawn(true, num_classes, kind="symmetric", rate=rate)
    wrong = given != true
    assert stats.binomtest(int(wrong.sum()), len(true), rate).pvalue > 1e-3
    assert given.min() >= 0 and given.max() < num_classes
    if num_classes > 2:
        shifts = np.bincount((given - true)[wrong] % num_classes, minlength=num_classes)[1:]
        assert stats.chisquare(shifts).pvalue > 1e-3


def test_matrix_noise_follows_the_row_of_the_true_class():
    matrix = ((0.7, 0.3, 0.0), (0.0, 1.0, 0.0), (0.25, 0.25, 0.5))
    true = np.repeat([0, 1, 2], 5000)
    given = drawn(true, 3, kind="matrix", matrix=matrix)
    for label, row in enumerate(matrix):
        counts = np.bincount(given[true == label], minlength=3)
        possible = np.array(row) > 0
        assert counts[~possible].sum() == 0
        if possible.sum() > 1:
            assert stats.chisquare(counts[possible], 5000 * np.array(row)[possible]).pvalue > 1e-3


def test_matrix_in_a_file_is_the_matrix_in_the_config(tmp_path):
    matrix = ((0.7, 0.3, 0.0), (0.1, 0.9, 0.0), (0.333, 0.333, 0.333))
    (tmp_path / "noise.csv").write_text("\n".join(",".join(map(str, row)) for row in matrix))
    true = np.arange(3000) % 3
    written = drawn(true, 3, kind="matrix", matrix=matrix)
    assert np.array_equal(drawn(true, 3, kind="matrix", matrix=str(tmp_path / "noise.csv")), written)
    assert (written != true).any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0.5,0.5\n0.5,0.5", r"shape \(2, 2\).*3 classes"),
        ("1,0,0\n0.5,0.2,0.2\n0,0,1", "row 2 .*sum 0.9"),
        ("1,0,0\n0,1,0\n-1,1,1", "row 3 holds negative"),
        ("1,0,0\n0,nan,0\n0,0,1", "row 2"),
        ("to a,to b,to c\n1,0,0\n0,1,0\n0,0,1", "cannot be read as rows of numbers"),
    ],
)
def test_matrices_that_are_none(tmp_path, content, message):
    (tmp_path / "noise.csv").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        drawn(np.arange(3), 3, kind="matrix", matrix=str(tmp_path / "noise.csv"))
    assert str(tmp_path / "noise.csv") in str(caught.value)


def test_missing_matrix_file():
    with pytest.raises(UserError, match="/nowhere/noise.csv cannot be read"):
        drawn(np.arange(3), 3, kind="matrix", matrix="/nowhere/noise.csv")


@pytest.mark.parametrize(
    "settings", [{"kind": "symmetric", "rate": 1.0}, {"kind": "matrix", "matrix": np.eye(3)[::-1]}]
)
def test_labels_that_nobody_knows_stay_unknown(settings):
    settings = {k: tuple(map(tuple, v)) if k == "matrix" else v for k, v in settings.items()}
    given = drawn(np.array([-1, 0, -1, 2]), 3, **settings)
    assert given[[0, 2]].tolist() == [-1, -1]
    assert given[1] != 0 and given[3] != 2


def test_an_annotator_belongs_to_a_trial():
    dataset = small_dataset(np.arange(600) % 3)
    first = annotator.of_trial(dataset, SYMMETRIC, seed=0, trial=0)
    assert np.array_equal(annotator.of_trial(dataset, SYMMETRIC, seed=0, trial=0), first)
    for other in ({"seed": 0, "trial": 1}, {"seed": 1, "trial": 0}):
        again = annotator.of_trial(dataset, SYMMETRIC, **other)
        # Two independent annotators of three classes agree where both are right, or wrong in the same way.
        assert stats.binomtest(int((again == first).sum()), 600, 0.7**2 + 2 * 0.15**2).pvalue > 1e-3
    assert np.array_equal(annotator.of_trial(dataset, None, 0, 0), np.arange(600) % 3)
    assert np.array_equal(dataset.splits["pool"].labels, np.arange(600) % 3)


def test_a_second_annotator_answers_from_the_dataset():
    second = np.array([2, -1, 1])
    dataset = small_dataset([0, 1, 2], annotated=second)
    for trial in (0, 1):
        assert np.array_equal(annotator.of_trial(dataset, {"kind": "column"}, 0, trial), second)
    oracle = Oracle(second, 3, source=np.array([10, 20, 30]))
    assert oracle.buy([0, 2]).tolist() == [2, 1]
    with pytest.raises(UserError, match="1 of the 1 labels to buy do not exist: the dataset's images number 21 have"):
        oracle.buy([1])
    assert oracle.bought == [0, 2]
    with pytest.raises(UserError, match="`annotator` names their column"):
        annotator.of_trial(small_dataset([0, 1, 2]), {"kind": "column"}, 0, 0)


def test_pool_metrics_are_judged_by_the_truth():
    true = np.arange(90) % 3
    dataset = small_dataset(true)
    given = annotator.of_trial(dataset, SYMMETRIC, 0, 0)
    chosen = np.arange(60)
    labels = label_set.empty(dataset.fingerprint, 0).extended(chosen, Oracle(given, 60).buy(chosen), 1)
    right = {"pool": metrics.of_logits([np.eye(3, dtype=np.float32)[true]], true)}
    found = metrics.evaluate(dataset, right, labels)["pool"]
    mistakes = (given != true)[:60].sum()
    assert 5 < mistakes < 40
    assert found["pool_model_accuracy"] == 1
    assert found["pool_accuracy"] == pytest.approx(1 - mistakes / 90)
