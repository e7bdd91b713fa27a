"""Tables that name images, of a data set or of a campaign: what they may be, and the file that a cell stands for."""

import os
import re
import unicodedata

from labelbench.common.errors import UserError
from labelbench.data import contents

PARQUET = (".parquet", ".pq", ".pqt")
SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")


# What programs write into one cell for several answers: JSON of annotation tools, lists as Python and NumPy print them.
_LIST = re.compile(r"\s*(\{\s*\"choices\"|[\[({]\s*[\"']|\[\s*-?\d+([\s,]+-?\d+)*\s*\]|\[[^\]]*,.*\]\s*$)")
SEVERAL = (
    "An image has one class here; several labels of one image (multi-label) are not supported. Export one label per "
    "image, or keep the one that matters."
)


def several(labels):
    """Positions of the labels, a list of text, that stand for more than one class.

    Those are lists, and labels joined by `;` or `|` of which one is a label elsewhere, or by `,` of which all are: a
    comma may stand in a name.
    """
    alone = set(labels)
    found = {label for label in alone if _LIST.match(label)}
    for label in alone - found:
        for separator, enough in ((";", any), ("|", any), (",", all)):
            parts = [part.strip() for part in label.split(separator)]
            if len(parts) > 1 and all(parts) and enough(part in alone for part in parts):
                found.add(label)
    return [at for at, label in enumerate(labels) if label in found]


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
