"""The user's own images as a table lists them: a CSV or Parquet file with a row per image.

The column of paths (relative to the table's folder, or absolute) and the column of labels are needed. Columns of
splits, groups and a second annotator's labels are used where there are any.
"""

import csv
import lzma
import re
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from labelbench.common import jobs
from labelbench.common.errors import UserError, did_you_mean
from labelbench.data import contents, remembered, tables
from labelbench.data.datasets import _own
from labelbench.data.datasets._own import Examples, Problem
from labelbench.data.remembered import Listing

# What a column of splits may be called that is not called `split`.
SPLITS_TOO = {"split", "splits", "subset", "partition", "set", "fold", "train_test", "usage"}


@dataclass(frozen=True, kw_only=True)
class Config(_own.Own):
    """table: path of the file, Parquet or else CSV with `separator`. The others name its columns.

    path: image files. label: classes. split: train (or pool), val, test, test_…; where the table has no column of the
    default name, splits are drawn. group: what worst-group accuracy compares, such as the place where a photo was
    taken; none by default. annotator: a second annotator's labels, for `noise: {kind: column}`; none by default.
    """

    table: str
    separator: str = ","
    path: str = "path"
    label: str = "label"
    split: str = "split"
    group: str = ""
    annotator: str = ""

    def __post_init__(self):
        super().__post_init__()
        _own.expand(self, "table")
        if self.separator == "\\t":  # as YAML gives it between single quotes, or between none
            object.__setattr__(self, "separator", "\t")
        if len(self.separator) != 1:
            raise ValueError("separator is the one character between fields, such as ';' or \"\\t\"")


def sources(config):
    """None: what counts is the content of the table and of its images, see `listing`."""
    return []


def listing(config, known, others):
    """The `Listing` of the table's images, taken from what is remembered; None where the table has changed.

    known: function that gives the `contents.Known`; others: remembered hashes of the table and the class names.
    """
    if not remembered.unchanged(others):
        return None
    root = _root(config)
    files = [contents.listed(root, k.file.path) for k in known()]
    return Listing(root, files, _own.other_files(config, config.table))


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return config.metric


def _root(config):
    return str(Path(config.table).parent)


def check_source(config):
    """Raises `UserError` where there is no table; looked at while planning too."""
    where = f"The table {config.table}"
    if Path(config.table).is_dir():
        raise UserError(
            f"{where} is a folder. For one folder of images per class write {{name: image_folder, folder: "
            f"{config.table}}}."
        )
    if not Path(config.table).is_file():
        raise contents.missing(where, config.table, "Name the file as `table` of this dataset in the config.")
    tables.refuse_spreadsheet(where, config.table)
    tables.refuse_wrong_ending(where, config.table)


def _read(config):
    """The table as a DataFrame of text, nothing missing. Raises `UserError` where it cannot be read."""
    import pandas as pd

    check_source(config)
    where = f"The table {config.table}"
    if config.table.lower().endswith(tables.PARQUET):
        try:
            frame = pd.read_parquet(config.table)
        except ImportError:
            raise UserError(f"{where} needs a reader: pip install pyarrow. Or save the table as CSV.") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{where} cannot be read as Parquet: {error}. Write it again, or save it as CSV.") from None
        tables.refuse_embedded(config.table, frame, (config.path,))
        # What holds thumbnails, vectors and the like beside the paths is no text, and not asked for.
        named = {config.path, config.label, config.split, config.group, config.annotator}
        values = {name: next((v for v in frame[name] if v is not None), None) for name in frame.columns}
        frame = frame[[n for n, value in values.items() if n in named or not isinstance(value, bytes | dict)]]
        # Whole numbers with gaps come as floats otherwise, and their labels as "3.0".
        return frame.convert_dtypes().astype("string").fillna("")
    try:
        with warnings.catch_warnings():
            # Rows that are all longer than the header lose their last fields, with no more than this warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Text as it stands: "NA" and "null" may be classes, "007" is not 7.
            return pd.read_csv(
                config.table,
                sep=config.separator,
                dtype=str,
                keep_default_na=False,
                index_col=False,
                encoding="utf-8-sig",
            ).fillna("")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} is not UTF-8 text: byte {error.object[error.start]:#x} at position {error.start}. "
            "Save it as UTF-8; Excel calls that `CSV UTF-8`."
        ) from None
    except (OSError, EOFError, ImportError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{where} cannot be read: {error}. Is it whole? Unpack it, and name the CSV file in it."
        ) from None
    except pd.errors.EmptyDataError:
        raise UserError(f"{where} {tables.EMPTY}") from None
    except (ValueError, pd.errors.ParserWarning) as error:  # ValueError: also pandas' own ParserError
        if "EOF inside string" in str(error):
            raise UserError(
                f"{where} cannot be read as CSV: the quote that opens in {_last_place(config)} is never closed. Close "
                "it, or write it twice where it is meant as a character."
            ) from None
        raise UserError(
            f"{where} cannot be read as CSV: {error}. Every row needs as many fields as the first; quote those that "
            f"hold the separator {_quoted(config.separator)}, or set another `separator` in the config."
        ) from None


def _quoted(separator):
    """A separator as it can be pasted into YAML."""
    return '"\\t"' if separator == "\t" else repr(separator)


def _check_columns(config, found):
    """Raise `UserError` unless the columns `found` hold all that the config names."""
    named = {key: getattr(config, key) for key in ("path", "label", "split", "group", "annotator")}
    absent = [
        f"{key}: {column!r}.{did_you_mean(column, found)}"
        for key, column in named.items()
        if column and column not in found and (key, column) != ("split", "split")
    ]
    remedy = f"The table has: {', '.join(map(repr, found))}. Name its columns in the config (path: …, label: …)."
    if len(found) == 1 and (other := re.search(r"[;\t|,]", found[0])):
        remedy = f"Its fields seem to be separated otherwise: set `separator: {_quoted(other[0])}` in the config."
    _own.raise_all(config.table, [Problem("Missing columns", absent, remedy)])
    if config.split not in found and (others := [name for name in found if name.strip().lower() in SPLITS_TOO]):
        jobs.tell(
            f"The table {config.table} has no column {config.split!r}, so images for validation and test are drawn. If "
            f"its column {others[0]!r} says which they are, set `split: {others[0]}`."
        )


def _places(config, rows):
    """Where rows of the table, numbered from 0, stand in the file: by the line where each begins; of Parquet, the row.

    Empty lines are no rows, and a field in quotes may go over several lines.
    """
    if not rows or config.table.lower().endswith((*tables.PARQUET, *tables.COMPRESSED)):
        return [f"row {row + 1}" for row in rows]
    begins = _lines(config)
    return [f"line {begins[row + 1]}" for row in rows]


def _lines(config):
    """The line on which each row begins, the first line's included."""
    begins, last = [], 0
    with open(config.table, encoding="utf-8-sig", newline="") as file:  # noqa: PTH123
        reader = csv.reader(file, delimiter=config.separator)
        for fields in reader:
            if fields and (len(fields) > 1 or fields[0].strip()):
                begins.append(last + 1)
            last = reader.line_num
    return begins


def _last_place(config):
    """Where the last row begins: with a quote that is never closed, it goes on to the end of the file."""
    return "its last row" if config.table.lower().endswith(tables.COMPRESSED) else f"line {_lines(config)[-1]}"


def prepare(config, memory=None):
    """The `Dataset`; validation and test are drawn where no row is called so (`_own.dataset`)."""
    frame = _read(config)
    _check_columns(config, list(frame.columns))
    if frame.empty:
        raise UserError(f"The table {config.table} has no rows, only the names of its columns. Write a row per image.")
    named = (frame[config.path].str.strip() != "").to_numpy()
    unnamed = [row for row, there in enumerate(named) if not there]
    rows = [row for row, there in enumerate(named) if there]
    root, frame = _root(config), frame[named]
    files = [tables.located(root, written) for written in frame[config.path]]

    def column(name):
        return [_own.name_of(text.strip()) for text in frame[name]] if name in frame.columns else None

    def places(at):
        return _places(config, [rows[k] for k in at])

    labels, first = column(config.label), {}
    again = [(row, f) for row, f in zip(rows, files, strict=True) if first.setdefault(f.path, row) != row]
    listed = [f"{place}: {f.path}" for place, (_, f) in zip(_places(config, [r for r, _ in again]), again, strict=True)]
    problems = [
        Problem("Rows without a path", _places(config, unnamed), "Fill them in or remove them."),
        Problem(
            "Images that are listed again",
            listed,
            "Keep one row per image: the same image in the pool and in a test set would be judged by itself.",
        ),
        *_own.cells(labels, places),
    ]
    listing = Listing(root, files, _own.other_files(config, config.table))
    columns = [column(name) for name in (config.split, config.group, config.annotator)]
    examples = Examples(listing, labels, *columns, problems, places)
    return _own.dataset(config, config.table, examples, memory)


def images(config, files):
    """A function from a position in the `Files` of the dataset to a PIL image of mode L or RGB."""
    return _own.reader(config, _root(config), files)
