"""What a study has cost so far, by the files of costs that finished jobs have left (`jobs.Stopwatch.cost`)."""

import itertools
from bisect import bisect_right
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


def seconds(cost):
    """Wall seconds of a job with its start-up."""
    return sum(cost.get(name, 0) for name in WORK)


def shared(costs):
    """The same costs, a list of dicts, in which `gpus` is what a job had for itself, such as 0.5.

    While n jobs computed on a GPU, each had 1 / n of it. `gpu` and `ended`, which tell who used it when, are left out;
    a job that used several names them all, with spaces between.

    Two costs of one GPU and the same seconds are one job's: a model was taken over, with its cost.
    """
    told, spans = list(costs), defaultdict(lambda: defaultdict(list))
    for position, cost in enumerate(costs):
        if isinstance(cost.get("gpu"), str) and json_files.is_number(cost.get("ended")):
            told[position] = {name: value for name, value in cost.items() if name not in ("gpu", "ended")}
            if seconds(cost) > 0:
                told[position]["gpus"] = 0.0
                for gpu in cost["gpu"].split():
                    spans[gpu][cost["ended"] - seconds(cost), cost["ended"]].append(position)
    for of_gpu in spans.values():
        moments = sorted({moment for span in of_gpu for moment in span})
        begun, ended = sorted(begin for begin, _ in of_gpu), sorted(end for _, end in of_gpu)
        own = [0.0]  # seconds that a job has had for itself by each moment, if it has run from the first one on
        for moment, following in itertools.pairwise(moments):
            running = bisect_right(begun, moment) - bisect_right(ended, moment)
            own.append(own[-1] + (following - moment) / max(running, 1))
        by = dict(zip(moments, own, strict=True))
        for (begin, end), positions in of_gpu.items():
            for position in positions:
                told[position]["gpus"] += (by[end] - by[begin]) / (end - begin)
    return told


def summary(results):
    """A table as text: jobs, CPU hours and GPU hours by stage, the dearest first. A waiting thread counts as well.

    A model that was taken over counts once, where it was trained; a GPU that jobs shared counts once, too (`shared`).
    """
    total = defaultdict(lambda: [0, 0.0, 0.0])
    paths = [path for path in Path(results).rglob("*cost.json") if not taken_over(path)]
    for path, cost in zip(paths, shared([json_files.read(path) for path in paths]), strict=True):
        hours = seconds(cost) / 3600
        for name in (stage(path), "total"):
            total[name][0] += 1
            total[name][1] += hours * cost.get("threads", 1)
            total[name][2] += hours * cost.get("gpus", 0)
    last = total.pop("total", [0, 0.0, 0.0])
    rows = sorted(total.items(), key=lambda item: -(item[1][1] + item[1][2]))
    lines = [f"{'stage':<14}{'jobs':>8}{'CPU hours':>12}{'GPU hours':>12}"]
    lines += [f"{name:<14}{n:>8}{cpu:>12.3f}{gpu:>12.3f}" for name, (n, cpu, gpu) in [*rows, ("total", last)]]
    return "\n".join(lines)
