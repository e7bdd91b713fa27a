"""Conda environments: each rule's holds what its script imports."""

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
