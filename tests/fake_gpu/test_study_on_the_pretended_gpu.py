"""A small study through unmodified jobs of Snakemake, on the CPU and the pretended GPU: the same labels are bought."""

import shutil

import h5py
import pytest

import guard
from conftest import configure, snakemake
from studies import a_study
from test_on_the_pretended_gpu import environment

pytestmark = [pytest.mark.slow, pytest.mark.skipif(guard.missing() is not None, reason=guard.missing() or "")]

# All that computes on a GPU: proxies, the encoder itself, a blend that embeds anew, zero-shot guesses for the first
# round, cross-validation of both kinds. In float32: `auto` is bfloat16 on a GPU that has it, and picks other images.
STUDY = a_study(["linear", "blend", "finetune"], rounds=3, every=2, initial="class_balanced")
VALIDATED = {"by": "cross_validation", "folds": 2}
CHANGES = {
    "encoders": {"glyphclip": {"precision": "float32"}},
    "trainers": {
        "flexmatch": {"precision": "float32", "tune": {"learning_rate": [1e-7, 3e-3], **VALIDATED}},
        "flexmatch_images": {"precision": "float32", "tune": {"learning_rate": [3e-4], **VALIDATED}},
        "passive_images": {"precision": "float32"},
    },
}
JOBS = {
    "embed", "zero_shot_head", "zero_shot_pool", "train_proxy", "select_batch", "finetune", "finetune_round", "refresh",
}  # fmt: skip


def labels_bought(repo):
    """index and label of each label set, by its path."""
    found = {}
    for path in sorted((repo / "results").rglob("labels.h5")):
        with h5py.File(path) as file:
            found[str(path.relative_to(repo))] = [file[name][()].tolist() for name in ("index", "label")]
    return found


def test_the_labels_are_those_of_the_cpu(tiny_workflow, tmp_path):
    bought, used = {}, tmp_path / "used"
    used.mkdir()
    for device, env in (("cpu", {}), ("gpu", environment(FAKE_GPU_LOG=str(used), FAKE_GPUS="2"))):
        repo = tmp_path / device
        shutil.copytree(tiny_workflow, repo)
        configure(repo, STUDY)
        configure(repo, CHANGES)
        # Jobs on embeddings ask for a GPU in large pools only.
        small = [f"{rule}:gpu=1" for rule in ("train_proxy", "select_batch", "try_proxy", "initial_labels")]
        snakemake(repo, "-c2", "--resources", "gpu=2", "--set-resources", *small, env=env)
        bought[device] = labels_bought(repo)
    assert len(bought["gpu"]) > 10 and bought["gpu"] == bought["cpu"]
    # And they were computed there: each job says with how many operators, and its script.
    scripts = [path.read_text().split()[1].partition(".")[2].removesuffix(".py") for path in used.iterdir()]
    assert {script.rpartition(".")[2] for script in scripts} >= JOBS, set(scripts)
