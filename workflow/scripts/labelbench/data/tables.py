"""Tables that name images, of a data set or of a campaign: what they may be, and the file that a cell stands for."""

import os
import re
import unicodedata

from labelbench.common.errors import UserError
from labelbench.data import contents

PARQUET = (".parquet", ".pq", ".pqt")
SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")


# What programs write into one cell for several answers: JSON of annotation tools, lists as Python and NumPy print them.
_LIST = re.compile(
    r"\s*(\{\s*\"choices\"|[\[({]\s*[\"']|\[\s*-?\d+([\s,]+-?\d+)*\s*\]|\[[^\]]*,.*\]\s*$|(\[\s*\]|\(\s*\))\s*$)"
)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
SEVERAL = (
    "An image has one class here; several labels of one image (multi-label) are not supported. Export one label per "
    "image, or keep the one that matters. Where ; or | stands in the name of one class, write another label and give "
    "the name by `class_names`; folders of classes may be called what they like."
)
LISTS = "A cell holds the label alone, without brackets and quotes; it is empty where there is none."


def _items(label):
    """The labels in a cell that is written as a list, None for one that is not."""
    if not _LIST.match(label):
        return None
    inner = re.sub(r"^\s*\{\s*\"choices\"\s*:", "", label)
    quoted = [one or other for one, other in _QUOTED.findall(inner)]
    if len(quoted) == 1 and re.search(r"[^\s,\[\](){}]", _QUOTED.sub("", inner)):
        return None  # a name with a word in quotes
    return [text for text in quoted or re.findall(r"[^\s,\[\](){}]+", inner) if text.strip()]


def lists(labels):
    """(position, the label in it or "") of the labels, a list of text, that are written as lists of one or none."""
    found = {label: _items(label) for label in set(labels)}
    one = {label: "".join(items) for label, items in found.items() if items is not None and len(items) < 2}
    return [(at, one[label]) for at, label in enumerate(labels) if label in one]


def several(labels):
    """Positions of the labels, a list of text, that stand for more than one class.

    Those are lists of several, and labels joined by `;` or `|` of which one is a label elsewhere, or by `,` of which
    all are: a comma may stand in a name.
    """
    alone = set(labels)
    written = {label for label in alone if _items(label) is not None}
    found = {label for label in written if len(_items(label)) > 1}
    for label in alone - written:
        for separator, enough in ((";", any), ("|", any), (",", all)):
            parts = [part.strip() for part in label.split(separator)]
            if len(parts) > 1 and all(parts) and enough(part in alone for part in parts):
                found.add(label)
    return [at for at, label in enumerate(labels) if label in found]


EMPTY = "is empty. It needs a line that names its columns, and a line per row."
COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")  # pandas reads them
# By ending: what a file of that kind is called, and how it begins.
_KINDS = {
    ".gz": ("gzip file", b"\x1f\x8b"),
    ".bz2": ("bzip2 file", b"BZh"),
    ".xz": ("file of xz", b"\xfd7zXZ\x00"),
    ".zip": ("zip archive", b"PK\x03\x04"),
    ".zst": ("Zstandard file", b"\x28\xb5\x2f\xfd"),
    **dict.fromkeys(PARQUET, ("Parquet file", b"PAR1")),
}


def refuse_wrong_ending(what, path):
    """Raise `UserError`, which begins with `what`, where a table is empty, or of another kind than its name says."""
    path = str(path)
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            begin = file.read(64)
    except OSError as error:
        raise UserError(f"{what} cannot be read: {error.strerror}.") from None
    if not begin:
        raise UserError(f"{what} {EMPTY}")
    stem, named = os.path.splitext(path)  # noqa: PTH122
    named = named.lower()
    if named in _KINDS:
        kind, start = _KINDS[named]
        if not begin.startswith(start):
            plain = stem if named in COMPRESSED else f"{stem}.csv"
            raise UserError(f"{what} is no {kind}, though its name says so. If it is plain text, rename it: {plain}")
        return
    if begin.startswith(_KINDS[".zip"][1]):
        raise UserError(f"{what} is an archive or a spreadsheet. Unpack it, or save it as CSV, and name the CSV file.")
    for ending, (kind, start) in _KINDS.items():
        if begin.startswith(start):
            right = path + ending if ending in COMPRESSED else stem + ending
            raise UserError(f"{what} is a {kind}, which its name does not say. Rename it: {right}")


def refuse_spreadsheet(what, path):
    """Raise `UserError`, which begins with `what`, where a file is a spreadsheet by its name."""
    if str(path).lower().endswith(SPREADSHEETS):
        raise UserError(f"{what} is a spreadsheet. Save it as CSV; Excel calls the kind that fits `CSV UTF-8`.")


def refuse_embedded(table, columns, path=()):
    """Raise `UserError` where cells hold images themselves, as `{bytes, path}` or as bytes.

    table: the file; columns: sequence of values by name; path: names that the column of paths may have. Where one of
    these is there, other columns may hold what they like.
    """
    for name, values in {n: columns[n] for n in [n for n in columns if n in path] or columns}.items():
        cell = next((value for value in values if value is not None), None)
        if isinstance(cell, bytes) or (isinstance(cell, dict) and "bytes" in cell):
            get = f"row[{name!r}]" if isinstance(cell, bytes) else f"row[{name!r}]['bytes']"
            raise UserError(
                f"The column {name!r} of the table {table} holds the images themselves, not their paths. Write "
                f"them to files, such as by\n    for i, row in pandas.read_parquet({str(table)!r}).iterrows(): "
                f"open(f'images/{{i}}.png', 'wb').write({get})\nand a table that names these files and their labels."
            )


def located(root, written):
    """The file that a cell of a table names, as `contents.listed`. Files below `root` have one name each.

    The name is taken as it is written, else without spaces around it, or as the disk spells characters that look the
    same (composed or not).
    """
    path = contents.expanded(written) if written[:1] in "~$" else written
    for spelling in (path, path.strip(), unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)):
        if contents.stat(root, spelling):
            path = os.path.abspath(os.path.join(root, spelling))  # noqa: PTH100, PTH118
            below = os.path.relpath(path, os.path.abspath(root))  # noqa: PTH100
            return contents.listed(root, path if below.startswith("..") else below)
    return contents.listed(root, path)
