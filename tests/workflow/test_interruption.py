"""Kill -9 of a job, or of Snakemake, at any moment: the next run ends with the same files as an undisturbed one."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from conftest import snakemake
from labelbench.common import hdf5, jobs


def deterministic_files(repo):
    """Path and bytes of what must be the same in every run: label sets, metrics, models, embeddings."""
    found = {}
    for path in sorted((repo / "results").rglob("*")):
        timing = path.name.endswith("cost.json")
        if path.is_file() and not timing and "tables" not in path.parts and "figures" not in path.parts:
            found[str(path.relative_to(repo))] = path.read_bytes()
    return found


def job_processes(repo):
    """Process ids of running job scripts of this repository."""
    found = subprocess.run(["pgrep", "-f", f"python.*{repo}/.snakemake/scripts/"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


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


@pytest.mark.parametrize("victim", ["job", "snakemake", "everything"])
def test_killed_study_ends_as_an_undisturbed_one(fresh, finished, victim):
    moments = random.Random(victim)
    for _ in range(3):
        run = start(fresh)
        time.sleep(moments.uniform(4, 14))
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
    assert len(expected) > 80
    assert [name for name in expected if expected[name] != found.get(name)] == []
    # Half-written files of killed processes may stand beside, never in place of, a result.
    assert all(name.endswith(".part") for name in set(found) - set(expected))


def test_output_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder/result.json"
    with pytest.raises(RuntimeError), jobs.written_whole(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert not list(target.parent.iterdir())
    with jobs.written_whole(target) as part:
        part.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"


def test_a_file_is_written_without_a_lock(tmp_path):
    """Network file systems often refuse one."""
    with hdf5.create(tmp_path / "file.h5"):
        (part,) = tmp_path.iterdir()
        with part.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_a_killed_process_left_is_removed(tmp_path):
    target = tmp_path / "result.json"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = target.with_name(f"result.json.{os.uname().nodename}.{gone.pid}.part")
    alive = target.with_name(f"result.json.{os.uname().nodename}.{os.getppid()}.part")
    left.write_text("half")
    alive.write_text("somebody is writing")
    jobs.write_json(target, {"a": 1})
    assert not left.exists()
    assert alive.exists()


def test_what_a_lost_node_left_is_removed_after_a_day(tmp_path):
    target = tmp_path / "result.json"
    old, new, others = (tmp_path / name for name in ("result.json.n1.x.7.part", "result.json.n2.7.part", "r.n1.7.part"))
    for path in (old, new, others):
        path.write_text("half")
    for path in (old, others):
        os.utime(path, times=(time.time() - 25 * 3600,) * 2)
    jobs.write_json(target, {"a": 1})
    assert not old.exists()
    assert new.exists() and others.exists()
