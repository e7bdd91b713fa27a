"""Tuning in the workflow. A candidate whose learning rate is next to nothing cannot win."""

import csv
import json

from conftest import configure, snakemake
from labelbench.data import annotator, dataset_file, label_set
from studies import count, planned

RATES = [1e-7, 3e-3]


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
