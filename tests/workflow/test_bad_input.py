"""Wrong input ends with a message that names cause and cure, a non-zero exit, and nothing half-written."""

import gzip

import h5py

from conftest import configure
from labelbench.common import hdf5
from replicas import write_fashion_mnist
from studies import (
    refused,
)


def test_unknown_strategy(fresh):
    configure(fresh, {"run": {"strategies": ["random", "margn"]}})
    assert "'margn' is not defined. Did you mean 'margin'?" in refused(fresh)


def test_unknown_setting_of_a_plugin(fresh):
    configure(fresh, {"trainers": {"flexmatch": {"treshold": 0.9}}})
    assert "there is no setting 'treshold'. Did you mean 'threshold'?" in refused(fresh)


def test_unknown_key_of_the_config(fresh):
    configure(fresh, {"run": {"trails": 4}})
    assert "trails" in refused(fresh)


def test_budget_larger_than_the_pool(fresh):
    configure(fresh, {"budgets": {"default": {"batches": [600], "rounds": 4}}})
    output = refused(fresh, "results/initial/digits/glyphclip/trial0/labels.h5")
    assert "The budget of digits is larger than its pool: 1820 labels" in output
    assert "Lower initial, batches or rounds under `budgets`" in output
    assert not (fresh / "results/initial/digits/glyphclip/trial0/labels.h5").exists()


def fashion(repo, folder):
    configure(repo, {"datasets": {"fashion": {"name": "fashion_mnist", "folder": str(folder)}}})
    configure(repo, {"run": {"datasets": ["fashion"]}})


def test_missing_dataset_folder(fresh):
    fashion(fresh, "/nowhere/fashion")
    output = refused(fresh, "results/datasets/fashion.h5")
    assert "/nowhere/fashion/train-images-idx3-ubyte.gz" in output
    assert "apt-get install dataset-fashion-mnist" in output


def test_truncated_idx_file(fresh, tmp_path):
    folder = tmp_path / "idx"
    folder.mkdir()
    write_fashion_mnist(folder)
    path = folder / "train-images-idx3-ubyte.gz"
    with gzip.open(path) as file:
        content = file.read()
    with gzip.open(path, "wb") as file:
        file.write(content[:-100])
    fashion(fresh, folder)
    output = refused(fresh, "results/datasets/fashion.h5")
    assert "train-images-idx3-ubyte.gz is truncated" in output
    assert "Download it again" in output
    assert not (fresh / "results/datasets/fashion.h5").exists()


def test_checkpoint_of_another_architecture(fresh):
    import torch
    from safetensors.torch import save_file

    other = fresh / "resources/other.safetensors"
    save_file({"visual.conv1.weight": torch.zeros(32, 3, 7, 7), "logit_scale": torch.zeros(())}, other)
    configure(fresh, {"encoders": {"glyphclip": {"pretrained": "resources/other.safetensors"}}})
    output = refused(fresh, "results/embeddings/digits/glyphclip/clean.h5")
    assert "resources/other.safetensors" in output
    assert "visual.conv1.weight" in output
    assert not (fresh / "results/embeddings/digits/glyphclip/clean.h5").exists()


def test_missing_checkpoint(fresh):
    configure(fresh, {"encoders": {"glyphclip": {"pretrained": "resources/gone.safetensors"}}})
    assert "resources/gone.safetensors" in refused(fresh, "results/embeddings/digits/glyphclip/clean.h5")


def test_label_set_of_another_dataset(repo):
    folder = repo / "results/runs/digits/glyphclip/linear-flexmatch/random"
    labels = folder / "trial0/round02/labels.h5"
    with h5py.File(labels, "r+") as file:
        file.attrs["fingerprint"] = "0" * 32
        hdf5.seal(file)
    output = refused(repo, str((folder / "trial0/round02/metrics.json").relative_to(repo)), "--forcerun", "train_proxy")
    assert "belongs to another dataset" in output
    assert "Delete" in output


def test_truncated_label_set(repo):
    folder = repo / "results/runs/digits/glyphclip/linear-flexmatch/random"
    labels = folder / "trial0/round02/labels.h5"
    labels.write_bytes(labels.read_bytes()[:300])
    output = refused(repo, str((folder / "trial0/round02/metrics.json").relative_to(repo)), "--forcerun", "train_proxy")
    assert "cannot be read as HDF5" in output
    assert "Delete it and run Snakemake again" in output
