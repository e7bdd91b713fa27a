"""Kill -9 at random moments, many times: python bench/kills.py [--kills 100] [--seed 0]

A tiny study is run once undisturbed. Then it is started again and again in fresh folders, and killed: one of its jobs,
Snakemake itself, or everything, in turn. A study that comes to its end is compared with the undisturbed one, file by
file; a line is printed for each. The first that differs ends the bench.
"""

import argparse
import contextlib
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO / "tests"), str(REPO / "workflow/scripts")]

import conftest
from conftest import configure, copy_workflow
from studies import deterministic_files, job_processes

VICTIMS = ("job", "snakemake", "everything")


class Run:
    """`snakemake -c1` in a folder: a fork of this process, which has imported Snakemake, and the leader of a group."""

    def __init__(self, folder):
        self.folder, self.code = folder, None
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            conftest._become_snakemake(folder, ["-c1"], os.open(os.devnull, os.O_RDWR))

    def ends_within(self, seconds):
        ends = time.monotonic() + seconds
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > ends:
                return False
            else:
                time.sleep(0.05)
        return True

    def ends_before_a_job(self):
        """Wait for the first job, because a kill while Snakemake plans is no test; whether there is none."""
        while not job_processes(self.folder):
            if self.ends_within(0.5):
                return True
        return False

    def kill(self, victim):
        """Whether there was something to kill."""
        if victim == "job":
            while not self.ends_within(1):  # it does once a job was hit before it had ended by itself
                for pid in job_processes(self.folder)[:1]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            return self.code != 0
        if victim == "snakemake":
            os.kill(self.pid, signal.SIGKILL)  # a job lives on as an orphan, and may write while the next run does
        else:
            os.killpg(self.pid, signal.SIGKILL)
        self.ends_within(math.inf)
        return True


def study(workflow, folder, moments, most):
    """Kills of one study until it has come to its end, or until there were `most`."""
    shutil.copytree(workflow, folder)
    kills = 0
    while True:
        run = Run(folder)
        if kills == most:
            run.ends_within(math.inf)
            if run.code:
                sys.exit(f"the last run of {folder} failed")
            return kills
        if run.ends_before_a_job() or run.ends_within(moments.uniform(0, 10)):
            if run.code == 0:
                return kills
            sys.exit(f"a run of {folder} failed without being killed")
        kills += run.kill(VICTIMS[kills % len(VICTIMS)])
        print(f"kill {kills}", end="\r", flush=True)
        shutil.rmtree(folder / ".snakemake/locks", ignore_errors=True)  # what `--unlock` does


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
        first = Run(undisturbed)
        first.ends_within(math.inf)
        if first.code:
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
