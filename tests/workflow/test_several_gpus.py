"""End-to-end training by several processes, through Snakemake: the results of one process, also after a kill."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest

from conftest import configure, copy_workflow, snakemake
from studies import a_study, job_processes, planned

# `gpu=2` says that there are two GPUs; where there is none, both processes compute on the CPU.
TWO, RUNS = ["--resources", "gpu=2"], "results/runs/digits/glyphclip"
ROUND = f"{RUNS}/finetune-flexmatch_images/initial/trial0/round01"
LAST = {"trainers": ["flexmatch_images"], "rounds": "last"}


def a_workflow(folder, **training):
    """A blend and the encoder itself as selectors, fine-tuned by two processes where two GPUs are said to be there."""
    folder.mkdir(exist_ok=True)
    repo = copy_workflow(folder / "repo")
    configure(repo, a_study(["blend", "finetune"], rounds=2, every=1, strategies=["margin"], finetune=LAST))
    configure(repo, {"encoders": {"glyphclip": {"end_to_end": {"gpus": 2}}}})
    configure(repo, {"trainers": {"flexmatch_images": training}})
    return repo


def numbers(value):
    """A JSON value with its floats as printed digits, without the digests of all bits, its own and its history's."""
    if isinstance(value, dict):
        return {key: numbers(inner) for key, inner in value.items() if key not in ("digest", "history")}
    return f"{value:.4f}" if isinstance(value, float) and math.isfinite(value) else value


def metrics(repo):
    found = {path.relative_to(repo): json.loads(path.read_text()) for path in repo.glob("results/runs/**/metrics.json")}
    return {str(path): numbers(content) for path, content in found.items()}


@pytest.fixture(scope="module")
def of_one(tmp_path_factory):
    repo = a_workflow(tmp_path_factory.mktemp("one"))
    snakemake(repo, "-c2", "--resources", "gpu=1")
    return repo


@pytest.mark.slow
def test_a_study_on_two_gpus_is_the_same(of_one, tmp_path):
    repo = a_workflow(tmp_path)
    how = {"gpus": 2, "accumulation": 3, "checkpoint_activations": True}
    configure(repo, {"encoders": {"glyphclip": {"end_to_end": how}}})
    output = snakemake(repo, "-c2", *TWO)
    assert output.count("gpu=2") == 5  # two rounds of the encoder, two refreshes and the blend's final; and the limit
    assert metrics(repo) == metrics(of_one)
    for path in of_one.glob("results/runs/**/labels.h5"):
        assert path.read_bytes() == (repo / path.relative_to(of_one)).read_bytes()
    logs = [path.read_text() for path in (repo / "logs").rglob("*.log")]
    assert sum("2 processes, each with a GPU" in log for log in logs) == 4
    # Another number of GPUs, or another way to save memory, reruns nothing.
    configure(repo, {"encoders": {"glyphclip": {"end_to_end": {"gpus": 4, "accumulation": 1}}}})
    assert planned(repo) == []


def interrupted(repo, *args, when, kill):
    """Start a fine-tune, and when its log says `when`, do `kill` with its processes; the output of the run."""
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "-c2", *args, "--", f"{ROUND}/proxy.safetensors"],
        cwd=repo, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    log, end = repo / "logs" / ROUND.removeprefix("results/") / "finetune_round.log", time.monotonic() + 300
    while not (log.exists() and when in log.read_text()):
        assert run.poll() is None and time.monotonic() < end, run.communicate()[0]
        time.sleep(0.1)
    kill(sorted(job_processes(repo)))
    return run.communicate(timeout=120)[0]


def terminate(processes):
    for process in processes:
        os.kill(process, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(TWO, ["--resources", "gpu=1"]), (["--resources", "gpu=1"], TWO)])
def test_a_preempted_training_goes_on_with_another_number_of_gpus(before, after, tmp_path):
    long = {"epochs": 8, "min_steps_per_epoch": 10}
    undisturbed, repo = a_workflow(tmp_path / "undisturbed", **long), a_workflow(tmp_path / "preempted", **long)
    target = f"{ROUND}/proxy.safetensors"
    snakemake(undisturbed, "-c2", "--resources", "gpu=1", "--", target)
    interrupted(repo, *before, when="epoch 2", kill=terminate)
    assert (repo / ROUND / "checkpoint.safetensors").exists() and not job_processes(repo)
    snakemake(repo, "-c2", *after, "--", target)
    assert metrics(repo)[f"{ROUND}/metrics.json"] == metrics(undisturbed)[f"{ROUND}/metrics.json"]
    log = (repo / "logs" / ROUND.removeprefix("results/") / "finetune_round.log").read_text()
    assert "go on after epoch" in log
    assert not (repo / ROUND / "checkpoint.safetensors").exists()


@pytest.mark.slow
def test_a_killed_process_ends_the_job_with_one_message(tmp_path):
    repo = a_workflow(tmp_path, epochs=50, min_steps_per_epoch=20)
    output = interrupted(repo, *TWO, when="epoch 1", kill=lambda found: os.kill(found[-1], signal.SIGKILL))
    assert output.count("of 2 of this job was killed (SIGKILL)") == 1
    assert "Traceback" not in output and not job_processes(repo)
