"""What runs on a cluster, as far as it shows without one; tests/slurm has one."""

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from conftest import REPO, copy_workflow
from labelbench.common.errors import UserError
from labelbench.planning import cluster, slurm_runs, snakemake_speed


class Slurm:
    """Commands `squeue`, `sacct`, `sbatch` … that print what a test says, and note how they were called."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder / "commands"
        self.folder.mkdir()
        monkeypatch.setenv("PATH", f"{self.folder}{os.pathsep}{os.environ['PATH']}")
        self.says("scontrol", "Slurmctld(primary) at h is UP")
        for command in ("squeue", "sacct", "scancel"):
            self.says(command, "")

    def says(self, command, output, code=0):
        (self.folder / f"{command}.output").write_text(output)
        script = self.folder / command
        script.write_text(f'#!/bin/sh\necho "$*" >> $0.calls\ncat $0.output{" >&2" if code else ""}\nexit {code}\n')
        script.chmod(0o755)

    def calls(self, command):
        path = self.folder / f"{command}.calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Slurm(tmp_path, monkeypatch)


@pytest.fixture
def executor(slurm, tmp_path, monkeypatch):
    """The plugin's executor, repaired, with as much around it as it needs. Its `log` lists what it reported."""
    monkeypatch.setattr(plugin, "query_job_status", plugin.query_job_status)  # the repairs replace it
    made = object.__new__(plugin.Executor)
    made.log, made.status = [], "squeue"
    made.logger = logging.getLogger("test")
    made.run_uuid = "labelbench_1"
    made._status_query_calls = made._status_query_failures = made._status_query_total_seconds = 0
    made._status_query_min_seconds, made._status_query_max_seconds, made._status_query_cycle_rows = None, 0, []
    made._preemption_warning, made._failed_nodes, made._main_event_loop = False, set(), None
    made._next_seconds_between_status_checks = 5
    made.status_rate_limiter = contextlib.AsyncExitStack()
    made.get_status_command = lambda: made.status
    settings = SimpleNamespace(
        status_attempts=2, init_seconds_before_status_checks=5, keep_successful_logs=True, requeue=True
    )

    async def incomplete(job):
        return job.incomplete

    persistence = SimpleNamespace(deactivate_cache=lambda: None, incomplete=incomplete)
    made.workflow = SimpleNamespace(executor_settings=settings, persistence=persistence, workdir_init=str(tmp_path))
    made.report_job_success = lambda job: made.log.append(("success", job.external_jobid))
    made.report_job_error = lambda job, msg=None, aux_logs=(): made.log.append(("error", job.external_jobid, msg))
    made.report_job_submission = lambda job: made.log.append(("submitted", job.external_jobid))
    made.run_job = lambda job: made.log.append(("run", job))
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: 300)
    cluster.repair(made, plugin)
    return made


def a_job(number, output=(), incomplete=False):
    job = SimpleNamespace(output=output, incomplete=incomplete, is_group=lambda: False)
    return SubmittedJobInfo(job, str(number), {"slurm_logfile": Path(f"{number}.log")})


def polled(executor, jobs):
    """Ids of the jobs that are waited for after a look at the queue."""

    async def collect():
        return [job.external_jobid async for job in executor.check_active_jobs(jobs)]

    return asyncio.run(collect())


def test_no_job_is_forgotten_when_slurm_does_not_answer(executor, slurm, caplog):
    jobs = [a_job(1), a_job(2), a_job(3)]
    slurm.says("squeue", "Unable to contact slurm controller", code=1)
    for _ in range(5):
        assert polled(executor, jobs) == ["1", "2", "3"] and executor.log == []
    assert "Slurm does not answer: 3 jobs are kept" in caplog.text
    caplog.clear()
    slurm.says("squeue", "1|COMPLETED\n2|FAILED\n3|RUNNING\n")
    assert polled(executor, jobs) == ["3"]
    assert [entry[:2] for entry in executor.log] == [("success", "1"), ("error", "2")]
    assert "does not answer" not in caplog.text
    # Not the jobs of everybody, which are many.
    assert all(f"--user={os.getuid()}" in call for call in slurm.calls("squeue"))


def test_a_cancelled_job_has_failed_with_accounting(executor, slurm):
    executor.status = "sacct"
    slurm.says("sacct", "1|CANCELLED by 1000\n2|RUNNING\n")
    assert polled(executor, [a_job(1), a_job(2)]) == ["2"]
    assert executor.log[0][:2] == ("error", "1") and "'CANCELLED'" in executor.log[0][2]
    assert slurm.calls("squeue") == []


@pytest.mark.parametrize("status", ["squeue", "sacct"])
@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL"])
def test_a_preempted_job_is_waited_for_only_in_the_queue(executor, slurm, status, state):
    executor.status = status
    slurm.says("sacct", f"1|{state}\n")
    slurm.says("squeue", "1|PENDING\n")
    for _ in range(5):
        assert polled(executor, [a_job(1, ["absent"])]) == ["1"]
    slurm.says("squeue", f"1|{state}\n")  # cancelled, not put into the queue again
    for _ in range(cluster.GONE - 1):
        assert polled(executor, [a_job(1, ["absent"])]) == ["1"]
    assert executor.log == []
    assert polled(executor, [a_job(1, ["absent"])]) == []
    assert executor.log[0][:2] == ("error", "1") and state in executor.log[0][2]


@pytest.mark.parametrize("status", ["squeue", "sacct"])
def test_a_job_that_slurm_has_forgotten_is_settled_by_its_files(executor, slurm, status, tmp_path):
    executor.status = status
    there, absent = tmp_path / "there", tmp_path / "absent"
    there.touch()
    jobs = [a_job(1, [there]), a_job(2, [there], incomplete=True), a_job(3, [there, absent]), a_job(4)]
    slurm.says("sacct", "4|RUNNING\n")
    slurm.says("squeue", "4|RUNNING\n")
    for _ in range(2):  # an answer that has the jobs, or none, begins the count anew, or leaves it
        polled(executor, jobs)
    slurm.says("squeue", "", code=1)
    slurm.says("sacct", "", code=1)
    assert polled(executor, jobs) == ["1", "2", "3", "4"]
    slurm.says("sacct", "4|RUNNING\n")
    slurm.says("squeue", "4|RUNNING\n")
    assert polled(executor, jobs) == ["4"]
    assert [entry[:2] for entry in executor.log] == [("success", "1"), ("error", "2"), ("error", "3")]


def test_the_queue_is_looked_at_more_seldom_while_nothing_happens(executor, slurm, monkeypatch):
    now = 0.0
    slurm.says("squeue", "1|RUNNING\n")
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now)
    looks = []
    polled(executor, [])
    while now < 400:
        polled(executor, [a_job(1)])
        looks.append(executor.next_seconds_between_status_checks)
        now += looks[-1]
    assert looks[0] == 5 and looks == sorted(looks) and looks[-1] == cluster.LONGEST == 15
    polled(executor, [])
    polled(executor, [a_job(1)])
    assert executor.next_seconds_between_status_checks == 5


class Submission:
    """A plugin's `run_job` that calls `sbatch` as it does."""

    def __init__(self, executor, slurm):
        self.executor = executor

    def __call__(self, job):
        done = subprocess.run(["sbatch"], capture_output=True, text=True)
        if done.returncode:
            message = f"SLURM sbatch failed. The error message was '{done.stderr}'.\n    sbatch call:\n timed out"
            self.executor._report_job_error_threadsafe(SubmittedJobInfo(job), message)
        else:
            self.executor._report_job_submission_threadsafe(SubmittedJobInfo(job, done.stdout.strip()))


@pytest.fixture
def submitting(executor, slurm):
    """The executor, with a new event that stops it, and pauses of a moment."""
    stop = threading.Event()
    executor.run_job = Submission(executor, slurm)
    cluster.repair_submission(executor, stop, pause=0.01)
    executor.stop = stop
    return executor


def test_submissions_wait_for_the_controller(submitting, slurm, monkeypatch, caplog):
    waits = []

    def wait(self, seconds):
        waits.append(seconds)
        if len(waits) == 2:
            slurm.says("scontrol", "Slurmctld(primary) at h is UP")

    monkeypatch.setattr(threading.Event, "wait", wait)
    slurm.says("scontrol", "Slurmctld(primary) at h is DOWN")
    slurm.says("sbatch", "7")
    submitting.run_job("job")
    assert submitting.log == [("submitted", "7")] and waits == [10, 10]
    assert caplog.text.count("does not answer") == 1


@pytest.mark.parametrize(
    "message",
    [
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates …",
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
    ],
)
def test_a_refused_submission_is_made_again(submitting, slurm, monkeypatch, caplog, message):
    slurm.says("sbatch", message, code=1)
    refused = []
    wait = threading.Event.wait

    def count(self, seconds=None):
        refused.append(seconds)
        if len(refused) == 3:
            slurm.says("sbatch", "7")
        return wait(self, 0)

    monkeypatch.setattr(threading.Event, "wait", count)
    submitting.run_job("job")
    assert submitting.log == [("submitted", "7")] and refused == [0.01] * 3
    assert caplog.text.count("Slurm takes no job now") == 1


def test_a_wrong_submission_fails(submitting, slurm):
    slurm.says("sbatch", "sbatch: error: invalid partition specified: gpus", code=1)
    submitting.run_job("job")
    assert submitting.log[0][:2] == ("error", None) and "invalid partition" in submitting.log[0][2]


def test_a_job_that_was_submitted_although_sbatch_failed_is_cancelled(submitting, slurm, monkeypatch):
    slurm.says("sbatch", "7")
    submitting.run_job("job")
    slurm.says("sbatch", "Socket timed out on send/recv operation", code=1)
    slurm.says("squeue", "7\n8\n")

    def wait(self, seconds):
        if slurm.calls("scancel"):
            slurm.says("squeue", "7\n")
            slurm.says("sbatch", "9")

    monkeypatch.setattr(threading.Event, "wait", wait)
    submitting.run_job("other")
    assert slurm.calls("scancel") == ["8"]
    assert submitting.log == [("submitted", "7"), ("submitted", "9")]


def test_an_error_in_a_group_s_submission_is_reported(executor):
    def run_job(job):
        try:
            raise OSError("No space left on device")
        except OSError:
            job.rule  # noqa: B018 - a group has none: what the plugin stumbles over

    executor.run_job = run_job
    cluster.repair_submission(executor, threading.Event())
    executor.run_job(SimpleNamespace())
    assert executor.log[0][0] == "error" and "No space left" in executor.log[0][2]


def test_ctrl_c_cancels_by_name_and_submits_no_more(executor, slurm, monkeypatch, tmp_path):
    """While the controller does not answer, a submission waits in its thread, and another behind it."""
    monkeypatch.setattr(executor, "shutdown", executor.shutdown)
    slurm.says("scontrol", "Slurmctld(primary) at h is DOWN")
    for job in "ab":
        executor._job_submission_executor.submit(executor.run_job, job)
    while not slurm.calls("scontrol"):
        time.sleep(0.01)
    start = time.monotonic()
    executor.cancel_jobs([])
    assert time.monotonic() - start < 5
    assert executor.log == []
    assert slurm.calls("scancel") == [f"--user={os.getuid()} --name=labelbench_1"]


def test_ctrl_c_says_so_where_jobs_cannot_be_cancelled(executor, slurm, caplog):
    slurm.says("scancel", "Unable to contact slurm controller", code=1)
    executor.cancel_jobs([])
    assert "python slurm/recover.py" in caplog.text and "Unable to contact" in caplog.text


@pytest.fixture
def run_records(tmp_path):
    """Write the record of a run: this process's, one that has ended, or one elsewhere."""

    def write(name, **changes):
        path = slurm_runs.leave_record(tmp_path, name, [])
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return write


def test_a_run_is_alive_while_its_process_is(run_records, tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    run_records("a")
    run_records("b", pid=ended.pid)
    run_records("c", started="1")  # its process id was given to another process
    run_records("d", host="login2", pid=ended.pid)
    runs = {run.name: run for run in slurm_runs.recorded(tmp_path)}
    assert [name for name, run in runs.items() if run.alive] == ["a"]
    assert [name for name, run in runs.items() if run.elsewhere] == ["d"]
    slurm_runs.remove_record(tmp_path, "a")
    assert len(slurm_runs.recorded(tmp_path)) == 3


def test_orphans_are_jobs_of_this_folder_whose_run_is_over(slurm, tmp_path, run_records, monkeypatch, caplog):
    logger = logging.getLogger("test")
    slurm.says(
        "squeue", f"6|labelbench_a|RUNNING|{tmp_path}\n8|labelbench_1|RUNNING|/elsewhere\n9|o|RUNNING|{tmp_path}\n"
    )
    run_records("labelbench_a")
    cluster.refuse_orphans(tmp_path, logger)
    run_records("labelbench_a", started="1")
    with pytest.raises(UserError, match=r"1 jobs .* \(6\)\.(.|\n)*python slurm/recover.py"):
        cluster.refuse_orphans(tmp_path, logger)
    monkeypatch.setenv("LABELBENCH_ORPHANS", "ignore")
    cluster.refuse_orphans(tmp_path, logger)
    assert "(6). They may delete results" in caplog.text
    run_records("labelbench_a", host="login2", pid=123)
    cluster.refuse_orphans(tmp_path, logger)
    assert "process 123 on login2" in caplog.text
    slurm.says("squeue", "Unable to contact slurm controller", code=1)
    with pytest.raises(UserError, match="Unable to contact"):
        cluster.refuse_orphans(tmp_path, logger)
    monkeypatch.setenv("PATH", str(tmp_path))  # no Slurm here
    assert slurm_runs.queued(tmp_path) == []


def test_a_start_waits_for_jobs_that_are_ending(slurm, tmp_path, monkeypatch):
    slurm.says("squeue", f"6|labelbench_a|COMPLETING|{tmp_path}\n")
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: slurm.says("squeue", ""))
    cluster.refuse_orphans(tmp_path, logging.getLogger("test"))
    assert len(slurm.calls("squeue")) == 2


def recover(folder, *args):
    return subprocess.run(
        [sys.executable, REPO / "slurm/recover.py", *args], cwd=folder, text=True, capture_output=True
    )


def test_recovery_leaves_a_live_run_alone(slurm, tmp_path, run_records):
    locks = [tmp_path / f".snakemake/locks/{name}.lock" for name in ("0.input", "0.output", "1.input", "2.input")]
    locks[0].parent.mkdir(parents=True)
    for lock in locks:
        lock.touch()
    dead, shared, alive, unknown = map(str, locks)
    run_records("labelbench_a", locks=[alive, shared])
    run_records("labelbench_b", started="1", locks=[dead, shared])
    slurm.says("squeue", f"6|labelbench_a|RUNNING|{tmp_path}\n7|labelbench_b|PENDING|{tmp_path}\n")
    # A scancel that empties the queue but for the live run, and fails as it does where a job has just ended.
    (slurm.folder / "after").write_text(f"6|labelbench_a|RUNNING|{tmp_path}\n")
    (slurm.folder / "scancel").write_text(
        '#!/bin/sh\necho "$*" >> $0.calls\ncp ${0%/*}/after ${0%/*}/squeue.output\nexit 1\n'
    )
    done = recover(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Cancelling 1 jobs: 7" in done.stdout and slurm.calls("scancel") == ["7"]
    assert [lock.exists() for lock in locks] == [False, True, True, True] and unknown
    assert "1 locks are of no run on Slurm" in done.stdout
    assert [run.name for run in slurm_runs.recorded(tmp_path)] == ["labelbench_a"]


def test_recovery_asks_before_it_takes_a_run_elsewhere_for_dead(slurm, tmp_path, run_records):
    run_records("labelbench_a", host="login2", pid=123)
    done = recover(tmp_path)
    assert done.returncode == 1 and "process 123 on login2" in done.stderr and "--force" in done.stderr
    assert recover(tmp_path, "--force").returncode == 0
    assert slurm_runs.recorded(tmp_path) == []


def test_recovery_stops_where_slurm_does_not_tell(slurm, tmp_path, run_records):
    run_records("labelbench_a", started="1")
    slurm.says("squeue", "Unable to contact slurm controller", code=1)
    done = recover(tmp_path)
    assert done.returncode == 1 and "Unable to contact" in done.stderr and "Traceback" not in done.stderr
    assert len(slurm_runs.recorded(tmp_path)) == 1


def test_a_scheduler_has_one_timer():
    released = threading.Semaphore(0)
    scheduler = SimpleNamespace(_open_jobs=released)
    snakemake_speed.one_timer(scheduler)
    for _ in range(50):
        scheduler._schedule_reevalutation(0.05)
    assert released.acquire(timeout=5)
    assert not released.acquire(timeout=0.3)
    scheduler._schedule_reevalutation(0.01)
    assert released.acquire(timeout=5)


SINFO = "cpu|64|(null)\ngpu|8|gpu:a100:4(S:0-1)\ngpu|12|gpu:a100:2\nother|128|gpu:h100:8\n"


def test_nodes_are_those_of_the_partitions_that_jobs_go_to(slurm):
    slurm.says("sinfo", SINFO)
    assert cluster.nodes({"cpu", "gpu"}) == [(64, False), (8, True), (12, True)]
    assert len(cluster.nodes({"of another cluster"})) == len(cluster.nodes(set())) == 4
    slurm.says("sinfo", "Unable to contact slurm controller", code=1)
    assert cluster.nodes(set()) == []
    (slurm.folder / "sinfo").unlink()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"finetune": (16, 1)}, ["finetune: 16 cores", "no node with GPUs has more than 12", "GPU_THREADS=12, cores"]),
        ({"finetune": (64, 4), "embed": (16, 1)}, ["embed, finetune: 64 cores", "LABELBENCH_GPU_THREADS=3, cores"]),
        ({"embed": (70, 0)}, ["no node has more than 64", "--set-threads embed=64"]),
        ({"finetune": (12, 1), "embed": (64, 0)}, []),
    ],
)
def test_more_cores_than_any_node_has_are_told(slurm, asked, words):
    slurm.says("sinfo", SINFO)
    found = cluster.too_many_cores(asked, cluster.nodes({"cpu", "gpu"}))
    assert len(found) == bool(words)
    for word in words:
        assert word in found[0]


def test_nothing_is_told_of_nodes_that_nobody_knows():
    assert cluster.too_many_cores({"finetune": (16, 1)}, []) == []
    # Where Slurm names no GPUs, any node may have them.
    assert cluster.too_many_cores({"finetune": (16, 1)}, [cluster.Node(16, False)]) == []
    assert len(cluster.too_many_cores({"finetune": (17, 1)}, [cluster.Node(16, False)])) == 1


def test_what_jobs_ask_for_is_worked_out_once_for_jobs_alike_and_kept_by_none():
    calls = []

    def expand(wildcards, input, attempt, skip_evaluation):
        calls.append((wildcards["encoder"], skip_evaluation))
        return {"_cores": 16 * int(wildcards["encoder"]), "gpu": int(wildcards["encoder"])}

    rule = SimpleNamespace(name="finetune", resources={"_cores": 0, "gpu": 0, "mem_mb": 0}, expand_resources=expand)
    jobs = [SimpleNamespace(rule=rule, wildcards={"encoder": n, "trial": t}, input=[]) for n in "14" for t in range(9)]
    assert cluster.asked_cores(jobs) == {"finetune": (64, 4)}
    assert calls == [("1", {"mem_mb"}), ("4", {"mem_mb"})]


@pytest.mark.slow  # starts Snakemake
def test_a_run_tells_of_cores_before_its_first_job(slurm, tmp_path):
    slurm.says("sinfo", "cpu|4|(null)\ngpu|8|gpu:a100:4\n")
    slurm.says("sbatch", "sbatch: error: none of these", code=1)
    repo = copy_workflow(tmp_path / "repo")
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-j", "4"]
    with subprocess.Popen(command, cwd=repo, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        for line in run.stdout:
            if "no node with GPUs has more than 8" in line:
                submitted = slurm.calls("sbatch")
                break
        else:
            pytest.fail("it says nothing")
        run.terminate()
    assert "finetune" in line and "Set LABELBENCH_GPU_THREADS=8" in line
    assert submitted == []
