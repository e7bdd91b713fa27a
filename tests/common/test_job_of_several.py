"""Processes that make up one job: they end as one, with one message, and share steps so that nothing is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import REPO
from labelbench.common import ranks
from labelbench.common.errors import UserError

RANK = """
import os, signal, sys, time
sys.path.insert(0, {scripts!r})
from pathlib import Path
from labelbench.common import jobs, ranks

folder = Path({folder!r})
job = type("Job", (), {{"log": [str(folder / "log")], "scriptdir": {scripts!r}, "rule": "finetune"}})
log = jobs.start(job)
log.info("rank %d", ranks.own())
log.warning("of each")
(folder / f"pid{{ranks.own()}}").write_text(str(os.getpid()))
"""


def a_script(folder, code):
    path = folder / "script.py"
    path.write_text(RANK.format(scripts=str(REPO / "workflow/scripts"), folder=str(folder)) + code)
    return [sys.executable, str(path)]


def gone(folder):
    """Whether no rank is left."""
    pids = [int(path.read_text()) for path in folder.glob("pid*")]
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_ranks_run_one_script_and_the_first_keeps_the_log(tmp_path):
    code = "(folder / f'done{ranks.own()}').write_text(str(ranks.count()))"
    assert ranks.run(3, a_script(tmp_path, code)) == 0
    assert [(tmp_path / f"done{rank}").read_text() for rank in range(3)] == ["3"] * 3
    log = (tmp_path / "log").read_text()
    assert log.count("rank 0") == log.count("of each") == 1
    assert "rank 1" not in log


# What ends rank 1 of three while the others go on, and what is said.
ENDS = {
    "an error of the user's": ("raise jobs.UserError('Your mistake.')", "^Your mistake.$"),
    "an error of the code": ("1 / 0", "unexpected error.*ZeroDivisionError"),
    "a kill": ("os.kill(os.getpid(), signal.SIGKILL)", r"Process 2 of 3 of this job was killed \(SIGKILL\).*mem_mb"),
    "no word": ("print('last words', file=sys.stderr); os._exit(7)", "Process 2 of 3 .* ended with 7.*last words"),
}


@pytest.mark.parametrize("how", ENDS)
def test_the_end_of_one_is_the_end_of_all_with_one_message(how, tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "PATIENCE", 1)
    end, message = ENDS[how]
    began = time.monotonic()
    with pytest.raises(UserError, match=f"(?s){message}"):
        ranks.run(3, a_script(tmp_path, f"if ranks.own() == 1:\n    {end}\ntime.sleep(60)"))
    assert time.monotonic() - began < 30
    assert gone(tmp_path)


def test_what_all_say_is_said_once(tmp_path):
    with pytest.raises(UserError) as error:
        ranks.run(3, a_script(tmp_path, "raise jobs.UserError('The mistake of all.')"))
    assert str(error.value) == "The mistake of all."
    assert "mistake" not in (tmp_path / "log").read_text()  # the process that started them says it there


WAITS = """
if ranks.own() == 0:
    def save(*_):
        (folder / "saved").write_text("state")
        raise SystemExit(143)
    signal.signal(signal.SIGTERM, save)
(folder / f"ready{ranks.own()}").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("to", ["the job", "all processes", "a kill of the job"])
def test_a_signal_is_heard_by_the_first(to, tmp_path):
    command = a_script(tmp_path, WAITS)
    code = (
        f"import sys; sys.path.insert(0, {str(REPO / 'workflow/scripts')!r})\n"
        f"from labelbench.common import ranks\nsys.exit(ranks.run(2, {command!r}))"
    )
    job = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
        time.sleep(0.05)
        assert job.poll() is None
    if to == "all processes":
        os.killpg(job.pid, signal.SIGTERM)  # as Slurm does
    elif to == "the job":
        job.terminate()
    else:
        job.kill()
    assert job.wait(30) == (-signal.SIGKILL if "kill" in to else 128 + signal.SIGTERM)
    assert (tmp_path / "saved").exists() == ("kill" not in to)
    for _ in range(200):
        if gone(tmp_path):
            break
        time.sleep(0.05)
    assert gone(tmp_path)


@pytest.mark.parametrize("examples", [0, 1, 2, 5, 8, 31])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_shares_are_a_partition_and_each_is_its_mirror_image(examples, number):
    shares = ranks.shares(examples, number)
    assert sorted(np.concatenate(shares).tolist()) == list(range(examples))
    assert max(map(len, shares)) - min(map(len, shares)) <= 2
    for share in shares:
        assert share.tolist() == (examples - 1 - share)[::-1].tolist()


@pytest.mark.parametrize(
    ("resources", "gpus"),
    [
        ({}, 0),
        ({"gpu": 0}, 0),
        ({"gpu": 4}, 4),
        ({"gpu": 0, "gres": "gpu:2"}, 2),
        ({"gres": "gpu:a100:4"}, 4),
        ({"gres": "gpu"}, 1),
        ({"gres": "nvme:1,gpu:a100:3,tmp:2"}, 3),
        ({"gres": "nvme:1"}, 0),
    ],
)
def test_gpus_that_a_job_asked_for(resources, gpus):
    assert ranks.asked(SimpleNamespace(resources=resources)) == gpus


def test_a_job_with_one_gpu_is_no_ranks(monkeypatch):
    monkeypatch.setattr(ranks, "run", lambda *_: pytest.fail("it has started some"))
    ranks.spread(SimpleNamespace(resources={"gpu": 1}), None)
    ranks.leave()
    assert (ranks.count(), ranks.own(), ranks.told(3), ranks.every(2)) == (1, 0, 3, [2])
    assert list(ranks.in_turn("ab")) == ["a", "b"]
    assert ranks.dealt(5, 2).tolist() == list(range(5))
