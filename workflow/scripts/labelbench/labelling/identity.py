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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from labelbench.common.errors import UserError
from labelbench.common.jobs import written_whole
from labelbench.common.progress import track

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"]
    + [".avif", ".jp2", ".ico"]
)
TABLES = frozenset({".csv", ".tsv", ".parquet"})
COLUMNS = ("sha256", "path", "copies", "present", "problem")
PATH_COLUMNS = ("path", "image", "file_name", "filename", "file")


class File(NamedTuple):
    """A file as a listing sees it: `path` relative to the root, with /; `size` in bytes; `changed` in nanoseconds."""

    path: str
    size: int
    changed: int


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


class Known(NamedTuple):
    """What was found out about a file when it was last read."""

    file: File
    sha256: str
    problem: str


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
    table: what its column of paths names; missing files are left out here and are a problem of the index.
    """
    root, table = source(images)
    if table is None:
        found = sorted(_walk(root, ""))
    else:
        paths = dict.fromkeys(path.replace("\\", "/") for path in table_paths(table))
        found = [file for path in paths if (file := _stat(root, path))]
    if not found:
        raise UserError(f"config, label: images: {images} names no image file. {sorted(SUFFIXES)} are looked for.")
    return found


def _walk(root, prefix) -> Iterator[File]:
    with os.scandir(Path(root, prefix)) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(root, f"{name}/")
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and (file := _stat(root, name)):  # noqa: PTH122
                yield file


def _stat(root, path):
    try:
        found = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118  a million Paths cost more than their stats
    except OSError:  # a dangling link, or a file that went meanwhile
        return None
    return File(path, found.st_size, found.st_mtime_ns)


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


def digest(files):
    """12 hex digits that change where a file is added, removed, renamed or written anew."""
    text = "\n".join(f"{path}\0{size}\0{changed}" for path, size, changed in files)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]


def content(path):
    """SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def look(root, files, known=()):
    """A `Known` for each of `files`: hash and readability, taken from `known` where size and date are the same."""
    old = {k.file: k for k in known}
    new = [file for file in files if file not in old]
    seen = {}
    with ThreadPoolExecutor(8) as threads, track(len(new), "reading images", unit="images") as progress:
        for found in threads.map(lambda file: _read(root, file), new):
            seen[found.file] = found
            progress.update()
    return [old.get(file) or seen[file] for file in files]


def _read(root, file):
    from labelbench.data import image_files

    path = os.path.join(root, file.path)  # noqa: PTH118
    try:
        name = content(path)
    except OSError as error:
        return Known(file, "", error.strerror or str(error))
    return Known(file, name, image_files.undecodable(path))


def index(known, before=()):
    """The images, a list of `Image`: those of `before` in their order, then new contents in the order of `known`.

    So additions append, and a position, once given, stays: embeddings are rows by position. Contents that no file has
    any more are kept and not `present`: their answers are not lost, and they may come back.
    """
    paths, problems = {}, {}
    for file, name, problem in known:
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


def write_known(path, known):
    write_table(path, ("path", "size", "changed", "sha256", "problem"), ([*k.file, k.sha256, k.problem] for k in known))


def read_known(path):
    """The list of `Known` in a file made by `write_known`; none where there is no such file."""
    if not Path(path).exists():
        return []
    return [
        Known(File(row["path"], int(row["size"]), int(row["changed"])), row["sha256"], row["problem"])
        for row in read_table(path)
    ]


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


def fingerprint(images):
    """32 hex digits that identify contents and their order: what an embedding file was made of."""
    return hashlib.sha256("".join(image.sha256 for image in images).encode()).hexdigest()[:32]
