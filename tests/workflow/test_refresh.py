"""Refreshed encoders, and selection by the encoder itself: the plan, and the files of a real run."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from conftest import configure, copy_workflow, snakemake
from labelbench.common import torchvision_cpu  # noqa: F401
from labelbench.data import dataset_file  # noqa: F401
from labelbench.data.label_set import read as read_labels
from labelbench.embedding import embeddings, images  # noqa: F401
from labelbench.training import proxy  # noqa: F401
from studies import (
    a_study,
    job_processes,
)

RUNS = "results/runs/digits/glyphclip"
# Where only the DAG counts, jobs are played by a script that does nothing but write what the rule promises.
STUB = "from pathlib import Path\n\nfor path in snakemake.output:\n    Path(path).write_text('made')\n"


@pytest.fixture(scope="module")
def planned_workflow(tmp_path_factory):
    repo = copy_workflow(tmp_path_factory.mktemp("planned") / "repo")
    for script in (repo / "workflow/scripts").glob("*.py"):
        script.write_text(STUB)
    configure(repo, a_study(["linear", "blend", "finetune"], rounds=5, every=2))
    return repo


def inputs_of(repo, *arguments):
    """What the next run would do: the inputs of each job, by (rule, selector, strategy, round)."""
    found = {}
    for block in re.split(r"\n(?=(?:local)?rule )", snakemake(repo, "-n", "--quiet", "progress", *arguments)):
        rule, inputs, wildcards = (
            re.search(pattern, block) for pattern in (r"^(?:local)?rule (\w+):", r"input: (.*)", r"wildcards: (.*)")
        )
        if rule and wildcards and "selector=" in wildcards[1]:
            at = dict(w.split("=") for w in wildcards[1].split(", "))
            model = [at["model"]] if "model" in at else []
            found[rule[1], at["selector"], at["strategy"], int(at["round"]), *model] = inputs[1].split(", ")
    return found


@pytest.fixture(scope="module")
def everything(planned_workflow):
    return inputs_of(planned_workflow)


def test_a_blend_refreshes_in_time_for_later_rounds(everything):
    refreshed = {key[2:] for key in everything if key[0] == "refresh"}
    assert refreshed == {(strategy, round_) for strategy in ("random", "margin") for round_ in (2, 4)}


def test_proxies_and_selections_use_the_last_refresh_before_them(everything):
    own, run = "results/embeddings/digits/glyphclip", f"{RUNS}/blend-flexmatch/margin/trial0"
    for round_, place in ((2, own), (3, f"{run}/round02/refresh"), (4, f"{run}/round02/refresh"), (5, None)):
        place = place or f"{run}/round04/refresh"
        inputs = everything["train_proxy", "blend", "margin", round_]
        assert {f"{place}/clean.h5", f"{place}/aug0.h5"} <= set(inputs)
        if round_ < 5:  # and the proxy is looked at on what it was trained on
            assert f"{place}/clean.h5" in everything["select_batch", "blend", "margin", round_ + 1]


def test_without_a_blend_nothing_changes(everything):
    own, run = "results/embeddings/digits/glyphclip", f"{RUNS}/linear-flexmatch/margin/trial0"
    mine = {key: inputs for key, inputs in everything.items() if key[1] == "linear"}
    assert len(mine) == 1 + 2 * 4 * 2 + 2 * 2  # round 1, proxies and selections of four rounds, two fine-tunes each
    dataset = "results/datasets/digits.h5"
    labels = f"{run}/round03/labels.h5"
    assert mine["train_proxy", "linear", "margin", 3] == [dataset, labels, f"{own}/clean.h5", f"{own}/aug0.h5"]
    assert mine["select_batch", "linear", "margin", 4] == [
        dataset,
        labels,
        f"{run}/round03/proxy.safetensors",
        f"{own}/clean.h5",
    ]


def test_the_encoder_takes_the_proxys_place(everything):
    assert ("train_proxy", "finetune", "margin", 2) not in everything
    before = f"{RUNS}/finetune-flexmatch_images/margin/trial0/round03"
    inputs = everything["select_batch", "finetune", "margin", 4]
    assert {f"{before}/proxy.safetensors", f"{before}/features.h5"} <= set(inputs)
    # Round 1 is trained once, and random waits for no model.
    assert [key for key in everything if key[0] == "finetune_round" and key[3] == 1] == [
        ("finetune_round", "finetune", "initial", 1)
    ]
    assert everything["select_batch", "finetune", "random", 4] == [
        "results/datasets/digits.h5",
        f"{RUNS}/finetune-flexmatch_images/random/trial0/round03/labels.h5",
    ]


def test_a_model_is_not_trained_twice(everything):
    metrics = f"{RUNS}/finetune-flexmatch_images/margin/trial0/round05/metrics.json"
    assert metrics in everything["finetune", "finetune", "margin", 5, "flexmatch_images"]
    assert metrics not in everything["finetune", "finetune", "margin", 5, "passive_images"]
    # The last round of a blend refreshes nothing.
    assert not any("metrics" in path for path in everything["finetune", "blend", "margin", 5, "flexmatch_images"])


def test_a_change_reruns_what_follows_from_it(planned_workflow, everything):
    snakemake(planned_workflow, "-c2", "--quiet", "all")
    assert inputs_of(planned_workflow) == {}
    # The blend's own trainer, which no other selector has.
    changed = {"selectors": {"blend": {"refresh": {"trainer": "passive_images"}}}}
    configure(planned_workflow, changed)
    jobs = set(inputs_of(planned_workflow))
    assert {key[1] for key in jobs} == {"blend"}
    assert {key[2:] for key in jobs if key[0] == "refresh"} == {(s, r) for s in ("random", "margin") for r in (2, 4)}
    assert min(key[3] for key in jobs if key[0] == "train_proxy") == 3
    assert {key[2:4] for key in jobs if key[0] == "select_batch"} == {("margin", 4), ("margin", 5)}
    # Another interval: round 2 refreshes no more, round 3 does.
    configure(planned_workflow, {"selectors": {"blend": {"refresh": {"trainer": "flexmatch_images", "every": 3}}}})
    jobs = set(inputs_of(planned_workflow))
    assert {key[1] for key in jobs} == {"blend"}
    assert {key[3] for key in jobs if key[0] == "refresh"} == {3}
    assert {key[3] for key in jobs if key[0] == "train_proxy"} == {3, 4, 5}
    # Another strategy finds what the encoder's first round has left.
    configure(planned_workflow, a_study(["linear", "blend", "finetune"], rounds=5, every=2))
    configure(planned_workflow, {"run": {"strategies": ["random", "margin", "confidence"]}})
    jobs = set(inputs_of(planned_workflow))
    assert {key[2] for key in jobs} == {"confidence"}
    assert ("finetune_round", "finetune", "confidence", 2) in jobs


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """A finished study of two rounds in which round 1 refreshes the embeddings of round 2."""
    repo = copy_workflow(tmp_path_factory.mktemp("selected") / "repo")
    configure(repo, a_study(["blend", "finetune"], rounds=2, every=1, strategies=["margin"]))
    configure(repo, {"run": {"finetune": {"trainers": ["flexmatch_images"], "rounds": "all"}}})
    snakemake(repo, "-c2")
    return repo


def record(repo, place):
    return json.loads((repo / RUNS / place / "metrics.json").read_text())


def test_a_round_leaves_its_head_and_features(selected):
    dataset = dataset_file.read(selected / "results/datasets/digits.h5")
    run = selected / RUNS / "finetune-flexmatch_images/margin/trial0/round02"
    features = embeddings.read(run / "features.h5", "pool", dataset.fingerprint)
    model, labels = proxy.load(run / "proxy.safetensors"), read_labels(run / "labels.h5", dataset)
    assert torch.equal(model.features(torch.from_numpy(features)), torch.from_numpy(features).float())
    predicted = model(torch.from_numpy(features)).detach().argmax(1).numpy()
    found = record(selected, "finetune-flexmatch_images/margin/trial0/round02")
    assert found["stage"] == "proxy"
    truth = dataset.splits["pool"].labels
    # The features have gone through float16.
    assert found["metrics"]["pool"]["pool_model_accuracy"] == pytest.approx((predicted == truth).mean(), abs=2e-3)
    assert len(labels.index) == 25


def test_refreshed_embeddings_are_another_encoders(selected):
    dataset = dataset_file.read(selected / "results/datasets/digits.h5")
    own = selected / "results/embeddings/digits/glyphclip"
    refreshed = selected / RUNS / "blend-flexmatch/initial/trial0/round01/refresh"
    for file, name in (("clean.h5", "pool"), ("clean.h5", "test"), ("aug0.h5", "weak"), ("aug0.h5", "strong")):
        before, after = (embeddings.read(place / file, name, dataset.fingerprint) for place in (own, refreshed))
        assert before.shape == after.shape
        assert 0 < np.abs(before.astype(float) - after).mean() < np.abs(before.astype(float)).mean()
    cost = json.loads((refreshed / "cost.json").read_text())
    assert cost["embed_seconds"] > 0
    assert 0 < cost["wait_seconds"] < cost["train_seconds"]


def test_a_model_that_is_taken_over_is_the_one_that_would_be_trained(selected):
    trained = record(selected, "blend-flexmatch/margin/trial0/round02/finetune-flexmatch_images")
    run = "finetune-flexmatch_images/{}/finetune-flexmatch_images"
    taken = record(selected, run.format("initial/trial0/round01"))
    refreshed = record(selected, "blend-flexmatch/initial/trial0/round01/finetune-flexmatch_images")
    assert (taken["stage"], taken["model"]) == (trained["stage"], trained["model"]) == ("finetune", "flexmatch_images")
    assert taken["metrics"] == refreshed["metrics"]  # by two selectors, on the same labels of round 1
    history = selected / RUNS / run.format("initial/trial0/round01") / "history.csv"
    assert len(list(csv.DictReader(history.open()))) == 1


@pytest.mark.slow  # tests/training/test_resume.py kills trainings every day
def test_a_killed_finetune_goes_on_where_it_was(selected):
    """On the labels of a finished study, with more epochs, so that there is time to kill."""
    configure(selected, {"trainers": {"passive_images": {"epochs": 8, "min_steps_per_epoch": 6}}})
    place = f"{RUNS}/finetune-flexmatch_images/margin/trial0/round02/finetune-passive_images"
    results = ("metrics.json", "history.csv")
    command = [*(f"{place}/{name}" for name in results), "-c1", "--quiet", "all"]
    snakemake(selected, *command)
    undisturbed = [(selected / place / name).read_bytes() for name in results]
    for name in results:
        (selected / place / name).unlink()
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *command],
        cwd=selected,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint = selected / place / "checkpoint.safetensors"
    while not checkpoint.exists():
        assert run.poll() is None
        time.sleep(0.01)
    for process in job_processes(selected):
        os.kill(process, signal.SIGKILL)
    run.wait(timeout=60)
    assert checkpoint.exists()
    assert not (selected / place / "metrics.json").exists()
    snakemake(selected, *command)
    log = selected / "logs" / place.removeprefix("results/")
    assert "go on after epoch" in log.with_suffix(".log").read_text()
    assert [(selected / place / name).read_bytes() for name in results] == undisturbed
    assert not checkpoint.exists()
