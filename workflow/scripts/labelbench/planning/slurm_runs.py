"""Which runs of this folder have jobs in Slurm's queue, and which of these jobs are orphans: their run was killed.

A run that submits to Slurm leaves a record in `.snakemake/slurm_runs/`, under the name that its jobs have, and takes it
away at its end.
"""

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

from labelbench.common.errors import UserError

PREFIX = "labelbench_"  # of job names; slurm-jobname-prefix in slurm/profile.yaml
RECORDS = Path(".snakemake/slurm_runs")


class Run(NamedTuple):
    """A run's record. `locks` are the files with which Snakemake keeps others from its results."""

    name: str
    host: str
    pid: int
    started: str
    locks: list

    @property
    def elsewhere(self):
        """On another machine, where nobody can see from here whether it goes on."""
        return self.host != socket.gethostname()

    @property
    def alive(self):
        return not self.elsewhere and start_of(self.pid) == self.started


class Job(NamedTuple):
    """A job in Slurm's queue; `run` is the name of the run that submitted it."""

    id: str
    run: str
    state: str


def start_of(pid):
    """When a process of this machine started, as Linux counts it; None if it has ended. Process ids are used again."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]


def leave_record(folder, name, locks):
    """Write the record of this process as the run `name`; the path of it."""
    path = Path(folder) / RECORDS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    run = Run(name, socket.gethostname(), os.getpid(), start_of(os.getpid()), [str(lock) for lock in locks])
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(run._asdict()))
    partial.rename(path)
    return path


def remove_record(folder, name):
    (Path(folder) / RECORDS / f"{name}.json").unlink(missing_ok=True)


def recorded(folder):
    """The runs with a record in `folder`, dead ones among them."""
    return [Run(**json.loads(path.read_text())) for path in sorted((Path(folder) / RECORDS).glob("*.json"))]


def queued(folder):
    """This user's jobs in Slurm's queue that a workflow in `folder` submitted; none where there is no Slurm.

    Raises UserError where Slurm does not tell.
    """
    # `--me` is unknown to Slurm before 20.11.
    command = ["squeue", f"--user={os.getuid()}", "--noheader", "--format=%i|%j|%T|%Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        return []
    except subprocess.TimeoutExpired:
        raise UserError(
            "squeue does not answer: which jobs are in Slurm's queue is not known. Try again later."
        ) from None
    if done.returncode:
        raise UserError(f"squeue failed: which jobs are in Slurm's queue is not known.\n{done.stderr.strip()}")
    rows = [line.split("|", 3) for line in done.stdout.splitlines()]
    here = Path(folder).resolve()
    return [
        Job(*row[:3]) for row in rows if len(row) == 4 and row[1].startswith(PREFIX) and Path(row[3]).resolve() == here
    ]


def orphans(folder, kept):
    """Jobs in the queue that belong to none of the runs `kept`. Raises UserError where Slurm does not tell."""
    names = {run.name for run in kept}
    return [job for job in queued(folder) if job.run not in names]


def listed(jobs):
    """The ids of jobs as a text for people, the first five of them."""
    return ", ".join(job.id for job in jobs[:5]) + (", …" if len(jobs) > 5 else "")


def places(runs):
    """Where runs were started, as a text for people."""
    return ", ".join(f"process {run.pid} on {run.host}" for run in runs)
