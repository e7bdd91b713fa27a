"""HDF5 as this project uses it: files that appear whole, the same bytes for the same content, no locks, and with a
digest of their content, so that a bit that changes is noticed.

Network file systems often refuse locks. Nothing here needs them: a file that is written has a name that nobody else
knows, and one that has its own name never changes in place.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

import h5py
import numpy as np

from labelbench.common.errors import UserError
from labelbench.common.jobs import written_whole

DIGEST = "digest"  # the attribute
CHECKED_EACH_TIME = 32 * 1024**2  # bytes; larger files are checked once per machine, at 1 GB/s or so
_BLOCK = 16 * 1024**2  # bytes that are held at once


@contextlib.contextmanager
def create(path):
    """An open `h5py.File` that takes the name `path` when the block ends without an error."""
    with written_whole(path) as part, h5py.File(part, "w", track_order=False, locking=False) as file:
        yield file
        seal(file)


def seal(file):
    """Write the digest of what an open file holds into its attribute."""
    file.attrs[DIGEST] = digest(file)


@contextlib.contextmanager
def read(path, made_by):
    """An open read-only `h5py.File`.

    Raises `UserError`, naming the rule `made_by`, for a file that is not HDF5, does not hold what it held when it was
    written, or lacks what the block asks it for.
    """
    cure = f"Delete it and run Snakemake again; rule {made_by} remakes it."
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise UserError(f"{path} cannot be read as HDF5 ({error}). {cure}") from None
    with file:
        if not _is_whole(path, file):
            raise UserError(f"{path} is damaged: it does not hold what was written into it. {cure}")
        try:
            yield file
        except (KeyError, AttributeError, TypeError, RuntimeError) as error:
            raise UserError(f"{path} is no file of rule {made_by}: {' '.join(map(str, error.args))}. {cure}") from None


def _is_whole(path, file):
    """Whether an open file still holds what it was sealed with. One without a digest is not doubted."""
    noted = None
    try:
        if Path(path).stat().st_size > CHECKED_EACH_TIME:
            noted = _note(path)
            if noted.exists():
                return True
        whole = DIGEST not in file.attrs or file.attrs[DIGEST] == digest(file)
    except Exception:  # a damaged file raises what it likes
        return False
    if whole and noted:
        with contextlib.suppress(OSError):
            noted.parent.mkdir(mode=0o700, exist_ok=True)
            noted.touch()
    return whole


def _note(path):
    """An empty file that says that a large file, as it is now, was checked on this machine."""
    found = Path(path).stat()
    about = f"{Path(path).resolve()} {found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
    name = hashlib.sha256(about.encode()).hexdigest()[:32]
    return Path(tempfile.gettempdir(), f"labelbench-{os.getuid()}-checked", name)


def digest(file):
    """sha256 (hex) of all groups, datasets and attributes of an open file, the digest itself aside."""
    found = hashlib.sha256()
    objects = {"/": file}
    file.visititems(objects.__setitem__)  # it would stop where it is given anything but None
    for name, thing in sorted(objects.items()):
        about = {key: _plain(thing.attrs[key]) for key in sorted(thing.attrs) if key != DIGEST}
        found.update(json.dumps([name, about], sort_keys=True).encode())
        if isinstance(thing, h5py.Dataset):
            found.update(f"{thing.dtype.str if thing.dtype.kind != 'O' else 'text'} {thing.shape}".encode())
            for block in _blocks(thing):
                found.update(block)
    return found.hexdigest()


def _blocks(data):
    """The content of a dataset as bytes, some rows at once."""
    if data.dtype.kind == "O" or not data.shape:
        yield json.dumps(_plain(data[()])).encode()
        return
    rows = max(1, _BLOCK // max(1, data.dtype.itemsize * int(np.prod(data.shape[1:]))))
    for begin in range(0, len(data), rows):
        yield data[begin : begin + rows].tobytes()


def _plain(value):
    """An attribute, or a dataset of texts, as a JSON value."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return list(map(_plain, value.tolist())) if isinstance(value, np.ndarray) else _scalar(value)


def _scalar(value):
    return value.item() if isinstance(value, np.generic) else value
