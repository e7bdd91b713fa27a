"""JSON as results hold it: objects of finite numbers, where a name stands once, with a digest of what they say."""

import hashlib
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


DIGEST = "digest"  # the entry


def sealed(content):
    """An object with the digest of its other entries, by which `read` finds out whether one was changed."""
    return {**content, DIGEST: _digest(content)}


def is_whole(content):
    """Whether an object is what it was sealed as. One without a digest is not doubted."""
    return DIGEST not in content or content[DIGEST] == _digest(content)


def _digest(content):
    whole = json.dumps({key: content[key] for key in content if key != DIGEST}, sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


def is_number(value):
    """Whether a value is a finite number; `true` is none, nor is a whole number that no float can hold."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def read(path, fields=(), cure="Delete it, so that its job runs again.", kind=dict):
    """The object (or list, by `kind`) in a JSON file. Raises `UserError` where it cannot be read, is something else, or
    lacks one of `fields`, or is not what it was sealed as; the message names the file and ends with `cure`. What is
    read does not have the digest.
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
    if kind is not dict:
        return content
    if not is_whole(content):
        raise UserError(f"{path} is damaged: it does not say what was written into it. {cure}")
    return {key: value for key, value in content.items() if key != DIGEST}
