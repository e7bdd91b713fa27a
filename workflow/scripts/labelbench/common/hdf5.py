"""HDF5 as this project uses it: files that appear whole, the same bytes for the same content, no locks.

Network file systems often refuse locks. Nothing here needs them: a file that is written has a name that nobody else
knows, and one that has its own name never changes in place.
"""

import contextlib

import h5py

from labelbench.common.errors import UserError
from labelbench.common.jobs import written_whole


@contextlib.contextmanager
def create(path):
    """An open `h5py.File` that takes the name `path` when the block ends without an error."""
    with written_whole(path) as part, h5py.File(part, "w", track_order=False, locking=False) as file:
        yield file


@contextlib.contextmanager
def read(path, made_by):
    """An open read-only `h5py.File`. Raises `UserError` naming the rule `made_by` for a file that is not HDF5."""
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read as HDF5 ({error}). Delete it and run Snakemake again; rule {made_by} remakes it."
        ) from None
    with file:
        yield file
