"""Fixtures shared by the tests: a finished tiny study, and copies of it to change."""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import pytest
import snakemake.cli as snakemake_cli
import yaml
from filelock import FileLock

from labelbench.planning.plan import merged

# One thread per job is how the workflow runs, and what makes results bit-identical.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a test does take two, they sleep while they wait for each other: spinning, they hold up all other tests.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

snakemake_shell = importlib.import_module("snakemake.shell")  # `import … as` finds the class of that name in it

REPO = Path(__file__).resolve().parent.parent
PARTS = ["Snakefile", "rules", "workflow", "config", "envs", "profiles", "resources", "slurm"]


def pytest_collection_modifyitems(items):
    """Whole studies first: begun last, they would keep one worker busy while the others have nothing left."""
    items.sort(key=lambda item: item.path.parent.name not in ("workflow", "slurm"))


def copy_workflow(target):
    """The files a clone has that a run needs, in a new folder `target`."""
    target.mkdir()
    for part in PARTS:
        source = REPO / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / part)
    return target


def configure(repo, overlay):
    """Merge `overlay` into the config of a copied workflow."""
    path = repo / "config/config.yaml"
    path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), overlay), sort_keys=False))


def snakemake(repo, *args, check=True, env=None):
    """Run Snakemake in `repo`; its output as text, or the finished process if `check` is false.

    It runs in a fork of this process, which has imported Snakemake already: half the time of a dry run is its imports.
    Its jobs are processes of their own, as always. With `env`, which may matter at its start, it is started.
    """
    if env:
        command = [sys.executable, "-m", "snakemake", *args]
        done = subprocess.run(
            command,
            cwd=repo,
            env=os.environ | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        code, text = done.returncode, done.stdout
    else:
        code, text = _in_a_fork(repo, args)
    if check and code:
        pytest.fail(f"snakemake {' '.join(args)} failed:\n{text[-6000:]}", pytrace=False)
    return text if check else subprocess.CompletedProcess(["snakemake", *args], code, text)


def _in_a_fork(repo, args):
    """(exit code, output) of Snakemake in a fork of this process."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        child = os.fork()
        if not child:
            _become_snakemake(repo, args, output.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return code, output.read()


def _become_snakemake(repo, args, output):
    """Run Snakemake in this process, a fork, as a shell would start it in `repo`, and end."""
    code = 1
    try:
        for number in (1, 2):
            os.dup2(output, number)
        with os.fdopen(1, "w", 1, "utf-8") as sys.stdout, os.fdopen(2, "w", 1, "utf-8") as sys.stderr:
            os.chdir(repo)
            snakemake_shell.STDOUT = None  # it keeps pytest's for its jobs
            # The tests' folders are no business of jobs, and the copied workflow brings its own library, maybe changed.
            sys.path[:] = [
                p for p in sys.path if not Path(p).is_relative_to(REPO) or Path(p).is_relative_to(sys.prefix)
            ]
            for name in [name for name in sys.modules if name.partition(".")[0] == "labelbench"]:
                del sys.modules[name]
            sys.argv = ["snakemake", *args]
            try:
                snakemake_cli.main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            except BaseException:
                traceback.print_exc()
    finally:
        os._exit(code)


@pytest.fixture(scope="session")
def tiny_workflow(tmp_path_factory):
    """A fresh copy of the workflow with the tiny config, nothing run yet."""
    repo = copy_workflow(tmp_path_factory.mktemp("tiny") / "repo")
    configure(repo, yaml.safe_load((REPO / "tests/config/tiny.yaml").read_text()))
    return repo


def once(tmp_path_factory, name, make):
    """The folder `name` that `make(folder)` fills, made once in a test run: the workers of pytest-xdist share it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, done = base / name, base / f"{name}.done"
    with FileLock(base / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what another worker failed to make
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def finished(tiny_workflow, tmp_path_factory):
    """The tiny study, run to the end, as all workers see it. Do not change it: take `repo`."""

    def make(folder):
        shutil.copytree(tiny_workflow, folder)
        snakemake(folder, "-c2")

    return once(tmp_path_factory, "finished", make)


@pytest.fixture
def repo(finished, tmp_path):
    """A copy of the finished tiny study, with its modification times and Snakemake's records."""
    copy = tmp_path / "repo"
    shutil.copytree(finished, copy, symlinks=True)
    return copy


@pytest.fixture
def fresh(tiny_workflow, tmp_path):
    """A copy of the tiny workflow in which nothing has run."""
    copy = tmp_path / "repo"
    shutil.copytree(tiny_workflow, copy)
    return copy
