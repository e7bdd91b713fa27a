"""Which images there are: an image is its content, a path is only its name for people.

Answers and embeddings belong to the SHA-256 of a file's bytes. So they stay where a file is moved or renamed, copies
are one image with several paths, and a file whose content is replaced is another image.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from labelbench.common.errors import UserError
from labelbench.common.words import counted
from labelbench.data import contents, folders, tables

# What campaigns share with data sets stands there; campaigns know it under this module's name.
from labelbench.data.contents import (  # noqa: F401
    File,
    Known,
    content,
    digest,
    expanded,
    look,
    read_known,
    read_table,
    stat,
    write_known,
    write_table,
)
from labelbench.data.image_files import SUFFIXES
from labelbench.labelling import tabular

TABLES = frozenset({".csv", ".tsv", ".txt", *tables.PARQUET})
COLUMNS = ("sha256", "path", "copies", "present", "problem")
CONFIG = "config, label: images: "  # where the images of a campaign are named


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
    path = Path(expanded(images))
    if path.is_dir():
        return path, None
    if path.suffix.lower() in TABLES and path.is_file():
        return path.parent, path
    if path.is_file():
        tables.refuse_spreadsheet(f"{CONFIG}{path}", path)
        raise UserError(f"{CONFIG}{path} is no folder, and no table (CSV, TSV, Parquet).")
    moved = "If the folder was moved, write its new place there: answers belong to the images' content and stay."
    raise contents.missing(f"{CONFIG}{path}", path, moved)


def listing(images, where=CONFIG):
    """Files of a campaign, a list of `File` in the order of their paths; of images, nothing is read but a table.

    where: how a complaint begins, `UserError` where there are none.

    Of a folder: all images at any depth (`data.folders`). Of a table: what its column of paths names.
    """
    return listed(images, where)[0]


def listed(images, where=CONFIG):
    """(`listing`, absent): the latter is what cannot be found, a list of (path, sentence).

    Those are files that a table names, links that lead nowhere, and folders that cannot be read.
    """
    root, table = source(images)
    if table is None:
        below = folders.walk(root)
        named = below.images
        absent = [(path, f"This folder cannot be read ({why}). Change its permissions.") for path, why in below.closed]
    else:
        named = _named(root, table, where)
        absent = []
    why = "This link leads nowhere. Bring back what it led to, or remove it."
    if table:
        why = f"{images} names this image, and there is no such file. Correct the path or bring it back."
    absent += [(file.path, why) for file in named if file.size < 0]
    found = [file for file in named if file.size >= 0]
    if table and named and not found:
        raise UserError(
            f"{where}none of {counted(len(named), 'file')} that {images} names is there, such as "
            f"{named[0].path!r}. Paths are relative to the table's folder, {root}."
        )
    if not found:
        what = "names no image file" if table else "holds no image file"
        raise UserError(f"{where}{images} {what}. Files that end in {', '.join(sorted(SUFFIXES))} are looked for.")
    return found, absent


def write_absent(path, absent):
    """Write what could not be found when the images were listed, (path, sentence) each."""
    write_table(path, ("path", "problem"), absent)


def read_absent(path):
    """What `write_absent` wrote."""
    return [(row["path"], row["problem"]) for row in read_table(path)]


def _named(root, table, where):
    """The files (`File`, of size −1 where there is none) that a table of images names, each once."""
    found = (tables.located(root, path.replace("\\", "/")) for path in table_paths(table, where))
    return list({file.path: file for file in found}.values())


def table_paths(table, where=CONFIG):
    """The column of paths of a table: CSV in any dialect, TSV or Parquet. Raises `UserError` where it has none."""
    try:
        header, rows = tabular.cells(table)
    except tabular.Unreadable as error:
        raise UserError(f"{where}{table} {error}") from None
    for name in tabular.NAMES["image"]:
        if name in header:
            at = header.index(name)
            return [cells[at] for _, cells in rows if len(cells) > at and cells[at].strip()]
    raise UserError(
        f"{where}{table} has no column of paths: call it {' or '.join(tabular.NAMES['image'])}. "
        f"It has: {', '.join(header)}."
    )


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


def with_asked(images, asked):
    """The images, and behind them those that people were asked about and that no file and no index knows any more.

    asked: many with `sha256` and `path`. Their answers count on.
    """
    have = {image.sha256 for image in images}
    lost = {one.sha256: Image(one.sha256, one.path, present=False) for one in asked if one.sha256 not in have}
    return [*images, *lost.values()]


def check_same(place, campaign, images, before, asked):
    """Raise `UserError` where a campaign with batches finds none of its images: then its folder is another one.

    place, campaign: how a complaint calls them; images: of `with_asked`; before: the index of the run before, which
    is empty where it was removed; asked: as there. Those that were asked about may all be gone, or sorted away.
    """
    ours = {image.sha256 for image in before} | {one.sha256 for one in asked}
    if not asked or any(image.present and image.sha256 in ours for image in images):
        return
    raise UserError(
        f"{place} holds none of the {counted(len(ours), 'image')} that the campaign {campaign} is known to have: it is "
        "another folder, or they were removed or changed. Correct `images` in the config, bring the images back, or "
        "give this folder a campaign of its own."
    )


def gone(images):
    """Hashes of the images that no file has any more, a frozenset."""
    return frozenset(image.sha256 for image in images if not image.present)


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
