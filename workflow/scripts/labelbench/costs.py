"""What a study has cost so far, by the line that every finished job leaves in its log (`jobs.start`)."""

import json
import re
from collections import defaultdict
from pathlib import Path

TAIL = 4096  # bytes of a log's end in which that line stands


def read(logs):
    """Cost of every finished job under the folder `logs`: dicts with rule, seconds, threads and gpus."""
    for path in sorted(Path(logs).rglob("*.log")):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            found = re.findall(rb"INFO cost: (\{.*\})$", file.read(), re.MULTILINE)
        cost = json.loads(found[-1]) if found else {"rule": "costs"}
        if cost["rule"] != "costs":
            yield cost


def summary(logs):
    """A table as text: jobs, CPU hours and GPU hours by rule, the dearest first. A thread that waits counts as well."""
    total = defaultdict(lambda: [0, 0.0, 0.0])
    for cost in read(logs):
        hours = cost["seconds"] / 3600
        for name in (cost["rule"], "total"):
            total[name][0] += 1
            total[name][1] += hours * cost["threads"]
            total[name][2] += hours * cost["gpus"]
    last = total.pop("total", [0, 0.0, 0.0])
    rows = sorted(total.items(), key=lambda item: -(item[1][1] + item[1][2]))
    lines = [f"{'stage':<18}{'jobs':>8}{'CPU hours':>12}{'GPU hours':>12}"]
    lines += [f"{name:<18}{n:>8}{cpu:>12.3f}{gpu:>12.3f}" for name, (n, cpu, gpu) in [*rows, ("total", last)]]
    return "\n".join(lines)
