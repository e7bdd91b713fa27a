"""Files known by their content: a hash for each, computed anew only where size or date have changed."""

import csv
import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from labelbench.common.errors import UserError
from labelbench.common.jobs import written_whole
from labelbench.common.progress import track
from labelbench.data import image_files


class File(NamedTuple):
    """A file as a listing sees it: `path` relative to the root, with /; `size` in bytes; `changed` in nanoseconds."""

    path: str
    size: int
    changed: int


class Known(NamedTuple):
    """What was found out about a file when it was last read.

    sha256: 64 hex digits, empty where it could not be read; problem: why it is no image, or empty; notes: what was done
    to read it (`image_files.examined`), joined by semicolons.
    """

    file: File
    sha256: str
    problem: str
    notes: str = ""


def expanded(path):
    """A path as people write it, with `~` and `$VARIABLES` for what they stand for."""
    return os.path.expandvars(os.path.expanduser(path))  # noqa: PTH111


def missing(what, path, remedy):
    """The `UserError` for a place in the config where nothing is; what: how it begins; remedy: how it ends."""
    hint = " A variable in it is not set." if "$" in str(path) else ""
    return UserError(f"{what} does not exist.{hint} {remedy}")


def stat(root, path):
    """The `File` at a path, or None where there is none: a dangling link, or a file that went meanwhile."""
    try:
        found = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118  a million Paths cost more than their stats
    except (OSError, ValueError):  # ValueError: a character that no path can have
        return None
    return File(path, found.st_size, found.st_mtime_ns)


def listed(root, path):
    """The `File` at a path, of size −1 where there is none."""
    return stat(root, path) or File(path, -1, 0)


def digest(files):
    """12 hex digits that change where a file is added, removed, renamed or written anew."""
    text = "\n".join(f"{path}\0{size}\0{changed}" for path, size, changed in files)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]


def content(path):
    """SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def look(root, files, known=(), decoding=image_files.AS_IS):
    """A `Known` for each of `files`: hash and readability, taken from `known` where size and date are the same.

    What could not be read is tried again: a package may have come that can.
    """
    old = {k.file: k for k in known if not k.problem}
    new = [file for file in files if file not in old]
    seen = {}

    def read(file):
        name, problem, notes = image_files.examined(os.path.join(root, file.path), decoding)  # noqa: PTH118
        return Known(file, name, problem, ";".join(notes))

    with ThreadPoolExecutor(image_files.THREADS) as threads, track(len(new), "reading images", "images") as progress:
        for begin in range(0, len(new), image_files.TOGETHER):
            for found in threads.map(read, new[begin : begin + image_files.TOGETHER]):
                seen[found.file] = found
                progress.update()
    return [old.get(file) or seen[file] for file in files]


def write_known(path, known):
    """Write a list of `Known` as a CSV file."""
    columns = ("path", "size", "changed", "sha256", "problem", "notes")
    write_table(path, columns, ([*k.file, k.sha256, k.problem, k.notes] for k in known))


def read_known(path):
    """The list of `Known` in a file made by `write_known`; none where there is no such file."""
    if not Path(path).exists():
        return []
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:  # noqa: PTH123
        rows = csv.reader(file)
        next(rows)
        return [Known(File(row[0], int(row[1]), int(row[2])), *row[3:]) for row in rows]


def write_table(path, columns, rows, encoding="utf-8"):
    """Write a CSV file whole. File names that are no valid text keep their bytes."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    with written_whole(path) as part:
        part.write_bytes(text.getvalue().encode(encoding, errors="surrogateescape"))


def read_table(path):
    """The rows of a CSV file of ours, dicts of text."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:  # noqa: PTH123
        return list(csv.DictReader(file))
