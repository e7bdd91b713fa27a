"""What a study has cost so far, by the files of costs that finished jobs have left (`jobs.Stopwatch.cost`)."""

from collections import defaultdict
from pathlib import Path

from labelbench.common import json_files

WORK = ("embed_seconds", "select_seconds", "train_seconds", "startup_seconds")


def stage(path):
    """What the job did that left the cost file `path`, by the file's place."""
    if "tuned" in path.parts:
        return "tuning"
    if "embeddings" in path.parts:
        return "embedding"
    if path.name == "select_cost.json":
        return "selection"
    kind = path.parent.name.partition("-")[0]  # round03, refresh, finetune-TRAINER
    return {"finetune": "fine-tuning", "refresh": "refreshing"}.get(kind, "training")


def taken_over(path):
    """Whether the cost file `path` is the copy that `results.take_over` made: another beside it is the same."""
    if stage(path) != "fine-tuning":
        return False
    round_ = path.parents[1]
    originals = [p for p in (round_ / "cost.json", round_ / "refresh/cost.json") if p.exists()]
    return path.read_bytes() in [original.read_bytes() for original in originals]


def summary(results):
    """A table as text: jobs, CPU hours and GPU hours by stage, the dearest first. A waiting thread counts as well.

    A model that was taken over counts once, where it was trained.
    """
    total = defaultdict(lambda: [0, 0.0, 0.0])
    for path in Path(results).rglob("*cost.json"):
        if taken_over(path):
            continue
        cost = json_files.read(path)
        hours = sum(cost.get(name, 0) for name in WORK) / 3600
        for name in (stage(path), "total"):
            total[name][0] += 1
            total[name][1] += hours * cost.get("threads", 1)
            total[name][2] += hours * cost.get("gpus", 0)
    last = total.pop("total", [0, 0.0, 0.0])
    rows = sorted(total.items(), key=lambda item: -(item[1][1] + item[1][2]))
    lines = [f"{'stage':<14}{'jobs':>8}{'CPU hours':>12}{'GPU hours':>12}"]
    lines += [f"{name:<14}{n:>8}{cpu:>12.3f}{gpu:>12.3f}" for name, (n, cpu, gpu) in [*rows, ("total", last)]]
    return "\n".join(lines)
