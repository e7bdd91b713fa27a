"""The user's own images as a table lists them: a CSV or Parquet file with a row per image.

The column of paths (relative to the table's folder, or absolute) and the column of labels are needed; a row of the pool
may have an empty label. Columns of splits, groups and a second annotator's labels are used where there are any.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from labelbench.common.errors import UserError, did_you_mean
from labelbench.data.datasets import _own
from labelbench.data.datasets._own import Examples, Problem


@dataclass(frozen=True, kw_only=True)
class Config(_own.Own):
    """table: path of the file, .parquet or else CSV with `separator`. The others name its columns.

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


def sources(config):
    """The table, and the file of class names."""
    return [config.table, *([config.class_names] if config.class_names else [])]


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return config.metric


def _read(config):
    """The table as a DataFrame of text, nothing missing. Raises `UserError` where it cannot be read."""
    import pandas as pd

    where = f"The table {config.table}"
    if not Path(config.table).is_file():
        raise UserError(f"{where} does not exist. Name the file as `table` of this dataset in the config.")
    if config.table.endswith(".parquet"):
        try:
            # Whole numbers with gaps come as floats otherwise, and their labels as "3.0".
            return pd.read_parquet(config.table).convert_dtypes().astype("string").fillna("")
        except ImportError:
            raise UserError(f"{where} needs a reader: pip install pyarrow. Or save the table as CSV.") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{where} cannot be read as Parquet: {error}. Write it again, or save it as CSV.") from None
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
    except (ValueError, pd.errors.ParserWarning) as error:  # ValueError: also pandas' own ParserError
        raise UserError(
            f"{where} cannot be read as CSV: {error}. Every row needs as many fields as the first; quote those that "
            f"hold the separator {config.separator!r}, or set another `separator` in the config."
        ) from None


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
        remedy = f"Its fields seem to be separated otherwise: set `separator: {other[0]!r}` in the config."
    _own.raise_all(config.table, [Problem("Missing columns", absent, remedy)])


def prepare(config):
    """The `Dataset`; validation and test are drawn where no row is called so (`_own.dataset`)."""
    frame = _read(config)
    _check_columns(config, list(frame.columns))
    paths = frame[config.path]
    unnamed, again = paths == "", paths.duplicated() & (paths != "")
    problems = [
        Problem("Rows without a path", [f"row {i + 1}" for i in frame.index[unnamed]], "Fill them in or remove them."),
        Problem(
            "Images that are listed again",
            [f"row {i + 1}: {paths[i]}" for i in frame.index[again]],
            "Keep one row per image: the same image in the pool and in a test set would be judged by itself.",
        ),
    ]

    def column(name):
        return frame[name].str.strip().tolist() if name in frame.columns else None

    return _own.dataset(
        config,
        config.table,
        Path(config.table).parent,
        Examples(
            paths=paths.tolist(),
            labels=column(config.label),
            splits=column(config.split),
            groups=column(config.group),
            annotated=column(config.annotator),
            problems=problems,
        ),
    )


def images(config):
    """A function from a row's position, from 0, to a PIL image of mode L or RGB."""
    return _own.reader(Path(config.table).parent, _read(config)[config.path].tolist())
