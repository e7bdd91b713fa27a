"""Small studies, and what a test asks of them: the plan of the next run, the files of the last, processes, refusals."""

import re
import subprocess
from collections import Counter

from conftest import snakemake

AGGREGATES = {"collect", "tables", "figures", "summary"}


def planned(repo):
    """(rule, wildcards) of each job that the next run would start."""
    text = snakemake(repo, "-n", "--quiet", "progress")
    jobs = []
    for block in re.split(r"\n(?=(?:local)?rule )", text):
        rule = re.match(r"(?:local)?rule (\w+):", block)
        if rule and rule[1] not in ("all", "report"):
            wildcards = re.search(r"wildcards: (.*)", block)
            jobs.append((rule[1], dict(w.split("=") for w in wildcards[1].split(", ")) if wildcards else {}))
    return jobs


def models(jobs):
    """The planned jobs without those that make tables and figures of all results."""
    return [(rule, wildcards) for rule, wildcards in jobs if rule not in AGGREGATES]


def count(jobs):
    return Counter(rule for rule, _ in models(jobs))


def values(jobs, wildcard):
    return {wildcards[wildcard] for _, wildcards in models(jobs) if wildcard in wildcards}


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def library(repo, name):
    return repo / "workflow/scripts/labelbench" / name


def deterministic_files(repo):
    """Path and bytes of what must be the same in every run: label sets, metrics, models, embeddings."""
    found = {}
    for path in sorted((repo / "results").rglob("*")):
        timing = path.name.endswith("cost.json")
        if path.is_file() and not timing and "tables" not in path.parts and "figures" not in path.parts:
            found[str(path.relative_to(repo))] = path.read_bytes()
    return found


def job_processes(repo):
    """Process ids of running job scripts of this repository."""
    found = subprocess.run(["pgrep", "-f", f"python.*{repo}/.snakemake/scripts/"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def refused(repo, *args):
    """The output of a run that must fail; without a traceback in it."""
    done = snakemake(repo, "-c1", *args, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert not list((repo / "results").rglob("*.part"))
    return " ".join(done.stdout.split())


SHORT = {"epochs": 1, "min_steps_per_epoch": 2, "batch_size": 8}


def a_study(selectors, rounds, every, **run):
    """Overlay: these selectors on the digits, one trial, everything as small as it can be."""
    trainers = {"linear": ["flexmatch"], "blend": ["flexmatch"], "finetune": ["flexmatch_images"]}
    return {
        "run": {
            "datasets": ["digits"],
            "selectors": selectors,
            "trainers": {name: trainers[name] for name in selectors},
            "strategies": ["random", "margin"],
            "trials": 1,
            "replicates": 0,
            "finetune": {"trainers": ["flexmatch_images", "passive_images"], "rounds": "last"},
            **run,
        },
        "budgets": {"default": {"initial": 20, "batches": [5], "rounds": rounds}},
        "augmentations": 1,
        "selectors": {"blend": {"refresh": {"every": every, "trainer": "flexmatch_images"}}},
        "trainers": {"flexmatch": {"epochs": 2}, "flexmatch_images": SHORT, "passive_images": SHORT},
    }
