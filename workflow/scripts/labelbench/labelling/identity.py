"""Which images there are: an image is its content, a path is only its name for people.

Answers and embeddings belong to the SHA-256 of a file's bytes. So they stay where a file is moved or renamed, copies
are one image with several paths, and a file whose content is replaced is another image.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from labelbench.common.errors import UserError

# What campaigns share with data sets stands there; campaigns know it under this module's name.
from labelbench.data.contents import (  # noqa: F401
    File,
    Known,
    content,
    digest,
    look,
    read_known,
    read_table,
    stat,
    write_known,
    write_table,
)
from labelbench.data.image_files import SUFFIXES

TABLES = frozenset({".csv", ".tsv", ".parquet"})
COLUMNS = ("sha256", "path", "copies", "present", "problem")
PATH_COLUMNS = ("path", "image", "file_name", "filename", "file")


class Image(NamedTuple):
    """One content, the position of which is its row in the index.

    sha256: 64 hex digits; path: its name for people, relative to the root; copies: further paths of the same content;
    present: whether a file has this content now; problem: why it cannot be read, or empty.
    """

    sha256: str
    path: str
    copies: tuple = ()
    present: bool = True
    problem: str = ""


def source(images):
    """(root, table) of a campaign's images: a folder, or the folder of a table that names paths, and that table.

    Raises `UserError` where there is neither.
    """
    path = Path(images)
    if path.is_dir():
        return path, None
    if path.suffix.lower() in TABLES and path.is_file():
        return path.parent, path
    raise UserError(
        f"config, label: images: there is no folder and no table (CSV, TSV, Parquet) {path}. If the folder was moved, "
        "write its new place there: answers belong to the images' content and stay."
    )


def listing(images):
    """Files of a campaign, a list of `File` in the order of their paths; nothing is read but the table.

    Of a folder: everything at any depth with the suffix of an image; hidden files and folders are passed over. Of a
    table: what its column of paths names; missing files are left out here and told by `missing`.
    """
    root, table = source(images)
    listed = (stat(root, path) for path in _named(table)) if table else sorted(_walk(root, ""))
    found = [file for file in listed if file]
    if not found:
        raise UserError(f"config, label: images: {images} names no image file. {sorted(SUFFIXES)} are looked for.")
    return found


def missing(images):
    """Paths that a table of images names and that no file has, a list; none of a folder."""
    root, table = source(images)
    if table is None:
        return []
    return [path for path in _named(table) if not Path(root, path).exists()]


def _named(table):
    """The paths in a table of images, with / and each once."""
    return dict.fromkeys(path.replace("\\", "/") for path in table_paths(table))


def _walk(root, prefix) -> Iterator[File]:
    with os.scandir(Path(root, prefix)) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(root, f"{name}/")
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and (file := stat(root, name)):  # noqa: PTH122
                yield file


def table_paths(table):
    """The column of paths of a table: CSV, TSV or Parquet. Raises `UserError` where it has none."""
    if table.suffix.lower() == ".parquet":
        import pyarrow.parquet

        columns = pyarrow.parquet.read_table(table).to_pydict()
    else:
        with table.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
        try:
            dialect = csv.Sniffer().sniff(text[:4096], delimiters=",;\t")
        except csv.Error:
            dialect = csv.excel
        rows = list(csv.DictReader(io.StringIO(text), dialect=dialect))
        columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    for name in PATH_COLUMNS:
        if name in columns:
            return [path for path in columns[name] if path]
    raise UserError(f"{table} has no column of paths: call it {' or '.join(PATH_COLUMNS)}. It has: {list(columns)}.")


def index(known, before=()):
    """The images, a list of `Image`: those of `before` in their order, then new contents in the order of `known`.

    So additions append, and a position, once given, stays: embeddings are rows by position. Contents that no file has
    any more are kept and not `present`: their answers are not lost, and they may come back.
    """
    paths, problems = {}, {}
    for file, name, problem, _ in known:
        # What cannot even be opened has no content: its path stands for it.
        name = name or hashlib.sha256(f"unreadable {file.path}".encode(errors="surrogateescape")).hexdigest()
        paths.setdefault(name, []).append(file.path)
        problems[name] = problem
    images = []
    for image in before:
        here = paths.pop(image.sha256, None)
        if here is None:
            images.append(image._replace(copies=(), present=False))
        else:
            images.append(Image(image.sha256, here[0], tuple(here[1:]), True, problems[image.sha256]))
    return images + [Image(n, here[0], tuple(here[1:]), True, problems[n]) for n, here in paths.items()]


def usable(image):
    """Whether an image can be shown and embedded."""
    return image.present and not image.problem


def write_index(path, images):
    rows = ([i.sha256, i.path, json.dumps(list(i.copies)), int(i.present), i.problem] for i in images)
    write_table(path, COLUMNS, rows)


def read_index(path):
    """The list of `Image` in a file made by `write_index`; none where there is no such file."""
    if not Path(path).exists():
        return []
    return [
        Image(row["sha256"], row["path"], tuple(json.loads(row["copies"])), row["present"] == "1", row["problem"])
        for row in read_table(path)
    ]


def fingerprint(images):
    """32 hex digits that identify contents and their order: what an embedding file was made of."""
    return hashlib.sha256("".join(image.sha256 for image in images).encode()).hexdigest()[:32]
