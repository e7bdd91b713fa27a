"""Settings chosen from candidates: by the rule `tune`, with labels of its own, or by cross-validation in each round."""

import json
import logging

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from labelbench.data import label_set
from labelbench.training import tuning

LOG = logging.getLogger("test")
RATES = [1e-7, 3e-3]


# How candidates are compared.


def test_labels_are_a_share_of_the_pool_and_nested():
    def drawn(fraction):
        return tuning.draw(1000, fraction, np.random.default_rng(3)).tolist()

    assert len(drawn(0.1)) == len(set(drawn(0.1))) == 100
    assert drawn(0.25)[:100] == drawn(0.1)
    assert max(drawn(0.1)) > 900  # not the first ones


def test_the_first_of_equal_candidates_wins():
    assert tuning.best([0.5, 0.9, 0.7]) == 1
    assert tuning.best([0.5, 0.9, 0.9]) == 1


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_stratified(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, size=53, p=[0.6, 0.2, 0.15, 0.05])
    fold = tuning.stratified(labels, 5, rng)
    for part in (fold, *(fold[labels == label] for label in range(4))):
        sizes = [int((part == k).sum()) for k in range(5)]
        assert max(sizes) - min(sizes) <= 1
    assert not np.array_equal(fold, tuning.stratified(labels, 5, rng))  # at random


def a_label_set(n=37, seed=0):
    rng = np.random.default_rng(seed)
    return label_set.empty("f", 0).extended(rng.permutation(200)[:n], rng.integers(3, size=n), 1)


def test_scores_are_of_labels_that_the_model_had_not_learned():
    labels = a_label_set()
    known = dict(zip(labels.index.tolist(), labels.label.tolist(), strict=True))
    fold = tuning.stratified(labels.label, 5, np.random.default_rng(1))
    asked = {"right": [], "constant": [], "arbitrary": []}

    def predict(candidate, learned, at):
        assert not set(learned.index) & set(at)
        assert set(learned.index) | set(at) == set(known)
        assert learned.label.tolist() == [known[i] for i in learned.index.tolist()]
        asked[candidate["kind"]] += at.tolist()
        return {
            "right": np.array([known[i] for i in at.tolist()]),
            "constant": np.zeros(len(at), dtype=np.int64),
            "arbitrary": at % 3,
        }[candidate["kind"]]

    candidates = [{"kind": kind} for kind in asked]
    scores = tuning.cross_validated(candidates, labels, fold, 3, "balanced_accuracy", predict)
    assert all(sorted(positions) == sorted(known) for positions in asked.values())
    expected = [balanced_accuracy_score(labels.label, p) for p in (labels.label, 0 * labels.label, labels.index % 3)]
    assert scores == pytest.approx(expected)


def test_a_round_may_have_fewer_labels_than_folds():
    labels = a_label_set(n=3)
    how = {"folds": 5, "candidates": [{"epochs": 1}, {"epochs": 2}], "metric": "accuracy"}
    spec = {"trainer": {"name": "passive", "epochs": 9}, "cross_validation": how}

    def predict(candidate, learned, at):
        assert len(learned.index) == 2
        return labels.label[np.isin(labels.index, at)] if candidate["epochs"] == 2 else np.full(len(at), 99 % 3)

    settings = tuning.settled(spec, None, labels, 3, np.random.default_rng(0), predict, LOG)
    assert settings == {"name": "passive", "epochs": 2}


def test_settings_without_candidates_stay(tmp_path):
    trainer = {"name": "passive", "epochs": 9, "batch_size": 4}
    assert tuning.settled({"trainer": trainer}, [], None, 3, None, None, LOG) == trainer
    (tmp_path / "chosen.json").write_text(json.dumps({"chosen": {"epochs": 2}}))
    chosen = tuning.settled({"trainer": trainer}, tmp_path / "chosen.json", None, 3, None, None, LOG)
    assert chosen == {"name": "passive", "epochs": 2, "batch_size": 4}
