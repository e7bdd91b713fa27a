"""What the main process needs on a Slurm cluster: repairs of Snakemake 9.27 and its Slurm plugin 2.8, and orphans.

The repairs replace methods of running objects, because both packages are used as they are published.
"""

import subprocess
import time
from pathlib import Path

from labelbench import snakemake_speed

PREFIX = "labelbench_"  # of job names; slurm-jobname-prefix in slurm/profile.yaml
SHORTEST, LONGEST, SHARE = 5, 60, 0.05  # seconds between looks at the queue; share of the time waited so far


def survive_outages(executor):
    """Let a Slurm executor wait for a controller, or an accounting database, that does not answer.

    As published, a poll whose queries all fail makes it forget every job in the queue, and then it waits for ever; and
    a job whose submission fails counts as failed. Here a job is kept until it is reported, and submissions wait.
    """
    check, run_job = executor.check_active_jobs, executor.run_job
    settled = set()
    last_change = time.monotonic()

    def noting(report):
        def noted(job, *args, **kwargs):
            settled.add(id(job))
            return report(job, *args, **kwargs)

        return noted

    executor.report_job_success = noting(executor.report_job_success)
    executor.report_job_error = noting(executor.report_job_error)

    async def check_and_keep(active_jobs):
        nonlocal last_change
        kept = set()
        settled.clear()
        async for job in check(active_jobs):
            kept.add(id(job))
            yield job
        if not active_jobs or settled:
            last_change = time.monotonic()
        lost = [job for job in active_jobs if id(job) not in kept | settled]
        if lost:
            executor.logger.warning(
                f"Slurm does not answer: {len(lost)} jobs are kept, and it is asked again in {LONGEST} seconds at most."
            )
        for job in lost:
            yield job
        # The plugin's own rule, 10 seconds more after each look, finds a job of 10 minutes up to 100 seconds late.
        waited = time.monotonic() - last_change
        executor.next_seconds_between_status_checks = min(max(SHORTEST, SHARE * waited), LONGEST)

    def wait_and_run(job):
        wait_for_controller(executor.logger)
        run_job(job)

    executor.check_active_jobs = check_and_keep
    executor.run_job = wait_and_run


def wait_for_controller(logger, pause=10):
    """Return when Slurm's controller answers. A cluster whose `scontrol` is missing or refused is not waited for."""
    said = False
    while True:
        try:
            ping = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=60)
        except FileNotFoundError:
            return
        except subprocess.TimeoutExpired:
            up = False
        else:
            # "Slurmctld(primary) at HOST is UP", and a line for each backup, of which one is enough.
            up = " is UP" in ping.stdout or "DOWN" not in ping.stdout
        if up:
            return
        if not said:
            logger.warning("Slurm's controller does not answer: jobs are submitted when it does.")
            said = True
        time.sleep(pause)


def orphans(folder, prefix=PREFIX):
    """Ids of this user's jobs in Slurm's queue that a workflow in `folder` submitted; none where there is no Slurm."""
    columns = ["squeue", "--me", "--noheader", "--format=%i|%j|%Z"]
    try:
        queue = subprocess.run(columns, capture_output=True, text=True, timeout=60, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return []
    rows = [line.split("|", 2) for line in queue.splitlines()]
    here = Path(folder).resolve()
    return [row[0] for row in rows if len(row) == 3 and row[1].startswith(prefix) and Path(row[2]).resolve() == here]


def prepare(workflow, folder):
    """Before the first job: the repairs, and a warning where jobs of a killed run are still in the queue."""
    scheduler = workflow.scheduler
    if scheduler.job_rate_limiter is not None:
        snakemake_speed.one_timer(scheduler)
    if type(scheduler._executor).__module__ == "snakemake_executor_plugin_slurm":
        survive_outages(scheduler._executor)
        if left := orphans(folder):
            scheduler._executor.logger.warning(
                f"{len(left)} jobs that an earlier run submitted from this folder are still in Slurm's queue "
                f"({', '.join(left[:5])}{', …' if len(left) > 5 else ''}). They are not taken over: what they do is "
                "done twice. To cancel them, stop this run (Ctrl-C) and call: python slurm/recover.py"
            )
