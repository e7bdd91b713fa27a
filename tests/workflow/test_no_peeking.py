"""Poisoned labels: whatever was not bought is replaced, and nothing that may not see it changes."""

import os

import h5py
import numpy as np
import pytest

from conftest import configure, snakemake
from labelbench.common import hdf5

FOLDER = "results/runs/digits/glyphclip/linear-flexmatch"


def poison(repo, bought):
    """Replace the true label of every pool example outside `bought`, leaving the file's date as it was."""
    path = repo / "results/datasets/digits.h5"
    before = path.stat()
    with h5py.File(path, "r+") as file:
        labels = file["pool/labels"]
        poisoned = (labels[()] + 1 + np.arange(len(labels)) % 9) % 10
        poisoned[bought] = labels[()][bought]
        labels[...] = poisoned
        hdf5.seal(file)
    # The fingerprint in the file is that of the true labels, as if the oracle were somebody else's.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def label_set(path):
    with h5py.File(path) as file:
        return file["index"][()], file["label"][()]


@pytest.mark.parametrize("strategy", ["random", "margin", "badge"])
def test_selection_reads_no_label_it_did_not_buy(repo, strategy):
    before, after = (f"{FOLDER}/{strategy}/trial0/round0{k}/labels.h5" for k in (2, 3))
    bought, _ = label_set(repo / before)
    index, label = label_set(repo / after)
    poison(repo, bought)
    snakemake(repo, "-c1", after, "--forcerun", after)
    again, poisoned = label_set(repo / after)
    assert again.tolist() == index.tolist()
    # The poison did reach the oracle: exactly the labels bought in round 3 carry it.
    assert (poisoned != label).tolist() == [False] * len(bought) + [True] * (len(index) - len(bought))


@pytest.mark.slow  # daily: the pool that strategies see holds no labels, tests/selection/test_pool.py
def test_a_cold_start_of_a_datasets_own_reads_no_label(repo):
    configure(repo, {"datasets": {"digits": {"initial": "typiclust"}}})
    path = "results/initial/digits/glyphclip/trial0/labels.h5"
    snakemake(repo, "-c1", path)
    index, label = label_set(repo / path)
    poison(repo, [])
    snakemake(repo, "-c1", path, "--forcerun", path)
    again, poisoned = label_set(repo / path)
    assert again.tolist() == index.tolist() and (poisoned != label).all()


def test_training_reads_no_label_it_did_not_buy(repo):
    folder = f"{FOLDER}/margin/trial0/round03"
    proxy, metrics = repo / folder / "proxy.safetensors", repo / folder / "metrics.json"
    model, numbers = proxy.read_bytes(), metrics.read_text()
    poison(repo, label_set(repo / folder / "labels.h5")[0])
    target = f"{folder}/proxy.safetensors"
    snakemake(repo, "-c1", target, "--forcerun", target)
    assert proxy.read_bytes() == model
    assert metrics.read_text() != numbers  # pool accuracy is judged by the poisoned truth
