"""Kill -9 at random moments, many times: python bench/kills.py [--kills 100] [--seed 0]

A tiny study is run once undisturbed. Then it is started again and again in fresh folders, and killed: one of its jobs,
Snakemake itself, or everything, in turn. A study that comes to its end is compared with the undisturbed one, file by
file; a line is printed for each. The first that differs ends the bench.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO / "tests"), str(REPO / "workflow/scripts")]

from conftest import configure, copy_workflow
from studies import deterministic_files, job_processes

VICTIMS = ("job", "snakemake", "everything")


def start(folder):
    command = [sys.executable, "-m", "snakemake", "-c1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=folder, start_new_session=True, **quiet)


def ends_within(run, seconds):
    try:
        return run.wait(timeout=seconds) is not None
    except subprocess.TimeoutExpired:
        return False


def ends_before_a_job(run, folder):
    """Wait for the first job, because a kill while Snakemake plans is no test; whether there is none."""
    while not job_processes(folder):
        if ends_within(run, 0.5):
            return True
    return False


def kill(run, folder, victim):
    """Whether there was something to kill."""
    if victim == "job":
        running = job_processes(folder)[:1]
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        run.wait()  # Snakemake says that a job has failed
        return bool(running)
    if victim == "snakemake":
        run.kill()  # a job lives on as an orphan, and may write while the next run does
    else:
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return True


def study(workflow, folder, moments, most):
    """Kills of one study until it has come to its end, or until there were `most`."""
    shutil.copytree(workflow, folder)
    kills = 0
    while True:
        run = start(folder)
        if kills == most:
            run.wait()
            if run.returncode:
                sys.exit(f"the last run of {folder} failed")
            return kills
        if ends_before_a_job(run, folder) or ends_within(run, moments.uniform(0, 10)):
            if run.returncode == 0:
                return kills
            sys.exit(f"a run of {folder} failed without being killed")
        kills += kill(run, folder, VICTIMS[kills % len(VICTIMS)])
        subprocess.run([sys.executable, "-m", "snakemake", "--unlock"], cwd=folder, check=True, capture_output=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=0)
    arguments = arguments.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as place:
        workflow, undisturbed = Path(place, "workflow"), Path(place, "undisturbed")
        copy_workflow(workflow)
        configure(workflow, yaml.safe_load((REPO / "tests/config/tiny.yaml").read_text()))
        configure(workflow, {"run": {"datasets": ["digits"]}})
        shutil.copytree(workflow, undisturbed)
        if start(undisturbed).wait():
            sys.exit("the undisturbed study failed")
        expected = deterministic_files(undisturbed)
        kills = studies = 0
        began = time.monotonic()
        while kills < arguments.kills:
            folder = Path(place, f"study{studies}")
            kills += study(workflow, folder, moments, arguments.kills - kills)
            found = deterministic_files(folder)
            unlike = [name for name in expected if expected[name] != found.get(name)]
            extra = [name for name in set(found) - set(expected) if not name.endswith(".part")]
            studies += 1
            minutes = (time.monotonic() - began) / 60
            print(
                f"{studies} studies, {kills} kills, {len(expected)} files each, {minutes:.0f} min: "
                + (f"NOT the same: {unlike + extra}" if unlike or extra else "all the same"),
                flush=True,
            )
            if unlike or extra:
                sys.exit(1)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
