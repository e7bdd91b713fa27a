"""After Snakemake was killed: cancel what it left in Slurm's queue, wait for its end, and take its lock away.

    python slurm/recover.py                    # then start again: snakemake --profile slurm -j 64

Only jobs that were submitted from this folder are cancelled, and none of a run that still goes on. Whether a run on
another machine goes on cannot be seen from here: if it does not, add --force.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow" / "scripts"))

from labelbench.common.errors import UserError  # noqa: E402
from labelbench.planning import slurm_runs  # noqa: E402

PATIENCE = 300  # seconds that cancelled jobs may take to end


def recover(folder, force):
    """Raises UserError where something keeps it from recovering."""
    runs = slurm_runs.recorded(folder)
    away = [run for run in runs if run.elsewhere]
    if away and not force:
        raise UserError(
            f"Nothing was done: this folder has a run elsewhere ({slurm_runs.places(away)}), which may still go "
            "on. Call this there, or, if it has ended: python slurm/recover.py --force"
        )
    alive = [run for run in runs if run.alive]
    for run in alive:
        print(f"The run of process {run.pid} goes on: its jobs and its lock stay.")
    cancel(folder, alive)
    # Locks have numbers for names, which are used again.
    held = {lock for run in alive for lock in run.locks}
    for run in runs:
        if run not in alive:
            for lock in set(run.locks) - held:
                Path(lock).unlink(missing_ok=True)
            slurm_runs.remove_record(folder, run.name)
    others = {str(path.resolve()) for path in (folder / ".snakemake/locks").glob("*.lock")} - held
    if others:
        print(
            f"{len(others)} locks are of no run on Slurm. If Snakemake does not run here otherwise: snakemake --unlock"
        )


def cancel(folder, alive):
    """Cancel all jobs of this folder but those of the runs `alive`, and wait for their end."""
    left = slurm_runs.orphans(folder, alive)
    if not left:
        print("No jobs of killed runs are in Slurm's queue.")
        return
    print(f"Cancelling {len(left)} jobs: {', '.join(job.id for job in left)}")
    # It fails where one of them has just ended; what is left is seen below.
    subprocess.run(["scancel", *(job.id for job in left)], check=False)
    end = time.monotonic() + PATIENCE
    while left := slurm_runs.orphans(folder, alive):
        if time.monotonic() > end:
            raise UserError(
                f"After {PATIENCE} seconds, {len(left)} jobs are still there ({slurm_runs.listed(left)}): look at them "
                "with squeue, and call this again. The lock stays."
            )
        time.sleep(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", action="store_true", help="runs on other machines have ended")
    try:
        recover(Path.cwd(), parser.parse_args().force)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
