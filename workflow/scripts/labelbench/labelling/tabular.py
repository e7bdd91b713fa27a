"""Tables of answers as people's programs save them: any separator, any encoding, columns by any of their names."""

import csv
import io
import math
import re
from datetime import UTC, datetime
from typing import NamedTuple

from labelbench.common.words import counted
from labelbench.data import tables

NAMES = {
    "sha256": ("sha256",),
    "image": ("path", "image", "file_name", "filename", "file"),
    "label": ("label", "class", "choice", "category"),
    "status": ("status",),
    "annotator": ("annotator", "annotators"),
    "seconds": ("seconds", "lead_time"),
    "when": ("updated_at", "when", "created_at"),
    "note": ("note", "comment"),
    "batch": ("batch",),
    "source": ("source",),
    "new": ("new_class",),
    "answers": ("answers",),
}
KNOWN = frozenset(name for names in NAMES.values() for name in names)
# What delivery puts into each class folder: a table that says of every image who sorted it, a person or the model.
DELIVERED = "delivered.csv"
# What stands for an answer that is no class where there is room for one word only: in Label Studio, in folder names.
WORDS = {"__none__": "none", "__unsure__": "unsure", "__skip__": "skip"}

_BEGINNING = 1 << 16  # bytes in which the heading of a table stands


class Unreadable(Exception):
    """A file that holds no answers that can be read; the message says why and what to do."""


class Claim(NamedTuple):
    """One answer as a file words it, before its image and class are looked up.

    row: line of a table or number of a task, 0 where there is none; names: the image's name, and further ones;
    status: as in the file, or empty; labels: class names; shown: whether a prediction was on view meanwhile; replaces:
    files of the answers that a row of delivered labels was made of.
    """

    row: int
    sha256: str = ""
    names: tuple = ()
    status: str = ""
    labels: tuple = ()
    annotator: str = ""
    seconds: float | None = None
    note: str = ""
    when: str = ""
    batch: str = ""
    shown: bool = False
    replaces: tuple = ()


def decode(data):
    """The text of a file's bytes: UTF-8 or UTF-16 with or without a mark, otherwise cp1252, as Excel writes it."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = [("utf-16", "strict")]
    elif data.startswith(b"\xef\xbb\xbf"):
        # Our own tables keep file names that are no text as the bytes that they are.
        encodings = [("utf-8-sig", "surrogateescape")]
    elif b"\0" in data:
        half = "utf-16-le" if data[1::2].count(0) > data[0::2].count(0) else "utf-16-be"
        encodings = [(half, "strict")] if data.count(0) > len(data) / 4 else []
    else:
        encodings = [("utf-8", "strict"), ("cp1252", "strict")]
    for encoding, errors in encodings:
        try:
            return data.decode(encoding, errors)
        except UnicodeDecodeError:
            continue
    raise Unreadable("is not text in UTF-8, UTF-16 or Windows-1252. Save it as 'CSV UTF-8' and hand it back again.")


def cells(path):
    """(columns, rows) of a table, as `table`: CSV with any separator, or Parquet (rows are numbered from 1).

    Raises `Unreadable`, OSError, and `UserError` where cells hold whole images.
    """
    if path.suffix.lower() not in tables.PARQUET:
        return table(decode(path.read_bytes()))
    import pyarrow
    import pyarrow.parquet

    try:
        found = pyarrow.parquet.read_table(path).to_pydict()
    except (pyarrow.ArrowException, ValueError) as error:
        raise Unreadable(f"cannot be read as Parquet: {str(error).rstrip('.')}.") from None
    tables.refuse_embedded(path, found, NAMES["image"])
    rows = zip(*([("" if v is None else str(v)) for v in column] for column in found.values()), strict=True)
    return [name.strip().casefold() for name in found], [(n, list(row)) for n, row in enumerate(rows, 1)]


def heading(path):
    """The columns of a table, as `cells`, of which no row is read. Raises what `cells` does."""
    if path.suffix.lower() in tables.PARQUET:
        import pyarrow
        import pyarrow.parquet

        try:
            return [name.strip().casefold() for name in pyarrow.parquet.read_schema(path).names]
        except (pyarrow.ArrowException, ValueError) as error:
            raise Unreadable(f"cannot be read as Parquet: {str(error).rstrip('.')}.") from None
    with path.open("rb") as file:
        data = file.read(_BEGINNING)
        if (end := data.rfind(b"\n")) >= 0 and len(data) == _BEGINNING:
            data = data[: end - end % 2 if b"\0" in data else end]  # whole lines, and whole characters of UTF-16
        elif end < 0:
            data += file.read()
    return _dialect(decode(data))[1]


def table(text):
    """(columns, rows) of a CSV text; rows are (line on which it begins, list of cells). Blank lines are left out.

    The separator is the one that finds the most columns we know. Raises `Unreadable` where there is no heading.
    """
    separator, header, rest, skipped = _dialect(text)
    rows = [(line + skipped, cells) for line, cells in _parse(rest, separator) if any(cells)]
    if len(rows) > 1 and any("\n" in cell or "\r" in cell for cell in rows[-1][1]):
        _check_closed(rest, separator, rows[-1][0], skipped)
    return header, rows[1:]


def _check_closed(text, separator, line, skipped):
    """Raise `Unreadable` where the row that begins on this line, the last one, opens a quote that is never closed."""
    lines = list(io.StringIO(text, newline=""))[line - skipped - 1 :]
    try:
        for _ in csv.reader(lines, delimiter=separator, strict=True):
            pass
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise Unreadable(
                f"cannot be read as a table: the quote that opens in line {line} is never closed, so all that follows "
                "is one cell. Close it, or write it twice where it is meant as a character."
            ) from None


def _dialect(text):
    """(separator, columns, text without a line that names the separator, number of lines before it) of a CSV text."""
    csv.field_size_limit(2**31 - 1)  # Label Studio puts whole pictures into cells
    lines = io.StringIO(text, newline="")
    skipped = 0
    if text[:4].lower() == "sep=":  # Excel's own hint
        lines.readline()
        skipped = 1
    rest = lines.read()
    best, header = ",", []
    for separator in ",;\t|":
        first = next((row for row in _parse(rest, separator) if row[1]), (0, []))[1]
        first = [name.strip().casefold() for name in first]
        if sum(name in KNOWN for name in first) > sum(name in KNOWN for name in header) or not header:
            best, header = separator, first
    if not header:
        raise Unreadable("is empty.")
    return best, header, rest, skipped


def _parse(text, separator):
    """(line, cells) of each row, lazily."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise Unreadable(f"cannot be read as a table: line {reader.line_num}: {error}.") from None
        yield line, cells
        line = reader.line_num + 1


def columns(header):
    """Positions by the names in `NAMES`; `image` has a list. Raises `UserError`-like `Unreadable` for a bad heading."""
    at = {name: i for i, name in reversed(list(enumerate(header)))}
    found = {key: [at[name] for name in names if name in at] for key, names in NAMES.items()}
    shown = ", ".join(name for name in header if name) or "nothing"
    if len(header) == 1 and KNOWN & set(re.split(r"\s*[,;\t|]\s*", header[0])) and header[0] not in KNOWN:
        raise Unreadable(
            f"has each line in quotes as a whole ({header[0]!r}), so it is a table of one column. Remove the quotes at "
            "both ends of the lines, or save it as 'CSV UTF-8' from the program that it came from."
        )
    if not found["image"] and not found["sha256"]:
        raise Unreadable(
            f"has no column that names the image. Its first line must hold the names of the columns, such as "
            f"'image,label'; it holds: {shown[:200]}."
        )
    if not found["label"] and not found["status"]:
        raise Unreadable(f"has no column 'label'; its columns are: {shown[:200]}.")
    return {key: places if key == "image" else places[0] for key, places in found.items() if places}


def claims(header, rows):
    """(claims, problems) of a table; problems are (row, sentence). A row without an answer is neither.

    A Label Studio export is known by its columns: there an empty label is an answer that was handed in empty.
    """
    from labelbench.labelling import label_studio

    at = columns(header)
    exported = "annotation_id" in header
    found, problems, predicted = [], [], []
    further = [i for i, name in enumerate(header) if name in NAMES["label"] and i != at.get("label", i)]
    contrary = []  # lines that say something else there
    last = max(*further, *(max(v) if isinstance(v, list) else v for v in at.values()), 0)
    empty = [""] * (last + 1)
    get = {key: at.get(key, -1) for key in NAMES if key != "image"}
    for line, cells in rows:
        if len(cells) <= last:
            cells = cells + empty[len(cells) :]

        def cell(key, cells=cells):
            return cells[get[key]] if get[key] >= 0 else ""

        if any(cells[i].strip() not in ("", cell("label").strip()) for i in further):
            contrary.append(line)
        label, status = cell("label"), cell("status").strip().casefold()
        if cell("source").strip().casefold() == "model":
            predicted.append(line)
            continue
        labels = (label,) if label.strip() else ()
        if exported:
            labels = label_studio.choices(label)
            status = label_studio.status(labels, cell("new").strip())
            if status == "new":
                labels = (cell("new"),)
        elif not labels and not status:
            continue
        person = cell("annotator").strip()
        if "; " in person and header[at["annotator"]] == "annotators":
            person = ""  # labels that several people agreed on: whose correction it is nobody knows
        names = tuple(name for i in at.get("image", ()) if (name := cells[i]).strip() and not name.startswith("data:"))
        found.append(
            Claim(
                line,
                cell("sha256").strip().lower(),
                names,
                status,
                labels,
                person,
                number(cell("seconds")),
                cell("note"),
                moment(cell("when")),
                cell("batch").strip(),
                replaces=tuple(re.sub(r":\d+$", "", source) for source in cell("answers").split("; ") if source),
            )
        )
    if contrary:
        used, others = header[at["label"]], ", ".join(repr(header[i]) for i in further)
        problems.append(
            (
                contrary[0],
                f"Labels are read from the first column {used!r} only; the column {others} says something else in "
                f"{counted(len(contrary), 'row')}. Remove the column that is not meant.",
            )
        )
    if predicted:
        problems.append(
            (
                predicted[0],
                f"{counted(len(predicted), 'row')} {'says' if len(predicted) == 1 else 'say'} source 'model': "
                "predictions, no person's answers, and not read. To confirm or correct one, write 'person' there.",
            )
        )
    return found, problems


def number(text):
    """Seconds as a float, also with a decimal comma; None for anything that is no time span."""
    try:
        value = float(str(text).strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def moment(text):
    """A time as ISO text in UTC, which sorts as time does; empty where it is none."""
    try:
        value = datetime.fromisoformat(str(text).strip())
    except ValueError:
        return ""
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    try:
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    except OverflowError:
        return ""
