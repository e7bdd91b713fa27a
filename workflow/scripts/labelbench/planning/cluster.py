"""What the main process needs on a Slurm cluster: repairs of Snakemake 9.27 and its Slurm plugin 2.8.

The repairs replace methods of running objects, because both packages are used as they are published.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from labelbench.common.errors import UserError
from labelbench.planning import slurm_runs, snakemake_speed

SHORTEST, LONGEST, SHARE = 5, 15, 0.05  # seconds between looks at the queue; share of the time waited so far
REPAIRED = "2.8."  # the version of the Slurm plugin whose methods are replaced
OFF = (
    f"snakemake-executor-plugin-slurm {{version}} is not the {REPAIRED}* that this workflow repairs "
    "(docs/developing.md): jobs that Slurm forgets or cancels are waited for without end, refused submissions count as "
    "failures, and Ctrl-C may leave jobs in the queue."
)
GONE = 3  # answers in a row without a job, after which it is taken to be over
OVER = (None, "PREEMPTED", "NODE_FAIL")  # states of a job that is over unless Slurm has put it into the queue again
TEMPORARY = re.compile(
    r"(?:Assoc|QOS)\w*Submit\w*Limit|Unable to contact slurm controller|timed out|temporarily unable|Zero Bytes|"
    "Connection refused"
)  # in messages of a submission that succeeds later


def prepare(workflow, folder):
    """Before the first job: the repairs. Raises an error where jobs of a killed run are still in the queue."""
    scheduler = workflow.scheduler
    executor = scheduler._executor
    if scheduler.job_rate_limiter is not None:
        snakemake_speed.one_timer(scheduler)
    if type(executor).__module__ == "snakemake_executor_plugin_slurm":
        wait_for_controller(executor.logger)
        try:
            refuse_orphans(folder, executor.logger)
        except UserError as error:
            raise WorkflowError(str(error)) from None
        for message in too_many_cores(asked_cores(workflow.dag.needrun_jobs()), nodes(partitions(executor))):
            executor.logger.warning(message)
        version = importlib.metadata.version("snakemake-executor-plugin-slurm")
        if version.startswith(REPAIRED):
            repair(executor, sys.modules[type(executor).__module__])
        else:
            executor.logger.warning(OFF.format(version=version))
        locks = [Path(lock).resolve() for lock in getattr(workflow.persistence, "_lockfile", {}).values()]
        slurm_runs.leave_record(folder, executor.run_uuid, locks)


class Node(NamedTuple):
    """A node that jobs may go to: its cores, as Slurm counts them, and whether it has GPUs."""

    cores: int
    gpu: bool


def asked_cores(jobs):
    """{rule: (cores, GPUs)} that jobs ask for, of each rule those of most cores; one job stands for its like."""
    found, seen = {}, set()
    for job in jobs:
        like = (job.rule.name, *(job.wildcards.get(name) for name in ("encoder", "dataset", "model")))
        if like not in seen:
            seen.add(like)
            # Not the job's own, which are worked out once: its files are not there yet.
            others = set(job.rule.resources) - {"_cores", "gpu"}
            resources = job.rule.expand_resources(job.wildcards, job.input, 1, skip_evaluation=others)
            cores, gpus = (resources.get(key, 0) for key in ("_cores", "gpu"))
            if isinstance(cores, int) and isinstance(gpus, int):
                found[job.rule.name] = max(found.get(job.rule.name, (0, 0)), (cores, gpus))
    return found


def partitions(executor):
    """Names of the partitions that jobs may go to, a set; empty where none is named."""
    if named := os.environ.get("LABELBENCH_PARTITION"):
        return set(named.split(","))
    return {partition.name for partition in getattr(executor, "_partitions", None) or ()}


def nodes(named):
    """The `Node` of each node in the named partitions, or of all where Slurm has none of these names.

    Empty where Slurm does not tell.
    """
    command = ["sinfo", "--noheader", "--Node", "--format=%R|%c|%G"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return []
    lines = [line.split("|") for line in told.splitlines() if line.count("|") == 2]
    lines = [line for line in lines if line[0] in named] or lines
    return [Node(int(cores), "gpu" in gres) for _, cores, gres in lines if cores.isdigit()]


def too_many_cores(asked, there):
    """A sentence on the rules that ask for more cores than a node has, with and without GPUs each: a list of text.

    asked: {rule: (cores, GPUs)}; there: the nodes, none where they are not known. Slurm refuses such jobs, or leaves
    them waiting for ever.
    """
    found = []
    for gpu in (True, False):
        # A cluster that does not tell its GPUs as such may have them anywhere.
        fitting = [node for node in there if node.gpu] if gpu and any(node.gpu for node in there) else there
        rules = {rule: of for rule, of in asked.items() if bool(of[1]) == gpu}
        most = max((node.cores for node in fitting), default=0)
        large = {rule: of for rule, of in rules.items() if of[0] > most}
        if not fitting or not large:
            continue
        cores, gpus = max(large.values())
        kind = "node with GPUs" if gpu else "node"
        rule = min(large)
        remedy = (
            f"Set LABELBENCH_GPU_THREADS={most // gpus}, cores for each GPU"
            if gpu and most >= gpus
            else f"Ask for less with --set-threads {rule}={most}"
        )
        found.append(
            f"{', '.join(sorted(large))}: {cores} cores are asked for, and no {kind} has more than {most}. Such jobs "
            f"wait for ever, or are refused. {remedy} (docs/cluster.md)."
        )
    return found


def refuse_orphans(folder, logger, patience=60):
    """Raise UserError where jobs of a killed run are in the queue: they delete results when they start or fail."""
    kept = [run for run in slurm_runs.recorded(folder) if run.alive or run.elsewhere]
    end = time.monotonic() + patience
    # Just cancelled jobs, as after Ctrl-C, end by themselves.
    while (left := slurm_runs.orphans(folder, kept)) and time.monotonic() < end:
        if any(job.state != "COMPLETING" for job in left):
            break
        time.sleep(1)
    if left:
        what = f"{len(left)} jobs that a killed run submitted from this folder are in Slurm's queue"
        message = f"{what} ({slurm_runs.listed(left)})."
        if os.environ.get("LABELBENCH_ORPHANS") != "ignore":
            raise UserError(
                f"{message} They would delete results of this run when they start or fail. To cancel them, call: "
                "python slurm/recover.py (To go on nevertheless, set LABELBENCH_ORPHANS=ignore.)"
            )
        logger.warning(f"{message} They may delete results of this run.")
    away = [run for run in kept if run.elsewhere]
    if away:
        logger.warning(
            f"Another run of this folder may go on elsewhere ({slurm_runs.places(away)}). If it was killed, stop this "
            "one (Ctrl-C) and call: python slurm/recover.py --force"
        )


def repair(executor, plugin):
    """All repairs of a Slurm executor, an object of the module `plugin`."""
    stop = threading.Event()
    repair_polling(executor, plugin)
    repair_submission(executor, stop)
    repair_stopping(executor, stop)


def repair_polling(executor, plugin):
    """Let a Slurm executor keep a job until it is known to have ended, and notice when it has.

    As published, a poll whose queries all fail makes it forget every job in the queue, and then it waits for ever. So
    it does for a job that was cancelled (`CANCELLED by 1000` is no state that it knows), that was preempted and not
    started again, and that Slurm has forgotten.
    """
    check, ask = executor.check_active_jobs, plugin.query_job_status
    settled, missing = set(), {}
    answer = command = None
    last_change = time.monotonic()

    async def ask_and_note(asked, logger):
        nonlocal answer, command
        # As published, squeue is asked for the jobs of all users.
        command = f"{asked} --user={os.getuid()}" if asked.startswith("squeue") else asked
        states, seconds = await ask(command, logger)
        answer = states if states is None else {job: state.partition(" ")[0] for job, state in states.items()}
        return answer, seconds

    def noting(report):
        def noted(job, *args, **kwargs):
            settled.add(id(job))
            return report(job, *args, **kwargs)

        return noted

    async def forgotten(jobs):
        """Those of the jobs that several answers in a row say to be in the queue no more."""
        nonlocal missing
        doubtful = [job.external_jobid for job in jobs if answer.get(job.external_jobid) in OVER]
        queue = answer
        if doubtful and not command.startswith("squeue"):
            queue, _ = await ask(plugin.query_job_status_squeue(executor.run_uuid), executor.logger)
        if queue is not None:
            missing = {job: missing.get(job, 0) + 1 for job in doubtful if queue.get(job) in OVER}
        return [job for job in jobs if missing.get(job.external_jobid, 0) >= GONE]

    async def check_and_keep(active_jobs):
        nonlocal answer, last_change
        answer = None
        settled.clear()
        waiting = [job async for job in check(active_jobs)]
        if active_jobs and answer is None:
            executor.logger.warning(
                f"Slurm does not answer: {len(active_jobs)} jobs are kept, and it is asked again in {LONGEST} seconds "
                "at most."
            )
            waiting = [job for job in active_jobs if id(job) not in settled]
        elif waiting:
            for job in await forgotten(waiting):
                await settle(executor, job, answer.get(job.external_jobid))
        for job in waiting:
            if id(job) not in settled:
                yield job
        if not active_jobs or settled:
            last_change = time.monotonic()
        # The plugin's own rule, 10 seconds more after each look, finds a job of 10 minutes up to 100 seconds late.
        waited = time.monotonic() - last_change
        executor.next_seconds_between_status_checks = min(max(SHORTEST, SHARE * waited), LONGEST)

    plugin.query_job_status = ask_and_note
    executor.report_job_success = noting(executor.report_job_success)
    executor.report_job_error = noting(executor.report_job_error)
    executor.check_active_jobs = check_and_keep


async def settle(executor, job, state):
    """Report a job of which Slurm says no more: as done if its files are complete, else as failed."""
    persistence = executor.workflow.persistence
    persistence.deactivate_cache()  # a job on a node takes its marks of incomplete files away
    parts = list(job.job.jobs) if job.job.is_group() else [job.job]
    there = all(Path(str(path)).exists() for part in parts for path in part.output)
    if there and not any([await persistence.incomplete(part) for part in parts]):
        executor.logger.warning(
            f"SLURM-job '{job.external_jobid}' is no longer in Slurm's queue. Its files are complete: it is done."
        )
        executor.report_job_success(job)
        return
    last = f" Its last state was {state}." if state else ""
    executor.report_job_error(
        job,
        msg=f"SLURM-job '{job.external_jobid}' is no longer in Slurm's queue, and its files are not complete.{last} ",
        aux_logs=[str(job.aux["slurm_logfile"])],
    )


def repair_submission(executor, stop, pause=30):
    """Let submissions wait for a controller that does not answer, or that takes no more jobs of this user.

    As published, a job whose submission fails counts as failed: its next try asks for more memory and time.
    """
    run_job = executor.run_job
    report_error, report_submission = executor._report_job_error_threadsafe, executor._report_job_submission_threadsafe
    submitted, refusal = set(), None

    def note_submission(job):
        submitted.add(job.external_jobid)
        report_submission(job)

    def note_error(job, message):
        nonlocal refusal
        refusal = TEMPORARY.search(message.partition("sbatch call:")[0])
        if refusal is None:
            report_error(job, message)

    def submit(job):
        nonlocal refusal
        refusal, said = None, None
        while wait_for_controller(executor.logger, stop):
            # After a timeout the job may be in the queue all the same.
            if refusal and cancel_all_but(submitted, executor.run_uuid):
                stop.wait(5)
                continue
            refusal = None
            try:
                run_job(job)
            except Exception as error:
                # As published, an error in the submission of a group ends in another one, and Snakemake waits for ever.
                note_error(SubmittedJobInfo(job), f"Job submission failed with exception: {error.__context__ or error}")
            if refusal is None:
                return
            if said != refusal[0]:
                said = refusal[0]
                executor.logger.warning(
                    f"Slurm takes no job now ({said}): it is submitted again every {pause} seconds."
                )
            stop.wait(pause)

    # One at a time, so that what is noted is about the job that is being submitted.
    executor._job_submission_executor = ThreadPoolExecutor(max_workers=1)
    executor._report_job_submission_threadsafe = note_submission
    executor._report_job_error_threadsafe = note_error
    executor.run_job = submit


def cancel_all_but(known, run):
    """Cancel jobs of a run in the queue whose ids are not known; whether there were any, or Slurm does not tell."""
    command = ["squeue", f"--user={os.getuid()}", f"--name={run}", "--noheader", "--format=%i"]
    try:
        queue = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return True
    unknown = sorted(set(queue.split()) - known)
    if unknown:
        subprocess.run(["scancel", *unknown], check=False)
    return bool(unknown)


def wait_for_controller(logger, stop=None, pause=10):
    """Return True when Slurm's controller answers, False if `stop` is set before.

    A cluster whose `scontrol` is missing or refused is not waited for.
    """
    stop = stop or threading.Event()
    said = False
    while not stop.is_set():
        try:
            ping = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=60)
        except FileNotFoundError:
            return True
        except subprocess.TimeoutExpired:
            up = False
        else:
            # "Slurmctld(primary) at HOST is UP", and a line for each backup, of which one is enough.
            up = " is UP" in ping.stdout or "DOWN" not in ping.stdout
        if up:
            return True
        if not said:
            logger.warning("Slurm's controller does not answer: jobs are submitted when it does.")
            said = True
        stop.wait(pause)
    return False


def repair_stopping(executor, stop):
    """Let Ctrl-C cancel all jobs of the run, submit no more, and take the record of the run away at its end.

    As published, those that are being asked for at that moment are not cancelled, and those that wait for their
    submission are submitted afterwards.
    """
    shutdown = executor.shutdown

    def cancel_jobs(active_jobs):
        stop.set()
        executor._job_submission_executor.shutdown(wait=True)
        command = ["scancel", f"--user={os.getuid()}", f"--name={executor.run_uuid}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            failure = done.stderr.strip() if done.returncode else ""
        except subprocess.TimeoutExpired:
            failure = "no answer within a minute"
        if failure:
            executor.logger.error(
                f"The jobs of this run could not be cancelled ({failure}). When Slurm answers again, call: "
                "python slurm/recover.py"
            )

    def stop_and_shut_down():
        stop.set()
        try:
            shutdown()
        finally:
            slurm_runs.remove_record(executor.workflow.workdir_init, executor.run_uuid)

    executor.cancel_jobs = cancel_jobs
    executor.shutdown = stop_and_shut_down
