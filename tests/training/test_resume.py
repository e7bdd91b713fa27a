"""A training that was killed goes on where it stopped, with the result of an undisturbed one to the bit."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import REPO
from labelbench.common import registry
from labelbench.training import checkpoint
from labelbench.training.trainers import flexmatch, passive
from small_trainings import LOG, a_problem, fitted
from test_trainers import EVERY


class Stop(Exception):
    pass


def interrupted(problem, epoch, step, stop):
    """The problem with views that call `stop` before they give those of one step."""
    clean, views, *rest = problem

    class Interrupted:
        def batches(self, now, first_step, plan):
            of_epoch = len(plan) * now  # where no step of it was taken before
            for number, batch in enumerate(views.batches(now, first_step, plan), start=first_step - of_epoch):
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
    assert "go on after epoch 3 and 4 steps" in caplog.text


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
    # And once more, from the same file.
    same(undisturbed, fitted(flexmatch, checkpoint=tmp_path / "c", identity="a", **settings))


def test_it_resumes_in_validation(tmp_path):
    """Between the last step of an epoch and the next epoch: only the validation is repeated."""
    settings = {"epochs": 3, "supervised_warmup": 0.4}
    clean, views, labels, truth, (batches, val) = a_problem()
    calls = []

    def failing():
        calls.append(None)
        return fail() if len(calls) == 2 else batches()

    undisturbed, path = fitted(flexmatch, truth=truth, **settings), tmp_path / "c"
    problem = clean, views, labels, truth, (failing, val)
    with pytest.raises(Stop):
        fitted(flexmatch, problem=problem, checkpoint=path, identity="a", truth=truth, **settings)
    same(undisturbed, fitted(flexmatch, checkpoint=path, identity="a", truth=truth, **settings))


def counted(monkeypatch, interval=300.0, step=1.0, **settings):
    """How many states a training of 6 × 10 steps of `step` seconds saves, in seconds since its beginning."""
    now, saved = [0.0], []
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(checkpoint, "INTERVAL", interval)
    monkeypatch.setattr(checkpoint, "save", lambda *_: saved.append(now[0]))
    clean, views, *rest = a_problem()

    class Slow:
        def batches(self, *args):
            for batch in views.batches(*args):
                now[0] += step
                yield batch

    fitted(passive, problem=(clean, Slow(), *rest), checkpoint="nowhere", identity="a", **settings)
    return saved


def test_states_are_saved_every_few_minutes_and_not_at_the_end(monkeypatch):
    assert checkpoint.INTERVAL == 300
    assert counted(monkeypatch) == []  # a minute
    assert counted(monkeypatch, step=20.0) == [300, 600, 900, 1200]
    assert counted(monkeypatch, step=400.0, epochs=1) == [400.0 * n for n in range(1, 11)]


def test_a_signal_is_heard_between_steps(tmp_path, monkeypatch):
    """SIGTERM in the middle of a step or while it waits: the state is saved, whole, and the process ends."""
    undisturbed, handler = fitted(flexmatch), signal.getsignal(signal.SIGTERM)
    for where in ("waiting", "step"):
        path = tmp_path / where
        problem = a_problem()
        if where == "waiting":
            problem = interrupted(problem, 2, 7, lambda: signal.raise_signal(signal.SIGTERM))
        else:
            stepped = checkpoint.Keeper.stepped
            calls = []

            def told(self, stepped=stepped, calls=calls):
                calls.append(None)
                if len(calls) == 27:
                    signal.raise_signal(signal.SIGTERM)
                stepped(self)

            monkeypatch.setattr(checkpoint.Keeper, "stepped", told)
        with pytest.raises(SystemExit) as end:
            fitted(flexmatch, problem=problem, checkpoint=path, identity="a")
        monkeypatch.undo()
        assert end.value.code == 128 + signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == handler
        tensors, (history, *_) = checkpoint.load(path, "a", LOG)
        assert (len(history), len(tensors["taken"]["loss"])) == (2, 7)
        same(undisturbed, fitted(flexmatch, checkpoint=path, identity="a"))


def test_a_file_that_is_of_no_use_is_ignored(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(checkpoint, "INTERVAL", 0)
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
from labelbench.training import checkpoint
from labelbench.training.trainers import freematch
from small_trainings import a_problem, fitted
from test_resume import interrupted
torch.set_num_threads(1)
checkpoint.INTERVAL = 0
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
