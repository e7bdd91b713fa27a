"""What runs on a cluster, as far as it shows without one; tests/slurm has one."""

import asyncio
import json
import logging
import re
import threading
from types import SimpleNamespace

import pytest

from conftest import snakemake
from labelbench import cluster, costs, snakemake_speed


def asked(repo, rule, *args):
    """Resources and threads of a rule's first job in a dry run, as a dict of texts."""
    output = snakemake(repo, "-n", "-c32", *args)
    job = re.search(rf"^rule {rule}:$(.*?)^(?=\S)", output + "\nend", re.MULTILINE | re.DOTALL)[1]
    found = dict(item.split("=") for item in re.search(r"resources: (.*)", job)[1].split(", "))
    threads = re.search(r"threads: (\d+)", job)
    return found | {"threads": threads[1] if threads else "1"}


def test_jobs_ask_for_what_their_dataset_needs(fresh):
    dataset = fresh / "results/datasets/digits.h5"
    dataset.parent.mkdir(parents=True)
    view, model = "results/embeddings/digits/glyphclip/clean.h5", "results/runs/digits/glyphclip/linear-flexmatch"
    # A file of the size that a dataset of 1,797 images has, and one of the size of ImageNet's; the job that makes it is
    # not asked for.
    for images, expected in (
        (1797, {"mem_mb": "4000", "threads": "1", "gpu": "0", "runtime": "30"}),
        (1_331_167, {"mem_mb": "64000", "threads": "16", "gpu": "1", "runtime": "473"}),
    ):
        with dataset.open("wb") as file:
            file.truncate(16 * images)
        found = asked(fresh, "embed", view, "--allowed-rules", "embed")
        assert {key: found[key] for key in expected} == expected
    again = asked(fresh, "embed", view, "--attempt", "2", "--allowed-rules", "embed")
    assert (again["mem_mb"], again["runtime"], again["threads"]) == ("128000", "946", "16")
    rules = ["--allowed-rules", "select_batch", "train_proxy", "embed", "initial_labels"]
    target = f"{model}/margin/trial0/round02/proxy.safetensors"
    large = asked(fresh, "select_batch", target, *rules)
    with dataset.open("wb") as file:
        file.truncate(16 * 1797)
    small = asked(fresh, "select_batch", target, *rules)
    assert (small["mem_mb"], small["gpu"]) == ("1511", "0")
    assert int(large["mem_mb"]) > 16_000 and large["gpu"] == "1"


def an_executor(check):
    """As much of the plugin's executor as the repairs touch. Its `log` lists what it was told."""
    log = []
    executor = SimpleNamespace(
        check_active_jobs=check,
        run_job=lambda job: log.append(("run", job)),
        report_job_success=lambda job: log.append(("success", job)),
        report_job_error=lambda job, msg=None: log.append(("error", job)),
        logger=logging.getLogger("test"),
        next_seconds_between_status_checks=None,
        log=log,
    )
    cluster.survive_outages(executor)
    return executor


def polled(executor, jobs):
    async def collect():
        return [job async for job in executor.check_active_jobs(jobs)]

    return asyncio.run(collect())


def test_no_job_is_forgotten_when_slurm_does_not_answer(caplog):
    jobs = [SimpleNamespace(name=name) for name in "abc"]

    async def answers(active):
        executor.report_job_success(active[0])
        executor.report_job_error(active[1], msg="died")
        yield active[2]

    async def does_not_answer(active):
        return
        yield

    executor = an_executor(lambda active: check(active))
    check = does_not_answer
    assert polled(executor, jobs) == jobs and executor.log == []
    assert "Slurm does not answer: 3 jobs are kept" in caplog.text
    caplog.clear()
    check = answers
    assert polled(executor, jobs) == jobs[2:]
    assert executor.log == [("success", jobs[0]), ("error", jobs[1])] and not caplog.text


def test_the_queue_is_looked_at_more_seldom_while_nothing_happens(monkeypatch):
    now = 0.0
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now)

    async def running(active):
        for job in active:
            yield job

    executor, looks = an_executor(running), []
    while now < 3600:
        polled(executor, ["job"])
        looks.append(executor.next_seconds_between_status_checks)
        now += looks[-1]
    assert looks[0] == 5 and looks == sorted(looks) and looks[-1] == 60
    assert len(looks) < 120  # of one hour
    polled(executor, [])
    polled(executor, ["job"])
    assert executor.next_seconds_between_status_checks == 5


def test_submissions_wait_for_the_controller(monkeypatch, caplog):
    answers = iter(
        ["Slurmctld(primary) at h is DOWN", "Slurmctld(primary) at h is DOWN", "Slurmctld(primary) at h is UP"]
    )
    monkeypatch.setattr(cluster.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=next(answers)))
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: None)
    executor = an_executor(None)
    executor.run_job("job")
    assert executor.log == [("run", "job")] and next(answers, None) is None
    assert caplog.text.count("does not answer") == 1


def test_orphans_are_the_jobs_of_this_folder(monkeypatch, tmp_path):
    queue = f"7|labelbench_1|{tmp_path}\n8|labelbench_1|/elsewhere\n9|other|{tmp_path}\n"
    monkeypatch.setattr(cluster.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=queue))
    assert cluster.orphans(tmp_path) == ["7"]
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cluster.orphans(tmp_path) == []


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


def test_costs_are_summed_by_stage(tmp_path):
    def leave(name, **cost):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(cost))

    leave("embeddings/d/e/clean.cost.json", embed_seconds=3598, startup_seconds=2, threads=4, gpus=1)
    leave("embeddings/d/e/aug0.cost.json", embed_seconds=1800, startup_seconds=0, threads=4, gpus=1)
    leave("runs/d/e/linear-t/margin/trial0/round02/cost.json", train_seconds=360, startup_seconds=0, threads=1, gpus=0)
    leave("runs/d/e/linear-t/margin/trial0/round02/select_cost.json", select_seconds=36, threads=1, gpus=0)
    leave("runs/d/e/linear-t/margin/trial0/round02/finetune-a/cost.json", train_seconds=36, threads=1, gpus=1)
    leave("tuned/d/e/linear-t/initial/trial0/round00/candidate0/cost.json", train_seconds=7.2, threads=1, gpus=0)
    rows = [line.split() for line in costs.summary(tmp_path).splitlines()[1:]]
    assert rows == [
        ["embedding", "2", "6.000", "1.500"],
        ["training", "1", "0.100", "0.000"],
        ["fine-tuning", "1", "0.010", "0.010"],
        ["selection", "1", "0.010", "0.000"],
        ["tuning", "1", "0.002", "0.000"],
        ["total", "6", "6.122", "1.510"],
    ]


def test_costs_of_a_study(repo):
    output = snakemake(repo, "costs", "-c1", "--quiet", "all")
    jobs = {row[0]: int(row[1]) for row in (line.split() for line in output.splitlines()) if len(row) == 4}
    assert jobs == {"training": 28, "selection": 24, "fine-tuning": 12, "embedding": 6, "total": 70}


@pytest.mark.parametrize("name", ["LABELBENCH_ACCOUNT", "LABELBENCH_PARTITION"])
def test_account_and_partition_by_environment(fresh, name):
    output = snakemake(fresh, "--profile", "slurm", "-n", "results/datasets/digits.h5", env={name: "mine"})
    assert f"slurm_{name.removeprefix('LABELBENCH_').lower()}=mine" in output


def test_staged_are_the_datasets_and_weights_of_a_study(fresh):
    snakemake(fresh, "stage", "-c1")
    (staged,) = json.loads((fresh / "results/staged.json").read_text())
    assert staged["encoder"]["model"] == "glyphclip" and len(staged["weights"]) == 64
    assert {path.name for path in (fresh / "results").rglob("*.h5")} == {"digits.h5", "digits_longtail.h5"}
