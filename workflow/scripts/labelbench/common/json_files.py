"""JSON as results hold it: objects of finite numbers, where a name stands once."""

import json
import sys
from pathlib import Path

from labelbench.common.errors import UserError


def _no_number(word):
    raise ValueError(f"it holds {word}, which is no number")


def _each_once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise ValueError(f"{twice!r} stands in it twice")
    return found


def loads(text):
    """The value of a JSON text. Raises `ValueError` also for NaN, a name that stands twice, and nesting without end."""
    try:
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_number(value):
    """Whether a value is a finite number; `true` is none, nor is a whole number that no float can hold."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def read(path, fields=(), cure="Delete it, so that its job runs again.", kind=dict):
    """The object (or list, by `kind`) in a JSON file. Raises `UserError` where it cannot be read, is something else, or
    lacks one of `fields`; the message names the file and ends with `cure`.
    """
    try:
        content = loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}). {cure}") from None
    if not isinstance(content, kind):
        what = "an object with names and values" if kind is dict else "a list"
        raise UserError(f"{path} holds a {type(content).__name__} where {what} is due. {cure}")
    if missing := [field for field in fields if field not in content]:
        raise UserError(f"{path} lacks {', '.join(missing)}. {cure}")
    return content
