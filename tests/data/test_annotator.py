"""Label noise: rates, one annotator per trial, and that nothing but what is bought is wrong."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
import yaml
from scipy import stats

from conftest import REPO, configure, merged, snakemake
from labelbench.common.errors import UserError
from labelbench.data import annotator, dataset_file, label_set
from labelbench.data.dataset_file import Dataset, Split
from labelbench.data.oracle import Oracle
from labelbench.planning import plan
from labelbench.training import metrics
from test_invalidation import planned
from test_own_data import study, write_folders

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
    right = {"pool": np.eye(3, dtype=np.float32)[true]}
    found = metrics.evaluate(dataset, right, labels)["pool"]
    mistakes = (given != true)[:60].sum()
    assert 5 < mistakes < 40
    assert found["pool_model_accuracy"] == 1
    assert found["pool_accuracy"] == pytest.approx(1 - mistakes / 90)


@pytest.fixture
def config():
    return yaml.safe_load((REPO / "config/config.yaml").read_text())


def with_noise(config, noise):
    return merged(config, {"datasets": {"digits": {"noise": noise}}})


def test_noise_is_part_of_the_plan_of_its_dataset_only(config):
    assert set(map(str, plan.study(config).noise.values())) == {"{}"}
    noise = plan.study(with_noise(config, SYMMETRIC)).noise
    assert noise["digits"] == {"noise": {**SYMMETRIC, "matrix": ""}}
    assert noise["digits_longtail"] == {}
    assert "noise" not in plan.study(with_noise(config, SYMMETRIC)).datasets["digits"].settings


def test_another_content_of_a_matrix_file_is_another_setting(config, tmp_path):
    path = tmp_path / "noise.csv"
    asked = with_noise(config, {"kind": "matrix", "matrix": str(path)})
    specs = []
    for content in ("1,0\n0,1", "0,1\n1,0"):
        path.write_text(content)
        specs.append(plan.study(asked).noise["digits"])
    assert specs[0]["noise"] == specs[1]["noise"]
    assert specs[0] != specs[1]
    path.unlink()
    assert "noise_matrix" not in plan.study(asked).noise["digits"]  # the job that needs the file says so


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"kind": "symmetric"}, "needs a rate"),
        ({"kind": "symmetric", "rate": 1.5}, "needs a rate"),
        ({"kind": "matrix"}, "needs a matrix"),
        ({"kind": "column", "rate": 0.1}, "rate belongs to noise of kind symmetric"),
        ({"kind": "symetric", "rate": 0.1}, "'symetric' is not one of"),
        ({"kind": "symmetric", "rat": 0.1}, "Did you mean 'rate'?"),
        ({"kind": "matrix", "matrix": [[1, "x"], [0, 1]]}, "matrix"),
    ],
)
def test_noise_that_cannot_be(config, noise, message):
    with pytest.raises(UserError) as caught:
        plan.study(with_noise(config, noise))
    assert "config, datasets: digits: noise" in str(caught.value)
    assert message in str(caught.value)


def test_a_matrix_in_the_config_reaches_the_annotator(config):
    matrix = [[0.5, 0.5], [0, 1]]
    parts = plan.study(with_noise(config, {"kind": "matrix", "matrix": matrix})).noise["digits"]
    settings = json.loads(json.dumps(parts))["noise"]
    assert annotator.Config(**settings).matrix == matrix
    dataset = dataclasses.replace(small_dataset([0, 1] * 50), class_names=("a", "b"), fingerprint="")
    given = annotator.of_trial(dataset, settings, 0, 0)
    assert (given[1::2] == 1).all()
    assert 10 < (given[::2] == 1).sum() < 40


def labels_of(name, strategy, round_, trial=0):
    if round_ == 1:
        return f"results/initial/{name}/glyphclip/trial{trial}/labels.h5"
    return f"results/runs/{name}/glyphclip/linear-flexmatch/{strategy}/trial{trial}/round{round_:02d}/labels.h5"


def test_a_study_with_noise(tmp_path):
    """Every round and strategy of a trial buys from one annotator; data, tests and noiseless specs stay as they are."""
    folder = str(write_folders(tmp_path / "images", {"x": 40, "y": 40, "z": 40}))
    mine = {"name": "image_folder", "folder": folder}
    noisy = {**mine, "noise": {"kind": "symmetric", "rate": 0.5}}
    repo = study(tmp_path, {"mine": mine, "noisy": noisy}, strategies=["random", "galaxy"], trials=2)
    configure(repo, {"strategies": {"galaxy": None}, "augmentations": 1})
    configure(repo, {"trainers": {"flexmatch": {"epochs": 1, "min_steps_per_epoch": 1}}})
    configure(repo, {"budgets": {"default": {"initial": 20, "batches": [10], "rounds": 3}}})
    targets = [labels_of("noisy", *at) for at in (("random", 3), ("random", 3, 1), ("galaxy", 2))]
    targets += [labels_of("mine", "random", 2)]
    snakemake(repo, "-c1", *targets, env={"OMP_NUM_THREADS": "1"})

    clean, dataset = (dataset_file.read(repo / f"results/datasets/{name}.h5") for name in ("mine", "noisy"))
    assert dataset.fingerprint == clean.fingerprint
    for split, values in clean.splits.items():
        assert np.array_equal(dataset.splits[split].labels, values.labels)
    true = dataset.splits["pool"].labels
    for strategy, round_, trial in (
        ("random", 1, 0),
        ("random", 2, 0),
        ("random", 3, 0),
        ("random", 3, 1),
        ("galaxy", 2, 0),
    ):
        given = annotator.of_trial(dataset, noisy["noise"], seed=0, trial=trial)
        bought = label_set.read(repo / labels_of("noisy", strategy, round_, trial), dataset)
        assert np.array_equal(bought.label, given[bought.index])
        new = bought.round == round_
        assert (bought.label != true[bought.index])[new].any()
    bought = label_set.read(repo / labels_of("mine", "random", 2), clean)
    assert np.array_equal(bought.label, true[bought.index])
    with h5py.File(repo / labels_of("mine", "random", 2)) as file:
        assert "noise" not in file.attrs["spec"]

    configure(repo, {"datasets": {"noisy": {"noise": {"rate": 0.4}}}})
    again = {(w["dataset"], w["trial"]) for rule, w in planned(repo) if rule == "initial_labels"}
    assert again == {("noisy", "0"), ("noisy", "1"), ("mine", "1")}  # the last was not asked for before
