"""How long Snakemake plans a study of 20,000 jobs: python bench/scale.py [--plan-only] [--trials N]

Nothing is run. A dry run of the whole study, then of one with 200 rounds; then every output is made as an empty file
and recorded with `--touch`, as if all had been done, and planned again: as it is, and with one strategy more. Printed
are CPU seconds, for a machine with other work, the clock, and the peak of resident memory.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parent.parent
STRATEGIES = [
    *("random", "confidence", "entropy", "margin", "coreset", "badge", "bait", "galaxy", "direct", "typiclust"),
    *("kmeans", "maxherding", "uherding"),
]
# `--touch` sleeps a tenth of a second for each job.
WITHOUT_SLEEP = "from snakemake.executors.touch import Executor; Executor.SLEEPING_TIME = 0"
TOUCH = ("-c", f"{WITHOUT_SLEEP}; from snakemake.cli import main; main()")
RECORD = ("--touch", "--forceall", "-c1000", "--quiet", "all")


def study(folder, datasets=4, selectors=("linear", "shallow"), strategies=STRATEGIES, trials=5, rounds=20):
    """Path of a config: variants of the digits × selectors × strategies × trials × rounds, the last one fine-tuned."""
    names = [f"digits{number}" for number in range(datasets)]
    config = {
        "pathvars": {"results": f"{folder}/results", "logs": f"{folder}/logs"},
        "run": {
            "datasets": names,
            "selectors": list(selectors),
            "strategies": list(strategies),
            "trials": trials,
            "replicates": 0,
        },
        "budgets": {"default": {"initial": 20, "batches": [2], "rounds": rounds}},
        "datasets": {name: {"name": "digits"} for name in names},
    }
    path = Path(folder) / f"config{time.monotonic_ns()}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def snakemake(title, config, *args, start=("-m", "snakemake")):
    """Run Snakemake on one core in the repository, print what it took, and return its output."""
    command = [sys.executable, *start, "--configfile", str(config), *args]
    began = time.perf_counter()
    # wait4 gives this child's peak alone.
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=REPO, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        output.seek(0)
        text = output.read()
    if status:
        sys.exit(f"{title} failed:\n{text[-3000:]}")
    jobs = re.search(r"^total +(\d+)", text, re.MULTILINE)
    print(
        f"{title:<34}{jobs[1] if jobs else 0:>8} jobs {used.ru_utime + used.ru_stime:8.1f} s CPU "
        f"{time.perf_counter() - began:8.1f} s {used.ru_maxrss / 1024:8.0f} MB",
        flush=True,
    )
    return text


def make_all(plan):
    """Make every output of a dry run as an empty file."""
    for line in re.findall(r"^    output: (.*)$", plan, re.MULTILINE):
        for path in map(Path, line.split(", ")):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--plan-only", action="store_true", help="only the two dry runs")
    arguments.add_argument("--trials", type=int, default=5, help="4,000 jobs for each")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = study(folder, trials=arguments.trials)
        plan = snakemake("dry run", config, "-n")
        snakemake("dry run, without a word per job", config, "-n", "--quiet", "rules")
        deep = study(folder, datasets=1, selectors=["linear"], strategies=["margin"], trials=1, rounds=200)
        snakemake("dry run, 200 rounds", deep, "-n", "--quiet", "all")
        if arguments.plan_only:
            return
        make_all(plan)
        snakemake("recording it as done", config, *RECORD, start=TOUCH)
        if "Nothing to be done" not in snakemake("nothing to be done", config, "-n"):
            sys.exit("something was to be done")
        more = snakemake(
            "one strategy more",
            study(folder, strategies=[*STRATEGIES, "base"], trials=arguments.trials),
            "-n",
        )
        print(", ".join(dict.fromkeys(re.findall(r"^\w+ +\d+$", more, re.MULTILINE))))


if __name__ == "__main__":
    main()
