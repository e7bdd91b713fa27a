"""Identity of what a job ran: canonical settings and a digest of the code behind it.

Snakemake compares a rule's params with the ones it recorded, as a set of texts: names, numpy values, paths and
objects are not seen, and 1 differs from 1.0. Both functions here return one string that holds everything, in one
spelling.
"""

import ast
import functools
import hashlib
import json
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2]


def canonical(settings):
    """JSON text with one spelling per meaning: sorted keys, whole floats as integers."""

    def plain(value):
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value

    return json.dumps(plain(settings), sort_keys=True)


def _module_files(name):
    """The local files that `import name` runs: the module and the packages it stands in."""
    parts = name.split(".")
    candidates = [SCRIPTS.joinpath(*parts).with_suffix(".py")]
    candidates += [SCRIPTS.joinpath(*parts[: i + 1], "__init__.py") for i in range(len(parts))]
    return [path for path in candidates if path.is_file()]


def _without_what_changes_no_result(tree):
    """Without docstrings, and without `memory` functions: what a job asks for is no part of what it computes."""
    tree.body = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == "memory")]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


@functools.cache
def _read(path):
    """Digest of one file, comments, docstrings and `memory` aside, and the local files it imports."""
    tree = _without_what_changes_no_result(ast.parse(path.read_text(encoding="utf-8")))
    package = path.relative_to(SCRIPTS).with_suffix("").parts
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level] if node.level else ()
            base = ".".join([*parent, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    local = frozenset(file for name in names if name for file in _module_files(name))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), local


@functools.cache
def digest(*files):
    """Digest (12 hex digits) of these files, relative to `workflow/scripts`, and all local code they import.

    Imports made by name at run time are not followed: name a plug-in's file as well.
    """
    seen, todo = {}, [SCRIPTS / f for f in files]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen[path], imports = _read(path)
            todo += imports
    lines = sorted(f"{path.relative_to(SCRIPTS)} {code}" for path, code in seen.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
