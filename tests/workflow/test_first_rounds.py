"""The first round in the workflow."""

import json
import re

import h5py
import numpy as np
import pytest

from conftest import configure, snakemake
from labelbench.common import jobs
from labelbench.selection import initial

LABELS = "results/initial/digits/glyphclip/trial{}/labels.h5"


def first_batch(repo, name, trial=0):
    configure(repo, {"run": {"initial": name}})
    snakemake(repo, "-c1", LABELS.format(trial))
    with h5py.File(repo / LABELS.format(trial)) as file:
        return file["index"][()], file["label"][()]


def test_a_study_begins_where_the_published_runs_began(fresh):
    index, _ = first_batch(fresh, "labelbench", trial=1)
    assert index.tolist() == initial.labelbench(1, 1000, 20).tolist()


def test_random_is_the_default_and_another_first_round_another_batch(fresh):
    default, _ = first_batch(fresh, "random")
    spread, _ = first_batch(fresh, "kmeans")
    assert len(set(spread)) == 20
    assert sorted(spread) != sorted(default)


def test_zero_shot_guesses_balance_the_classes(fresh):
    index, label = first_batch(fresh, "class_balanced")
    assert len(set(index)) == 20
    with h5py.File(fresh / "results/embeddings/digits/glyphclip/zero_shot_pool.h5") as file:
        guesses = (file["pool"][()].astype(np.float32) @ file["head"][()].T).argmax(1)
    assert np.bincount(guesses[index], minlength=10).tolist() == [2] * 10
    assert np.mean(guesses[index] == label) > 0.6


@pytest.mark.slow  # daily without Snakemake: tests/planning/test_sizes.py, tests/selection/test_initial.py
def test_a_cold_start_has_fewer_labels_than_classes(fresh):
    configure(fresh, {"budgets": {"default": {"initial": 3, "batches": [3]}}, "run": {"initial": "typiclust"}})
    run = "results/runs/digits/glyphclip/linear-flexmatch/badge/trial0/round02"
    output = snakemake(fresh, "-c1", f"{run}/metrics.json")
    # Images are embedded on a GPU where there is one, and there is none unless torch shows it.
    assert re.search(r"rule embed:\n(?: .*\n)*? +resources: .*\bgpu=(\d+)", output)[1] == str(jobs.gpus())
    log = fresh / "logs/initial_labels/digits/glyphclip/trial0.log"
    assert "buys 3 labels, fewer than its 10 classes" in log.read_text()
    with h5py.File(fresh / run / "labels.h5") as file:
        assert len(file["index"]) == 6
    found = json.loads((fresh / run / "metrics.json").read_text())
    assert 0.15 < found["metrics"]["pool"]["pool_accuracy"] < 0.8
