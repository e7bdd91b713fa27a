"""What a study has cost, by stage."""

import json

import numpy as np
import pytest

from labelbench.evidence import costs


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


@pytest.mark.parametrize("trained", ["", "refresh/"])
def test_a_model_that_is_copied_costs_nothing(tmp_path, trained):
    def leave(name, seconds):
        path = tmp_path / "runs/d/e/s-t/margin/trial0/round02" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"train_seconds": seconds, "threads": 1, "gpus": 1}))

    leave(f"{trained}cost.json", 3600)
    leave("finetune-t/cost.json", 3600)
    leave("finetune-other/cost.json", 1800)
    rows = {row[0]: row[1:] for row in (line.split() for line in costs.summary(tmp_path).splitlines()[1:])}
    stage = "refreshing" if trained else "training"
    assert rows[stage] == ["1", "1.000", "1.000"] and rows["fine-tuning"] == ["1", "0.500", "0.500"]


@pytest.mark.parametrize("seed", range(5))
def test_jobs_that_shared_a_gpu_cost_a_part_of_it(seed):
    draw = np.random.default_rng(seed)
    jobs = []
    for gpu in ("node1/GPU-a", "node1/GPU-b"):
        for begin, length in zip(draw.integers(0, 40, 8), draw.integers(1, 30, 8), strict=True):
            jobs.append({"gpu": gpu, "ended": float(begin + length), "train_seconds": float(length), "gpus": 1})
    jobs = list({(job["gpu"], job["ended"], job["train_seconds"]): job for job in jobs}.values())
    expected = []
    for job in jobs:
        span = np.arange(job["ended"] - job["train_seconds"], job["ended"])  # whole seconds
        others = [o for o in jobs if o["gpu"] == job["gpu"]]
        running = [sum(o["ended"] - o["train_seconds"] <= t < o["ended"] for o in others) for t in span]
        expected.append(np.mean(1 / np.array(running)))
    copy, on_cpu = dict(jobs[0]), {"train_seconds": 5.0, "gpus": 0}
    found = costs.shared([*jobs, copy, on_cpu])
    assert [cost["gpus"] for cost in found] == pytest.approx([*expected, expected[0], 0])
    assert all(set(cost) == {"train_seconds", "gpus"} for cost in found)
    assert jobs[0]["gpus"] == 1  # what was given is not changed


def test_a_second_gpu_and_old_results_count_whole():
    alone = {"gpu": "node2/GPU-c", "ended": 100.0, "train_seconds": 10.0, "startup_seconds": 2.0, "gpus": 1}
    before = {"train_seconds": 10.0, "gpus": 1}
    assert [cost["gpus"] for cost in costs.shared([alone, before])] == [1, 1]


def test_a_job_on_several_gpus_counts_all_of_them():
    """Ten seconds on four, of which another job had one half of the time."""
    four = {"gpu": "n/a n/b n/c n/d", "ended": 10.0, "train_seconds": 10.0, "gpus": 4}
    beside = {"gpu": "n/b", "ended": 10.0, "train_seconds": 5.0, "gpus": 1}
    assert [cost["gpus"] for cost in costs.shared([four, beside])] == pytest.approx([3.75, 0.5])
