"""The literal `snakemake --profile slurm -j 64` on a real Slurm: the files of a local run, whatever happens meanwhile.

All in one file, so that one worker runs it: a machine has room for one cluster. What is marked `slow` is left out
unless asked for: python -m pytest tests/slurm -m "slow or not slow"
"""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

import one_machine_cluster
from conftest import REPO, configure, copy_workflow, snakemake
from one_machine_cluster import call, wait_until
from studies import deterministic_files

PROFILE = ("--profile", "slurm", "-j", "64")
LAST_ROUND = "results/runs/digits/glyphclip/linear-flexmatch/margin/trial0/round03"
FINETUNE = f"{LAST_ROUND}/finetune-flexmatch_images"
ROUND = "rule_round_03_select_batch_train_proxy"  # what Slurm calls the group of that round


@pytest.fixture(scope="module", params=["squeue", pytest.param("sacct", marks=pytest.mark.slow)])
def cluster(request, tmp_path_factory):
    """A cluster without accounting, where the queue is asked for jobs, and one with it."""
    accounting = request.param == "sacct"
    if reason := one_machine_cluster.missing(accounting):
        pytest.skip(f"no Slurm cluster: {reason}")
    running = one_machine_cluster.Cluster(tmp_path_factory.mktemp("slurm"), accounting)
    yield running
    running.down()


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """A copy of the workflow with the small config, nothing run yet."""
    repo = copy_workflow(tmp_path_factory.mktemp("small") / "repo")
    configure(repo, yaml.safe_load((REPO / "tests/slurm/small.yaml").read_text()))
    return repo


@pytest.fixture(scope="module")
def local(workflow, tmp_path_factory):
    """The small study, run without a cluster. Do not change it."""
    repo = tmp_path_factory.mktemp("local") / "repo"
    shutil.copytree(workflow, repo)
    snakemake(repo, "-c2")
    return repo


@pytest.fixture
def repo(cluster, local, tmp_path):
    """The finished study without the last round of one run: two submissions are to be made, a group and a fine-tune."""
    copy = tmp_path / "repo"
    shutil.copytree(local, copy, symlinks=True)
    shutil.rmtree(copy / LAST_ROUND)
    yield copy
    subprocess.run(["scancel", "--user=root"], capture_output=True)


@pytest.fixture(autouse=True)
def four_cores_for_four_gpus(monkeypatch):
    """The node with GPUs has fewer cores than jobs ask for by default, and what never fits waits for ever."""
    monkeypatch.setenv("LABELBENCH_GPU_THREADS", "1")


class Run:
    """Snakemake with the profile, in the background; `finish` gives its output."""

    def __init__(self, repo, *args, targets=(f"{LAST_ROUND}/proxy.safetensors", f"{FINETUNE}/metrics.json")):
        self.log = repo.parent / f"snakemake{time.monotonic_ns()}.log"
        with self.log.open("w") as output:
            command = [sys.executable, "-m", "snakemake", *targets, *PROFILE, *args]
            self.process = subprocess.Popen(
                command,
                cwd=repo,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Tests that a shell runs in the background ignore Ctrl-C, and so would what they start.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def finish(self, code=0, seconds=900):
        try:
            assert self.process.wait(timeout=seconds) == code, self.output[-4000:]
        except subprocess.TimeoutExpired:
            pytest.fail(f"it hangs:\n{self.output[-4000:]}")
        return self.output

    @property
    def output(self):
        return self.log.read_text()


def new_jobs(cluster, comment, known=()):
    """Ids of the jobs of a name that run now, without those that are known."""
    return [row[0] for row in cluster.jobs("running") if row[3].startswith(comment) and row[0] not in known]


def started(cluster, comment, known=()):
    """Wait until a job of a name runs; its id."""
    wait_until(lambda: new_jobs(cluster, comment, known))
    return new_jobs(cluster, comment, known)[0]


def same_files(repo, local):
    expected, found = deterministic_files(local), deterministic_files(repo)
    assert len(expected) >= 30
    assert [name for name in expected if expected[name] != found.get(name)] == []
    return set(found) - set(expected)


def test_literal_command_makes_the_files_of_a_local_run(cluster, workflow, local, tmp_path):
    repo = tmp_path / "repo"
    shutil.copytree(workflow, repo)
    output = Run(repo, targets=()).finish()
    assert not same_files(repo, local)
    assert "Nothing to be done" in snakemake(repo, *PROFILE)
    # A round is one submission. Here: dataset, 3 views, head, first labels, round 1, 2 × 2 rounds, 2 fine-tunes.
    assert output.count("has been submitted with SLURM jobid") == 1 + 3 + 1 + 1 + 1 + 4 + 2
    partitions = {row[3].split("_wildcards")[0]: row[5] for row in cluster.jobs()}
    assert partitions["rule_finetune"] == "gpu"
    assert partitions["rule_embed"] == partitions[ROUND] == "cpu"
    # Logs of Slurm are kept of failed jobs only.
    assert not list((repo / "logs/slurm").rglob("*.log"))


def test_a_cancelled_job_is_tried_again(cluster, repo, local):
    run = Run(repo)
    call("scancel", started(cluster, ROUND))
    assert "Trying to restart job" in run.finish()
    assert not same_files(repo, local)


@pytest.mark.slow
def test_a_job_without_enough_memory_gets_more(cluster, repo, local):
    run = Run(repo, "--set-resources", "finetune:mem_mb=120*attempt**4")
    output = run.finish()
    assert "exceeded memory limit" in output  # Slurm's own log of the job, shown in the terminal
    assert "mem_mb=120," in output and "mem_mb=1920," in output
    assert not same_files(repo, local)


@pytest.mark.slow
def test_a_killed_snakemake_leaves_jobs_that_one_command_removes(cluster, repo, local):
    run = Run(repo)
    orphan = started(cluster, ROUND)
    run.process.kill()
    run.process.wait()
    assert "labelbench" in call("squeue", "-h", "-j", orphan, "-o", "%j")
    recovery = subprocess.run([sys.executable, "slurm/recover.py"], cwd=repo, text=True, capture_output=True)
    assert recovery.returncode == 0, recovery.stderr
    assert f"Cancelling 1 jobs: {orphan}" in recovery.stdout
    assert not [row for row in cluster.jobs("running,pending") if row[1].startswith("labelbench")]
    Run(repo).finish()
    assert not same_files(repo, local)
    assert not list((repo / ".snakemake/slurm_runs").iterdir())


def test_a_start_beside_orphans_is_refused(cluster, repo, local):
    run = Run(repo)
    orphan = started(cluster, ROUND)
    run.process.kill()
    run.process.wait()
    call("scontrol", "suspend", orphan)  # else it may be done before the new run has begun
    snakemake(repo, "--unlock")
    output = Run(repo).finish(code=1)
    assert f"in Slurm's queue ({orphan})" in output and "python slurm/recover.py" in output
    assert "has been submitted" not in output and "Traceback" not in output
    call("scontrol", "resume", orphan)
    subprocess.run([sys.executable, "slurm/recover.py"], cwd=repo, check=True)
    Run(repo).finish()
    assert not same_files(repo, local)


@pytest.mark.slow
def test_a_group_that_fails_in_its_second_job_loses_no_finished_round(cluster, repo, local):
    # select_batch does not read the augmented views, train_proxy of the same group does.
    views = repo / "results/embeddings/digits/glyphclip/aug1.h5"
    before, whole = views.stat(), views.read_bytes()
    views.write_bytes(b"no HDF5")
    os.utime(views, ns=(before.st_atime_ns, before.st_mtime_ns))
    rounds = [path for path in (repo / "results/runs").rglob("round0[12]/*") if path.is_file()]
    times = [path.stat().st_mtime_ns for path in rounds]
    output = Run(repo, "--retries", "0").finish(code=1)
    # What went wrong is in the terminal, from the job's own log.
    assert "aug1.h5" in output.split("Error")[-1] or "cannot be read" in output, output[-3000:]
    assert [path.stat().st_mtime_ns for path in rounds] == times and len(rounds) > 8
    views.write_bytes(whole)
    os.utime(views, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Run(repo).finish().count("has been submitted") == 2
    assert not same_files(repo, local)


@pytest.mark.slow
def test_a_full_disk_leaves_no_broken_file(cluster, repo, local):
    disk = repo / FINETUNE
    disk.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        output = Run(repo, "--retries", "0").finish(code=1)
        assert "the disk is full" in " ".join(output.split())
        assert not [path for path in disk.iterdir() if path.suffix == ".json"]
    finally:
        subprocess.run(["umount", disk], check=True)
    Run(repo).finish()
    assert not same_files(repo, local)


def test_a_run_waits_where_no_more_jobs_may_be_submitted(cluster, repo, local):
    if not cluster.accounting:
        pytest.skip("limits are kept in the accounting database")
    call("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=1")
    try:
        call("sbatch", "-o", "/dev/null", "--wrap", "sleep 30")
        output = Run(repo).finish()
    finally:
        call("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=-1")
    assert "Slurm takes no job now (AssocMaxSubmitJobLimit)" in output
    assert "Trying to restart job" not in output
    assert not same_files(repo, local)


def through_an_outage(cluster, repo, daemon, start_again, seconds):
    """Output of a run during which a daemon was away."""
    run = Run(repo)
    started(cluster, ROUND)
    cluster.stop(daemon)
    time.sleep(seconds)
    start_again()
    return run.finish()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [25, 600])
def test_an_outage_of_the_controller_is_waited_for(cluster, repo, local, seconds):
    output = through_an_outage(cluster, repo, "slurmctld", cluster.start_controller, seconds)
    # Published as it is, the plugin forgets the job then, and Snakemake waits for ever. With accounting it asks the
    # database, which answers.
    assert ("Slurm does not answer: 1 jobs are kept" in output) != cluster.accounting
    assert not same_files(repo, local)


@pytest.mark.parametrize("seconds", [25, pytest.param(600, marks=pytest.mark.slow)])
def test_an_outage_of_the_accounting_database_is_waited_for(cluster, repo, local, seconds):
    if not cluster.accounting:
        pytest.skip("a cluster without accounting")
    output = through_an_outage(cluster, repo, "slurmdbd", cluster.start_database, seconds)
    assert "Slurm does not answer: 1 jobs are kept" in output
    assert not same_files(repo, local)


@pytest.mark.slow
def test_a_job_that_slurm_has_forgotten_is_settled_by_its_files(cluster, repo, local):
    if cluster.accounting:
        pytest.skip("the accounting database forgets nothing")
    run = Run(repo)
    job = started(cluster, ROUND)
    # Once the second step of the group has started, it needs no controller.
    wait_until(lambda: f"{job}.1" in call("squeue", "--noheader", "--steps", "-j", job, "-o", "%i").split())
    cluster.stop("slurmctld")
    wait_until((repo / LAST_ROUND / "proxy.safetensors").exists)
    time.sleep(5)  # until the job is over
    cluster.start_controller(clean=True)
    output = run.finish()
    assert "Its files are complete: it is done" in output
    assert output.count("has been submitted") == 2
    assert not same_files(repo, local)


@pytest.mark.slow
def test_a_lost_node_that_comes_back(cluster, repo, local):
    run = Run(repo)
    job = started(cluster, ROUND)
    node = next(row[4] for row in cluster.jobs("running") if row[0] == job)
    cluster.lose_node(node, [job])
    wait_until(lambda: "Restarts=1" in call("scontrol", "show", "job", job))
    cluster.start_node(node)
    run.finish()
    assert not same_files(repo, local)


@pytest.fixture
def long(request, repo, tmp_path):
    """The study with a fine-tune of many epochs to do, and a copy in which a local run has done it."""
    configure(repo, {"trainers": {"flexmatch_images": {"epochs": request.param, "min_steps_per_epoch": 12}}})
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(repo, undisturbed, symlinks=True)
    snakemake(undisturbed, "-c2", f"{FINETUNE}/metrics.json")
    return repo, undisturbed


def same_finetune(repo, undisturbed):
    for name in ("metrics.json", "history.csv"):
        assert (repo / FINETUNE / name).read_bytes() == (undisturbed / FINETUNE / name).read_bytes()


def checkpoint_of(repo):
    path = repo / FINETUNE / "checkpoint.safetensors"
    wait_until(path.exists, seconds=120)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("long", [30], indirect=True)
def test_a_preempted_finetune_goes_on_after_its_last_epoch(cluster, long):
    repo, undisturbed = long
    run = Run(repo, targets=[f"{FINETUNE}/metrics.json"])
    checkpoint_of(repo)
    job = started(cluster, "rule_finetune")
    call("sbatch", "-p", "urgent", "-w", "g1", "--exclusive", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 2")
    wait_until(lambda: not new_jobs(cluster, "rule_finetune"), seconds=30)
    run.finish()
    assert "Restarts=1" in call("scontrol", "show", "job", job)
    log = next((repo / "logs").rglob("finetune-flexmatch_images.log")).read_text()
    assert "go on after epoch" in log
    same_finetune(repo, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("long", [30], indirect=True)
def test_a_finetune_that_preemption_cancels_is_tried_again_and_goes_on(cluster, long):
    repo, undisturbed = long
    call("scontrol", "update", "PartitionName=gpu", "PreemptMode=CANCEL")
    try:
        run = Run(repo, targets=[f"{FINETUNE}/metrics.json"])
        checkpoint_of(repo)
        call("sbatch", "-p", "urgent", "-w", "g1", "--exclusive", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 2")
        output = run.finish()
    finally:
        call("scontrol", "update", "PartitionName=gpu", "PreemptMode=REQUEUE")
    assert "Its last state was PREEMPTED" in output and "Trying to restart job" in output
    log = next((repo / "logs").rglob("finetune-flexmatch_images.log")).read_text()
    assert "go on after epoch" in log
    same_finetune(repo, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("long", [150], indirect=True)  # more than a minute, the shortest limit of Slurm
def test_a_job_without_enough_time_gets_more_and_goes_on(cluster, long):
    repo, undisturbed = long
    run = Run(repo, "--set-resources", "finetune:runtime=attempt", targets=[f"{FINETUNE}/metrics.json"])
    output = run.finish()
    assert "status is: 'TIMEOUT'" in output
    log = next((repo / "logs").rglob("finetune-flexmatch_images.log")).read_text()
    assert "go on after epoch" in log
    same_finetune(repo, undisturbed)


@pytest.mark.slow
def test_snakemake_that_is_asked_to_stop_cancels_its_jobs(cluster, repo, local):
    run = Run(repo)
    started(cluster, ROUND)
    os.kill(run.process.pid, signal.SIGINT)
    run.finish(code=1)
    assert not [row for row in cluster.jobs("running,pending") if row[1].startswith("labelbench")]
    Run(repo).finish()
    assert not same_files(repo, local)


@pytest.mark.slow
def test_snakemake_that_is_asked_to_stop_during_an_outage_submits_no_more(cluster, repo, local):
    run = Run(repo)
    started(cluster, ROUND)
    cluster.stop("slurmctld")
    try:
        time.sleep(20)
        os.kill(run.process.pid, signal.SIGINT)
        output = run.finish(code=1)
    finally:
        cluster.start_controller()
    assert "could not be cancelled" in output and "python slurm/recover.py" in output
    assert output.count("has been submitted") == 1
    subprocess.run([sys.executable, "slurm/recover.py"], cwd=repo, check=True)
    Run(repo).finish()
    assert not same_files(repo, local)
