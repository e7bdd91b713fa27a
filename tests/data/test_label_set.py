"""Label sets, the oracle that fills them, and that nothing else reads labels."""

import dataclasses

import numpy as np
import pytest

from labelbench.common.errors import UserError
from labelbench.data import label_set
from labelbench.data.datasets import digits
from labelbench.data.oracle import Oracle


@pytest.fixture(scope="module")
def dataset():
    return digits.prepare(digits.Config())


def a_label_set(dataset, index=(5, 3, 9)):
    labels = label_set.empty(dataset.fingerprint, 2)
    return labels.extended(np.array(index), dataset.splits["pool"].labels[list(index)], 1)


def test_round_trip_keeps_the_order_of_annotation(dataset, tmp_path):
    labels = a_label_set(dataset).extended(np.array([1, 0]), np.array([7, 8]), 2)
    label_set.write(tmp_path / "l.h5", labels, "{}", "abc")
    again = label_set.read(tmp_path / "l.h5", dataset)
    assert again.index.tolist() == [5, 3, 9, 1, 0]
    assert again.round.tolist() == [1, 1, 1, 2, 2]
    assert again.label.tolist() == labels.label.tolist()
    assert again.trial == 2
    label_set.write(tmp_path / "m.h5", labels, "{}", "abc")
    assert (tmp_path / "l.h5").read_bytes() == (tmp_path / "m.h5").read_bytes()


def test_nothing_is_bought_twice(dataset):
    with pytest.raises(ValueError, match="labelled already"):
        a_label_set(dataset).extended(np.array([4, 9]), np.array([0, 0]), 2)


def test_a_label_set_of_another_dataset_is_refused(dataset, tmp_path):
    other = digits.prepare(digits.Config(imbalance_ratio=20))
    label_set.write(tmp_path / "l.h5", a_label_set(dataset), "{}", "abc")
    with pytest.raises(UserError, match="belongs to another dataset.*Delete"):
        label_set.read(tmp_path / "l.h5", other)


@pytest.mark.parametrize("index", [[5, 5, 9], [5, 3, 1000], [-1, 3, 9]])
def test_an_impossible_label_set_is_refused(dataset, tmp_path, index):
    broken = dataclasses.replace(a_label_set(dataset), index=np.array(index))
    label_set.write(tmp_path / "l.h5", broken, "{}", "abc")
    with pytest.raises(UserError, match="repeats an example or names one outside the pool"):
        label_set.read(tmp_path / "l.h5", dataset)


def test_oracle_sells_what_is_asked_and_counts():
    oracle = Oracle(np.array([3, 1, 2, 0]), budget=3)
    assert oracle.buy([2, 0]).tolist() == [2, 3]
    assert oracle.buy(3).tolist() == [0]
    with pytest.raises(ValueError, match="budget of 3"):
        oracle.buy([1])


@pytest.mark.parametrize("asked", [[[1, 1]], [[0, 1], [1]]])
def test_oracle_sells_no_label_twice(asked):
    oracle = Oracle(np.arange(4), budget=4)
    with pytest.raises(ValueError, match="twice"):
        for batch in asked:
            oracle.buy(batch)
