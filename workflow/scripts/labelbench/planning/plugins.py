"""Plug-in files that people write themselves: what is wrong with one is said while planning, with its line."""

import dataclasses
import math
import numbers
import traceback

from labelbench.common import registry, schemas
from labelbench.common.errors import UserError, did_you_mean
from labelbench.selection.memory import Sizes

# What a strategy may ask the pool for (`selection.strategies`).
USES = ("features", "probabilities", "head", "labels")

# Pools to try a strategy's `memory` on; before the first round, and in a campaign's first batch, nothing is labelled.
SMALL = (
    Sizes(unlabelled=900, labelled=100, classes=10, dim=64, budget=20),
    Sizes(unlabelled=1000, labelled=0, classes=10, dim=64, budget=20),
)


def load(where, kind, name):
    """The plug-in's module. Raises `UserError`, beginning with `where`, for a file that cannot be one."""
    try:
        module = registry.load(kind, name)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise UserError(f"{where}: {_file(kind, name)}{line}: this is no Python: {error.msg}.") from None
    except Exception as error:
        told = _told(error, _file(kind, name))
        raise UserError(f"{where}: {_file(kind, name)} cannot be imported: {told}") from None
    if not dataclasses.is_dataclass(getattr(module, "Config", None)):
        raise UserError(
            f"{where}: {_file(kind, name)} defines no dataclass `Config`, the settings of the plug-in. Without "
            "any it is empty (docs/developing.md)."
        )
    if kind == "strategies":
        _check_strategy(where, _file(kind, name), module)
    return module


def _check_strategy(where, file, module):
    """Raise `UserError` where a strategy lacks what is asked of it later, in `USES` and `select`."""
    known = ", ".join(USES)
    due = f'It is a tuple of what `select` asks the pool for, such as ("features",), of {known}; () for nothing.'
    if not hasattr(module, "USES"):
        raise UserError(f"{where}: {file} defines no `USES`. {due}")
    if not isinstance(module.USES, tuple | list | set | frozenset):
        raise UserError(f"{where}: `USES` of {file}: {schemas.told(module.USES)} stands where a tuple is due. {due}")
    for use in module.USES:
        if use not in USES:
            raise UserError(f"{where}: `USES` of {file}: there is no {use!r}.{did_you_mean(use, USES)} {due}")
    if not callable(getattr(module, "select", None)):
        raise UserError(
            f"{where}: {file} defines no function `select(pool, budget, config, rng)` (docs/developing.md)."
        )


def check_memory(where, kind, name, module, config):
    """Raise `UserError` where a strategy's `memory`, called with small pools, gives no number of bytes."""
    memory = getattr(module, "memory", None)
    if kind != "strategies" or not hasattr(module, "memory"):
        return
    place = f"{where}: `memory` of {_file(kind, name)}"
    due = "It is a function `memory(config, sizes)` that returns bytes, a number from 0 (docs/developing.md)."
    if not callable(memory):
        raise UserError(f"{place}: {schemas.told(memory)} stands where a function is due. {due}")
    for sizes in SMALL:
        pool = f"with {sizes.unlabelled} unlabelled and {sizes.labelled} labelled examples"
        try:
            found = memory(config, sizes)
        except Exception as error:
            raise UserError(f"{place} fails {pool}: {_told(error, _file(kind, name))} {due}") from None
        if isinstance(found, bool) or not isinstance(found, numbers.Real):
            raise UserError(f"{place} returns {schemas.told(found)}. {due}")
        if not math.isfinite(found) or found < 0:
            raise UserError(f"{place} returns {found} {pool}. {due}")


def _file(kind, name):
    return f"workflow/scripts/{registry.source(kind, name)}"


def _told(error, file):
    """An exception as a sentence, with the last line of `file` on its way and the nearest name, where there are any."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename.endswith(file)]
    hint = ""
    if isinstance(error, AttributeError) and error.name and error.obj is not None:
        hint = did_you_mean(error.name, [name for name in dir(error.obj) if not name.startswith("_")])
    text = " ".join(str(error).split()).rstrip(".")
    return f"{f'line {lines[-1]}: ' if lines else ''}{type(error).__name__}: {text}.{hint}"
