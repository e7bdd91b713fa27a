"""Settings chosen from candidates: by the rule `tune`, with labels of its own, or by cross-validation in each round."""

import copy
import csv
import json
import logging

import numpy as np
import pytest
import yaml
from sklearn.metrics import balanced_accuracy_score

from conftest import REPO, configure, merged, snakemake
from labelbench.common.errors import UserError
from labelbench.data import annotator, dataset_file, label_set
from labelbench.planning import plan
from labelbench.training import tuning
from test_invalidation import count, planned

LOG = logging.getLogger("test")
RATES = [1e-7, 3e-3]


@pytest.fixture
def config():
    return yaml.safe_load((REPO / "config/config.yaml").read_text())


def with_tune(config, **tune):
    return plan.study(merged(copy.deepcopy(config), {"trainers": {"flexmatch": {"tune": tune}}}))


# What the config says.


def test_candidates_are_all_combinations(config):
    study = with_tune(config, learning_rate=[1e-3, 3e-3], batch_size=[32, 64, 128])
    expected = [{"learning_rate": rate, "batch_size": size} for rate in (1e-3, 3e-3) for size in (32, 64, 128)]
    assert study.tuning["flexmatch"].candidates == expected
    assert study.tuning["flexmatch"].config == tuning.Config("validation", 0.1, 5)


def test_without_candidates_a_study_is_what_it_was(config):
    plain, off = plan.study(config), plan.study(merged(config, {"trainers": {"flexmatch": {"tune": None}}}))
    assert plain.tuning == off.tuning == {}
    assert plain.trainers["flexmatch"].spec == with_tune(config, epochs=[1, 2]).trainers["flexmatch"].spec


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"learning_rat": [1e-3]}, "there is no setting 'learning_rat'. Did you mean 'learning_rate'?"),
        ({"learning_rate": 1e-3}, "learning_rate needs a list of candidates, such as [0.001, 0.003], not 0.001"),
        ({"learning_rate": []}, "learning_rate needs a list of candidates"),
        ({"learning_rate": [1e-3, "1e-2"]}, "learning_rate: '1e-2' is not of type 'number'"),
        ({"threshold": [0.9, 1.5]}, "threshold is a probability"),
        ({"folds": 3}, "names no setting with candidates"),
        ({"epochs": [3], "folds": 1}, "folds must be at least 2"),
        ({"epochs": [3], "fraction": 0.0}, "fraction is a share of the pool in (0, 1], not 0.0"),
        ({"epochs": [3], "by": "cross"}, "by: 'cross' is not one of"),
    ],
)
def test_candidates_that_cannot_be(config, tune, message):
    with pytest.raises(UserError) as error:
        with_tune(config, **tune)
    assert str(error.value).startswith("config, trainers: flexmatch: tune")
    assert message in str(error.value)


def test_tune_names_settings(config):
    with pytest.raises(UserError, match="must name settings with their candidates"):
        plan.study(merged(config, {"trainers": {"flexmatch": {"tune": [1e-3, 1e-2]}}}))


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


# In the workflow. A candidate whose learning rate is next to nothing cannot win.


def of_models(jobs):
    """How many of the planned jobs train, tune or select, by rule."""
    return {rule: n for rule, n in count(jobs).items() if rule not in ("tuning_table", "collect", "tables", "figures")}


def test_tuning_in_the_workflow(repo):
    study = {"run": {"datasets": ["digits"], "strategies": ["random"], "trials": 1}}
    study["budgets"] = {"default": {"rounds": 2}}
    study["trainers"] = {
        "flexmatch": {"tune": {"learning_rate": RATES, "fraction": 0.05}},
        "flexmatch_images": {"tune": {"learning_rate": [1e-9, 3e-4], "fraction": 0.02}},
    }
    configure(repo, study)
    tuning_jobs = {"tuning_labels": 2, "try_proxy": 2, "try_finetune": 2, "tune": 2}
    assert of_models(planned(repo)) == {**tuning_jobs, "train_proxy": 2, "finetune": 1}
    snakemake(repo, "-c2", "results/tables/metrics.csv", "results/tables/tuning.csv")
    results = repo / "results"

    chosen = json.loads((results / "tuned/digits/glyphclip/linear-flexmatch.json").read_text())
    assert chosen["chosen"] == {"learning_rate": 3e-3}
    assert [candidate["settings"]["learning_rate"] for candidate in chosen["candidates"]] == RATES
    scores = [candidate["score"] for candidate in chosen["candidates"]]
    assert scores[1] > scores[0]
    assert chosen["num_labels"] == 50  # of 1000
    final = json.loads((results / "tuned/digits/glyphclip/final-flexmatch_images.json").read_text())
    assert final["num_labels"] == 20
    assert len(final["candidates"]) == 2

    # The model of a round is the one that its definition with the winner's settings gives.
    model = results / "runs/digits/glyphclip/linear-flexmatch/initial/trial0/round01/proxy.safetensors"
    tuned = model.read_bytes()
    metrics = json.loads(model.with_name("metrics.json").read_text())
    assert metrics["settings"]["learning_rate"] == 3e-3
    with (results / "tables/tuning.csv").open() as file:
        rows = {row["trainer"]: row for row in csv.DictReader(file)}
    assert (rows["flexmatch"]["labels"], rows["flexmatch"]["chosen"]) == ("50", "learning_rate: 0.003")
    assert "final · flexmatch_images" in (results / "tables/tuning.html").read_text()
    assert of_models(planned(repo)) == {}

    # One more candidate is one more job; then the choice and what it decides.
    configure(repo, {"trainers": {"flexmatch": {"tune": {"learning_rate": [*RATES, 1e-8]}}}})
    assert of_models(planned(repo)) == {"try_proxy": 1, "tune": 1, "train_proxy": 2}

    configure(repo, {"trainers": {"flexmatch": {"tune": None, "learning_rate": 3e-3}}})
    assert of_models(planned(repo)) == {"train_proxy": 2}
    snakemake(repo, "-c1", str(model.relative_to(repo)))
    assert model.read_bytes() == tuned

    # By cross-validation on the 20 labels of the round, here with the same winner.
    configure(repo, {"trainers": {"flexmatch": {"tune": {"learning_rate": RATES, "by": "cross_validation"}}}})
    assert of_models(planned(repo)) == {"train_proxy": 2}
    snakemake(repo, "-c1", str(model.relative_to(repo)))
    assert model.read_bytes() == tuned
    log = "logs/runs/digits/glyphclip/linear-flexmatch/initial/trial0/round01/train_proxy.log"
    assert "chose {'learning_rate': 0.003}, of accuracy by cross-validation" in (repo / log).read_text()


def test_labels_for_tuning_are_the_annotators_with_mistakes(repo):
    noise = {"kind": "symmetric", "rate": 0.3}
    tune = {"learning_rate": RATES}
    configure(repo, {"datasets": {"digits": {"noise": noise}}, "trainers": {"flexmatch": {"tune": tune}}})
    path = "results/tuned/digits/glyphclip/linear-flexmatch/initial/trial0/round00/labels.h5"
    snakemake(repo, "-c1", path)
    dataset = dataset_file.read(repo / "results/datasets/digits.h5")
    bought = label_set.read(repo / path, dataset)
    assert len(bought.index) == 100  # a tenth
    assert bought.label.tolist() == annotator.of_trial(dataset, noise, seed=0, trial=0)[bought.index].tolist()
    assert 0.1 < (bought.label != dataset.splits["pool"].labels[bought.index]).mean() < 0.5


def test_cross_validation_of_an_encoder_leaves_no_trace(repo):
    place = repo / "results/runs/digits/glyphclip/linear-flexmatch/random/trial0/round03/finetune-flexmatch_images"
    before = json.loads((place / "metrics.json").read_text())
    tune = {"learning_rate": [3e-4], "by": "cross_validation", "folds": 2}
    assert before["settings"]["learning_rate"] == 3e-4
    configure(repo, {"trainers": {"flexmatch_images": {"tune": tune}}})
    snakemake(repo, "-c1", str((place / "metrics.json").relative_to(repo)))
    after = json.loads((place / "metrics.json").read_text())
    assert '"folds": 2' in after["spec"]
    assert (after["metrics"], after["settings"]) == (before["metrics"], before["settings"])
