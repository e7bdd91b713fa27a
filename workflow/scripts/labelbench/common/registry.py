"""One file, one plug-in: `labelbench/<room>/<kind>/<name>.py` defines a frozen dataclass `Config`.

Jobs import this module, so its digest is part of theirs: what only the Snakefile needs stands in `planning/`.
"""

import importlib
import pkgutil

from labelbench.common.errors import UserError, did_you_mean

# The room in which the plug-ins of a kind live.
ROOMS = {
    "datasets": "data",
    "encoders": "embedding",
    "strategies": "selection",
    "proxies": "training",
    "trainers": "training",
    "importers": "evidence",
}


def package(kind):
    """Dotted name of the package that holds the plug-ins of one kind."""
    return f"labelbench.{ROOMS[kind]}.{kind}"


def source(kind, name):
    """A plug-in's file, relative to `workflow/scripts`."""
    return f"{package(kind).replace('.', '/')}/{name}.py"


def names(kind):
    """Names of the plug-ins of one kind, sorted; files that start with an underscore are helpers."""
    folder = importlib.import_module(package(kind)).__path__
    return sorted(m.name for m in pkgutil.iter_modules(folder) if not m.name.startswith("_"))


def load(kind, name):
    """The plug-in's module. Raises `UserError` with the nearest names for one that does not exist."""
    known = names(kind)
    if name not in known:
        hint = did_you_mean(name, known)
        raise UserError(f"There is no {kind} plug-in named {name!r}.{hint} There are: {', '.join(known)}.")
    return importlib.import_module(f"{package(kind)}.{name}")


def configured(kind, settings):
    """The plug-in that `settings["name"]` names, and its `Config` with the other settings."""
    module = load(kind, settings["name"])
    return module, module.Config(**{key: value for key, value in settings.items() if key != "name"})
