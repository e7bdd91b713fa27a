"""Label-efficient learning: the library behind the job scripts."""

import importlib


def __getattr__(name):
    # Imported by name and only when asked for: what this file imports would belong to the code of every job.
    if name == "select":
        return importlib.import_module("labelbench.selection.alone").select
    raise AttributeError(f"module 'labelbench' has no attribute {name!r}")
