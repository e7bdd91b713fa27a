"""Kill -9 of a job, or of Snakemake, at any moment: the next run ends with the same files as an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from conftest import configure, snakemake
from studies import deterministic_files, job_processes


def start(repo):
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "-c2"],
        cwd=repo,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.slow  # seconds on idle cores, minutes beside other tests: threads wait for each other
def test_more_threads_print_the_same_digits(fresh, finished):
    """Two threads add in another order than one: not the last bits are the same, but what readers see."""
    rules = ("embed", "zero_shot_head", "train_proxy", "select_batch", "finetune")
    snakemake(fresh, "-c2", "--set-threads", *(f"{rule}=2" for rule in rules), "--", "results/tables/summary.txt")
    costs = [json.loads(path.read_text()) for path in (fresh / "results/runs").rglob("cost.json")]
    assert len(costs) > 10 and {cost["threads"] for cost in costs} == {2}
    texts = [(repo / "results/tables/summary.txt").read_text() for repo in (fresh, finished)]
    assert texts[0] == texts[1]


# Daily the machine that goes down; one of its parts alone takes as long again.
SLOW_VICTIMS = [pytest.param(victim, marks=pytest.mark.slow) for victim in ("job", "snakemake")]


@pytest.mark.parametrize("victim", ["everything", *SLOW_VICTIMS])
def test_killed_study_ends_as_an_undisturbed_one(fresh, finished, victim):
    # One data set and one strategy, for time.
    configure(fresh, {"run": {"datasets": ["digits"], "strategies": ["margin"]}})
    moments = random.Random(victim)
    for _ in range(3):
        run = start(fresh)
        time.sleep(moments.uniform(3, 9))
        if victim == "job":
            for pid in job_processes(fresh)[:1]:
                os.kill(pid, signal.SIGKILL)
            run.wait(timeout=120)  # Snakemake lets the other job end and stops
        elif victim == "snakemake":
            run.kill()  # its jobs live on as orphans
            run.wait()
        else:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        snakemake(fresh, "--unlock")
    snakemake(fresh, "-c2")
    assert "Nothing to be done" in snakemake(fresh, "-c1")
    expected, found = deterministic_files(finished), deterministic_files(fresh)
    others = ("digits_longtail", "/random/", "/badge/")
    expected = {name: content for name, content in expected.items() if not any(other in name for other in others)}
    assert len(expected) > 30
    assert [name for name in expected if expected[name] != found.get(name)] == []
    # Half-written files of killed processes may stand beside, never in place of, a result.
    assert all(name.endswith(".part") for name in set(found) - set(expected))
