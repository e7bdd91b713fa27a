"""On one machine, no more jobs use GPUs at a time than there are."""

import re

import pytest

from conftest import REPO, snakemake

SNAKEFILE = """
import sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {scripts!r})
from labelbench.planning import requests, snakemake_speed
_here, jobs = Path({rules!r}), SimpleNamespace(gpus=lambda: {gpus})

include: {rules!r} + "/resources.smk"

onstart:
    limit_gpus()

rule all:
    input: expand("out/{{n}}", n=range(4))

rule one:
    output: "out/{{n}}"
    resources: gpu=any_gpu
    shell: "date +%s.%N > {{output}}; sleep 1.5; date +%s.%N >> {{output}}"
"""


def at_once(folder, *args, gpus, env=None):
    """How many of four jobs ran at a time, at most, on four cores; and what each asked for."""
    text = SNAKEFILE.format(scripts=str(REPO / "workflow/scripts"), rules=str(REPO / "rules"), gpus=gpus)
    (folder / "Snakefile").write_text(text)
    output = snakemake(folder, "-c4", *args, env=env)
    times = [[float(t) for t in path.read_text().split()] for path in (folder / "out").iterdir()]
    assert len(times) == 4
    running = max(sum(begin <= at < end for begin, end in times) for at, _ in times)
    return running, set(re.findall(r"resources: .*\bgpu=(\d+)", output))


@pytest.mark.parametrize(
    ("gpus", "args", "env", "expected"),
    [
        (1, [], {}, (1, {"1"})),
        (8, ["--resources", "gpu=2"], {}, (2, {"1"})),
        (0, [], {}, (None, {"0"})),
        (8, [], {"LABELBENCH_GPU": "0"}, (None, {"0"})),
    ],
    ids=["one", "as said", "none", "none wanted"],
)
def test_no_more_jobs_than_gpus(tmp_path, gpus, args, env, expected):
    running, asked = at_once(tmp_path, *args, gpus=gpus, env=env)
    limit, asks = expected
    assert asked == asks
    assert running == limit if limit == 1 else running <= (limit or 4)
