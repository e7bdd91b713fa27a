"""YAML as people write settings: every key once, numbers that are numbers, and what is wrong with its line."""

import math
import re
from pathlib import Path

import yaml

from labelbench.common.errors import UserError
from labelbench.common.names import shortened

# YAML 1.1 takes 1e-3 for a text, unless it is written 1.0e-3.
_FLOAT = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """The safe loader, with YAML 1.2's numbers."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


class _Wrong(Exception):
    pass


def _check(node, seen):
    """Raise `_Wrong` for a key that stands twice, and for what is no finite number.

    seen: ids of the nodes looked at, for aliases repeat nodes.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines = {}
        for key, value in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines:
                raise _Wrong(f"lines {lines[name]} and {line}: {shortened(key.value)} stands twice. Keep one.")
            lines[name] = line
            _check(key, seen)
            _check(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check(item, seen)
    elif node.tag == "tag:yaml.org,2002:float" and not _is_finite(node.value):
        raise _Wrong(f"line {node.start_mark.line + 1}: {shortened(node.value)} is no number.")


def _is_finite(text):
    try:
        return math.isfinite(float(text.replace("_", "")))
    except ValueError:  # .nan and .inf, which Python spells otherwise; sexagesimal numbers are finite
        return ":" in text


def _not_utf8(data):
    """The first line of a file's bytes that is text in another encoding; 0 where all is UTF-8, or no text at all."""
    if b"\0" in data:
        return 0
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return data[: error.start].count(b"\n") + 1
    return 0


def load(path):
    """The value that a YAML file holds, None for an empty one. Raises `UserError` with the file and the line."""
    try:
        data = Path(path).read_bytes()
        loader = _Loader(data)
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, set())
        return loader.construct_document(node)
    except _Wrong as error:
        raise UserError(f"{path}, {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = ", ".join(filter(None, [error.context, error.problem]))
        raise UserError(f"{path}{where}: this is no YAML: {what}. Indent with spaces, never with tabs.") from None
    except RecursionError:
        raise UserError(f"{path} cannot be read: it is nested too deeply.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, yaml.YAMLError) as error:
        if line := _not_utf8(data):
            raise UserError(f"{path} cannot be read: line {line} is not UTF-8 text. Save it as UTF-8.") from None
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}.") from None
