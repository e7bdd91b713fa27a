"""A training that was killed goes on where it stopped, with the result of an undisturbed one to the bit."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import REPO
from labelbench.common import registry
from labelbench.training.trainers import flexmatch
from small_trainings import a_problem, fitted
from test_trainers import EVERY


class Stop(Exception):
    pass


def interrupted(problem, epoch, step, stop):
    """The problem with views that call `stop` before they give those of one step."""
    clean, views, *rest = problem

    class Interrupted:
        def batches(self, now, first_step, plan):
            for number, batch in enumerate(views.batches(now, first_step, plan)):
                if (now, number) == (epoch, step):
                    stop()
                yield batch

    return clean, Interrupted(), *rest


def fail():
    raise Stop


def same(first, second):
    (model, history, *_), (other, again, *_) = first, second
    for epoch, other_epoch in zip(history, again, strict=True):
        assert str(epoch) == str(other_epoch)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def resumed(path, trainer, epoch, step, **settings):
    """A training that stopped at a step of an epoch and was started again."""
    with pytest.raises(Stop):
        fitted(trainer, problem=interrupted(a_problem(), epoch, step, fail), checkpoint=path, identity="a", **settings)
    return fitted(trainer, checkpoint=path, identity="a", **settings)


@pytest.mark.parametrize("name", EVERY)
def test_every_trainer_resumes(name, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trainer = registry.load("trainers", name)
    own = {"mixup": 0.5} if name == "passive" else {"threshold": 0.6} if hasattr(trainer.Config, "threshold") else {}
    settings = {"truth": a_problem()[3], "name": "shallow", **own}
    undisturbed = fitted(trainer, **settings)
    same(undisturbed, resumed(tmp_path / "c", trainer, 3, 4, **settings))
    assert name == "passive" or 0.2 < undisturbed[1][3]["mask_rate"] < 0.99  # what the trainer remembers matters
    assert "go on after epoch 3" in caplog.text


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("step", [0, 9])
def test_every_optimiser_resumes(optimiser, step, tmp_path):
    settings = {"optimiser": optimiser, "schedule": "warm_restarts", "first_period": 7, "lr_warmup": 0.2}
    same(fitted(flexmatch, **settings), resumed(tmp_path / "c", flexmatch, 2, step, **settings))


@pytest.mark.parametrize("early_stopping", ["loss", "accuracy"])
def test_early_stopping_resumes(early_stopping, tmp_path):
    settings = {"epochs": 40, "learning_rate": 0.3, "patience": 4, "early_stopping": early_stopping, "ramp": 0.5}
    undisturbed = fitted(flexmatch, **settings)
    length = len(undisturbed[1])
    assert 5 < length < 40
    # In the last epoch: the best state and how long ago it was come from the file.
    same(undisturbed, resumed(tmp_path / "c", flexmatch, length - 1, 5, **settings))
    # And once it is over, there is nothing left to do.
    same(undisturbed, fitted(flexmatch, checkpoint=tmp_path / "c", identity="a", **settings))


def test_a_file_that_is_of_no_use_is_ignored(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path, undisturbed = tmp_path / "c", fitted(flexmatch)
    same(undisturbed, fitted(flexmatch, checkpoint=path, identity="a"))
    whole = path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]
    same(undisturbed, fitted(flexmatch, checkpoint=path, identity="b"))
    assert "is of another training" in caplog.text
    for content in (whole[: len(whole) // 2], whole[:50], b"", b"no checkpoint at all"):
        caplog.clear()
        path.write_bytes(content)
        same(undisturbed, fitted(flexmatch, checkpoint=path, identity="a"))
        assert "is no readable checkpoint" in caplog.text


KILLED = """
import json, os, signal, sys
sys.path[:0] = [{scripts!r}, {tests!r}, {room!r}]
import torch
from labelbench.training.trainers import freematch
from small_trainings import a_problem, fitted
from test_resume import interrupted
torch.set_num_threads(1)
problem = a_problem()
if sys.argv[2] != "never":
    problem = interrupted(problem, *json.loads(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL))
model, history, *_ = fitted(freematch, problem=problem, checkpoint=sys.argv[1], identity="a", name="shallow")
print(repr([[tensor.tolist() for tensor in model.state_dict().values()], history]))
"""


def test_a_killed_process_resumes(tmp_path):
    code = KILLED.format(
        scripts=str(REPO / "workflow/scripts"), tests=str(REPO / "tests"), room=str(Path(__file__).parent)
    )

    def run(path, kill="never"):
        return subprocess.run(
            [sys.executable, "-c", code, path, json.dumps(kill) if kill != "never" else kill],
            text=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    undisturbed = run(tmp_path / "undisturbed")
    assert undisturbed.stdout, undisturbed.stderr
    for kill in ((2, 3), (4, 0)):
        assert run(tmp_path / "killed", kill).returncode == -signal.SIGKILL
    equal = run(tmp_path / "killed").stdout == undisturbed.stdout
    assert equal  # pytest would take minutes to show the difference of such lines
