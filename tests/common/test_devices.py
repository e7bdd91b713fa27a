"""On which device a job computes, and how jobs share the GPUs of a machine."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from conftest import REPO
from labelbench.common import jobs, torchvision_cpu  # noqa: F401
from labelbench.common.errors import UserError
from labelbench.data import dataset_file  # noqa: F401
from labelbench.embedding import embeddings, images  # noqa: F401
from labelbench.training import proxy  # noqa: F401


def test_jobs_spread_over_the_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    places = [jobs._free_places(3) for _ in range(7)]  # each as another process would see it
    assert [next(place) for place in places] == [0, 1, 2, 0, 1, 2, 0]


def test_a_place_on_a_gpu_is_free_again_when_its_job_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    code = "import sys; from labelbench.common.jobs import _free_places\n"
    code += "print(next(_free_places(2)), flush=True); sys.stdin.read()"
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPO / "workflow/scripts"),
        "TMPDIR": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "4,7",
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    job = subprocess.Popen([sys.executable, "-c", code], **pipes)
    assert job.stdout.readline() == "0\n"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,4")  # numbered otherwise
    assert next(jobs._free_places(2)) == 0
    assert next(jobs._free_places(2)) == 0  # a second place there: card 4 is taken by the job, card 7 by the line above
    job.kill()
    job.wait()
    assert next(jobs._free_places(2)) == 1


def a_job(**resources):
    return SimpleNamespace(resources=resources)


@pytest.mark.parametrize(("count", "expected"), [(0, "cpu"), (1, "cuda")])
def test_one_gpu_needs_no_agreement(monkeypatch, count, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert jobs.device(a_job(gpu=1)) == expected


def test_several_gpus_are_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert [jobs.device(a_job(gpu=1)), jobs.device(a_job(gpu=1))] == ["cuda:0", "cuda:1"]
    assert chosen == [0, 1]


def test_ranks_have_different_gpus(tmp_path, monkeypatch):
    """Whatever others use: two processes of one training cannot share a GPU."""
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    assert jobs.device(a_job(gpu=1)) == "cuda:0"
    monkeypatch.setenv("LABELBENCH_RANKS", "2")
    found = []
    for rank in "01" * 3:
        monkeypatch.setenv("LABELBENCH_RANK", rank)
        found.append(jobs.device(a_job(gpu=2)))
    assert found == ["cuda:2", "cuda:1", "cuda:0", "cuda:3", "cuda:2", "cuda:1"]
    monkeypatch.setenv("LABELBENCH_RANKS", "5")
    with pytest.raises(UserError, match="asked for 5 GPUs on one node, and torch finds 4"):
        jobs.device(a_job(gpu=5))


@pytest.mark.parametrize("slurm", [True, False])
def test_a_job_uses_a_gpu_if_it_asked_for_one(monkeypatch, slurm):
    if slurm:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [jobs.device(a_job(**asked)) for asked in ({}, {"gpu": 0}, {"gres": "lscratch:20"})] == ["cpu"] * 3
    assert [jobs.device(a_job(**asked)) for asked in ({"gpu": 1}, {"gpu": 0, "gres": "gpu:a100:1"})] == ["cuda"] * 2


def test_under_slurm_a_gpu_that_cannot_be_used_is_no_cpu(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert jobs.device(a_job(gpu=1)) == "cpu" and not caplog.text  # on one machine, as ever
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(jobs, "NVIDIA", tmp_path / "nvidia0")
    assert jobs.device(a_job(gpu=1)) == "cpu" and "IT COMPUTES ON THE CPU" in caplog.text
    jobs.NVIDIA.write_text("")
    with pytest.raises(UserError, match="(?s)asked Slurm for a GPU.*nvidia-smi.*LABELBENCH_GPU=0"):
        jobs.device(a_job(gpu=1))
    assert jobs.device(a_job(gpu=0)) == "cpu"


def test_on_a_gpu_float32_is_float32():
    code = "import torch; from types import SimpleNamespace; from labelbench.common import jobs\n"
    code += "print(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)\n"
    code += "torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 1\n"
    code += "jobs.device(SimpleNamespace(resources={'gpu': 1}))\n"
    code += "print(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)\n"
    # As NVIDIA's containers have it.
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPO / "workflow/scripts"),
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False", "False"]


def test_gpus_are_counted_as_torch_shows_them(monkeypatch, tmp_path):
    """Without a driver torch is not even asked; with one it is, in a process of its own."""
    driver, asked = tmp_path / "nvidia0", []

    def answer(text, code=0):
        def run(command, **_):
            asked.append(command)
            return SimpleNamespace(returncode=code, stdout=text)

        monkeypatch.setattr(jobs.subprocess, "run", run)

    monkeypatch.setattr(jobs, "DRIVERS", (driver,))
    answer("8\n")
    assert jobs.gpus() == 0 and not asked
    driver.touch()
    assert jobs.gpus() == 8 and len(asked) == 1
    answer("0\n")
    assert jobs.gpus() == 0
    answer("", code=1)  # jobs have a torch in another environment
    assert jobs.gpus() == 1
    monkeypatch.undo()
    monkeypatch.setattr(jobs, "DRIVERS", (tmp_path,))
    assert jobs.gpus() == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
