"""What Snakemake 9.27 does as published, beside what it does when it is repaired, counted in small workflows.

A test that fails because both do the same says that Snakemake has mended this: then the repair can go.
"""

import json
import re
import subprocess
import sys

import pytest

from conftest import REPO, snakemake

JOBS = 6
SNAKEFILE = f"""
def source(wildcards):
    return "in.txt"

def memory(wildcards):
    return 100

rule all:
    input:
        expand("out/{{i}}.{{end}}", i=range({JOBS}), end=["a", "b", "c"]),
        expand("use/{{i}}", i=range({JOBS})),

rule use:
    input: "out/0.a"
    output: "use/{{i}}"
    script: "make.py"

rule make:
    input: source
    output: "out/{{i}}.a", "out/{{i}}.b", "out/{{i}}.c"
    log: "logs/{{i}}.log"
    conda: "env.yaml"
    resources: mem_mb=memory
    params: letter=lambda wildcards: wildcards.i
    script: "make.py"
"""
# Counts calls from outside, below what the repairs replace.
COUNTING = """
import collections, inspect, json, sys
sys.path.insert(0, sys.argv.pop(1))
repaired = sys.argv.pop(1) == "repaired"
from snakemake import cli, dag, io, iocontainers, jobs, output_index, pathvars, persistence, resources, rules
from snakemake.scheduling import job_scheduler
from snakemake_interface_common.io import AnnotatedStringInterface
counts = collections.Counter()

def count(owner, name, what):
    published = getattr(owner, name)
    def counted(*args, **kwargs):
        counts[what] += 1
        return published(*args, **kwargs)
    setattr(owner, name, counted)

count(inspect, "signature", "signatures")
count(dag.ScriptProcessor, "process_job", "scripts")
count(output_index.OutputIndex, "match_producers", "producers")
count(rules.Rule, "expand_conda_env", "environments")
count(rules.Rule, "expand_resources", "resources")
count(rules, "Wildcards", "wildcards")
count(pathvars.Pathvars, "apply", "paths")
count(io._IOFile, "__hash__", "hashes")
count(AnnotatedStringInterface, "is_flagged", "flags")
count(iocontainers.Namedlist, "_set_name", "names")
count(jobs.Job, "is_valid", "logs")
count(dag.DAG, "check_directory_outputs", "directories")
count(jobs.Job, "log_info", "unseen")
count(persistence.PersistenceBase, "metadata", "records")
put = io.asyncio.Queue.put_nowait
def put_nowait(self, item):
    counts["files"] += 1
    return put(self, item)
io.asyncio.Queue.put_nowait = put_nowait
asked = io._IOFile.is_storage.fget
def is_storage(self):
    counts["storage"] += 1
    return asked(self)
io._IOFile.is_storage = property(is_storage)
if repaired:
    from labelbench.planning import snakemake_speed
    snakemake_speed.REPAIRED = ""
    snakemake_speed.plan_quickly()
code = 0
try:
    cli.main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("COUNTS", json.dumps([code, counts]))
"""


def counted(folder, version, *args):
    command = [sys.executable, "-c", COUNTING, str(REPO / "workflow/scripts"), version, *args]
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    code, counts = json.loads(done.stdout.rpartition("COUNTS ")[2])
    assert code == 0, done.stdout
    return counts


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """By (as published or repaired, nothing or everything there), how often Snakemake did what."""
    folder, found = tmp_path_factory.mktemp("counted"), {}
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "env.yaml").write_text("channels: []\ndependencies: []\n")
    (folder / "make.py").write_text("for path in snakemake.output:\n    open(path, 'w').close()\n")
    (folder / "in.txt").write_text("x")
    plan = ("-n", "--quiet", "rules")
    for version in ("published", "repaired"):
        found[version, "new"] = counted(folder, version, *plan)
    counted(folder, "published", "-c1", "--quiet", "all")
    for version in ("published", "repaired"):
        found[version, "done"] = counted(folder, version, *plan)
    return found


@pytest.mark.parametrize("state", ["new", "done"])
@pytest.mark.parametrize(
    "what",
    [
        *("producers", "signatures", "wildcards", "paths", "hashes", "flags", "storage", "names"),
        *("logs", "directories"),
    ],
)
def test_what_is_done_again_for_every_job(counts, what, state):
    published, repaired = counts["published", state].get(what, 0), counts["repaired", state].get(what, 0)
    assert published > repaired, f"Snakemake has mended this: {what} ({published} times)"


@pytest.mark.parametrize(
    ("what", "state"),
    [
        *(("environments", "new"), ("scripts", "new"), ("unseen", "new"), ("resources", "new")),
        *(("records", "done"), ("files", "done")),
    ],
)
def test_what_is_done_in_one_state_alone(counts, what, state):
    published, repaired = counts["published", state].get(what, 0), counts["repaired", state].get(what, 0)
    assert published > repaired, f"Snakemake has mended this: {what} ({published} times)"


FAILING = """
import sys
sys.path.insert(0, {scripts!r})
from labelbench.planning import snakemake_speed
if {repaired}:
    snakemake_speed.plan_quickly()

rule use:
    input: "last"
    output: "used"
    shell: "cp {{input}} {{output}}"

rule make:
    output: {outputs}
    params: spec=config["spec"]
    shell: "for path in {{output}}; do echo {{params.spec}} >> $path; done; test {{params.spec}} = good"
"""


@pytest.mark.parametrize("outputs", ['"last"', 'update("last")', 'update("first"), "last"', '"first", update("last")'])
@pytest.mark.parametrize("repaired", [True, False], ids=["repaired", "published"])
def test_a_job_that_failed_is_not_recorded_as_done(tmp_path, repaired, outputs):
    text = FAILING.format(scripts=str(REPO / "workflow/scripts"), repaired=repaired, outputs=outputs)
    (tmp_path / "Snakefile").write_text(text)
    snakemake(tmp_path, "-c1", "--config", "spec=good")
    assert snakemake(tmp_path, "-c1", "--config", "spec=bad", check=False).returncode
    for name in re.findall(r'update\("(\w+)"\)', outputs):
        assert (tmp_path / name).read_text() == "good\n"
    # What is made of it is there, and older than nothing that is there: only the records tell.
    again = snakemake(tmp_path, "-n", "--config", "spec=bad")
    assert ("Nothing to be done" in again) != repaired
    if repaired:  # with the former settings all is as it was
        assert "Nothing to be done" in snakemake(tmp_path, "-n", "--config", "spec=good")


WRONG = """
import sys
sys.path.insert(0, {scripts!r})
from labelbench.common.errors import UserError
from labelbench.planning import snakemake_speed
if {repaired}:
    snakemake_speed.plan_quickly()

def wrong(wildcards):
    raise {error}

rule all:
    input: "of_no_use"

rule make:
    {what}
    output: "{{name}}_use"
    shell: "touch {{output}}"
"""


@pytest.mark.parametrize("what", ["input: wrong", "params: spec=wrong", "resources: mem_mb=wrong", "threads: wrong"])
def test_a_mistake_that_a_function_finds_is_told_by_its_sentence(tmp_path, what):
    for repaired in (True, False):
        for error in ("UserError('The folder is empty.')", "KeyError('folder')"):
            text = WRONG.format(scripts=str(REPO / "workflow/scripts"), repaired=repaired, error=error, what=what)
            (tmp_path / "Snakefile").write_text(text)
            done = snakemake(tmp_path, "-n", check=False)
            assert done.returncode
            alone = repaired and "empty" in error
            assert done.stdout.endswith("WorkflowError:\nThe folder is empty.\n") == alone
            for word in ("Wildcards", "Traceback", "InputFunctionException"):
                assert (word in done.stdout) != alone


def test_another_version_says_what_is_off(monkeypatch):
    from labelbench.planning import snakemake_speed

    monkeypatch.setattr("snakemake.__version__", "9.99.1")
    told = snakemake_speed.plan_quickly()
    assert told.startswith("Snakemake 9.99.1 is not the 9.27.* that this workflow repairs")
    assert "planning takes about twice as long" in told
