"""What people handed back: any number of files in several formats → answers, and what could not be understood.

Nothing is guessed. An answer that names an unknown image, or a class that is nearly one of the list, is a `Problem`
that names the nearest candidate; whoever typed it can mend the file and run the same command again.
"""

import csv
import io
import json
import os
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from labelbench.common.errors import did_you_mean
from labelbench.labelling import identity, label_studio

IMAGE = ("image", "file_name", "filename", "path", "file")
LABEL = ("label", "class", "choice", "category")
NO_LABEL = frozenset({"no_label", "_unlabeled", "unlabeled", "unlabelled"})  # folders of other tools for no answer
IGNORED = (".part", ".crdownload", ".tmp", ".ds_store", "thumbs.db", "desktop.ini")
WORDS = {"skip": "skip", "skipped": "skip", "none": "none", "unsure": "unsure", "new": "new", "label": "label"}


class Answer(NamedTuple):
    """What one person said of one image.

    status: label, skip, none ("none of these"), unsure, new (`label` names a class that is not in the list), several
    (`label` holds them, joined by " | ") or empty (handed in without an answer); annotator: empty where unknown;
    seconds: None where unknown; when: ISO time, or empty; source, row: the file, and the line in it (0 for folders).
    """

    sha256: str
    status: str
    label: str = ""
    annotator: str = ""
    seconds: float | None = None
    note: str = ""
    when: str = ""
    source: str = ""
    row: int = 0


class Problem(NamedTuple):
    """Something that could not be taken over: where, and a sentence that says what is wrong and what to do."""

    source: str
    row: int
    what: str


class Settled(NamedTuple):
    """The answer that counts for an image. seconds: of all who answered, together; None where nobody knows."""

    sha256: str
    status: str
    label: str
    annotators: tuple
    seconds: float | None
    sources: tuple


class Conflict(NamedTuple):
    """People who disagree about an image: their last answers."""

    sha256: str
    answers: tuple


class Raw(NamedTuple):
    """An answer as a file has it: how it names the image and the class is still to be understood."""

    row: int
    image: str
    sha256: str = ""
    status: str = ""
    label: str = ""
    annotator: str = ""
    seconds: str = ""
    note: str = ""
    when: str = ""
    batch: str = ""


class Unreadable(Exception):
    """A file that is no answer file; its message says why."""


def read(places, images, classes, renames, campaign):
    """(answers, problems) of files and folders `places`, in a fixed order.

    images: the index, `identity.Image`; classes: of the config, in order; renames: old name → class; campaign: its
    name, for answers that belong to another. Never raises for what a file holds.
    """
    answers, problems = [], []
    find = _Finder(images)
    for path in _files(places):
        source = str(path)
        try:
            found = _read_file(path, places, find)
        except (Unreadable, OSError) as error:
            problems.append(Problem(source, 0, str(error)))
            continue
        for raw in found:
            answer, problem = _understood(raw, source, find, classes, renames, campaign)
            answers += [answer] if answer else []
            problems += [Problem(source, raw.row, problem)] if problem else []
    return list(dict.fromkeys(answers)), problems


def _files(places):
    for place in map(Path, places):
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        for path in inside:
            hidden = any(part.startswith((".", "~$", "__MACOSX")) for part in path.relative_to(place.parent).parts)
            if path.is_file() and not hidden and not path.name.lower().endswith(IGNORED):
                yield path


def _read_file(path, places, find):
    """The answers in one file, a list of `Raw`."""
    suffix = path.suffix.lower()
    if suffix in identity.SUFFIXES:
        return _in_a_class_folder(path, places)
    if suffix in (".csv", ".tsv", ".txt"):
        return _in_a_table(_text(path))
    if suffix in (".json", ".jsonl"):
        try:
            return [Raw(**raw) for raw in label_studio.read(json.loads(_text(path)))]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unreadable(
                f"This is no JSON export of Label Studio ({error}). Export JSON, JSON-MIN or CSV."
            ) from None
    if suffix == ".parquet":
        return _in_parquet(path)
    if suffix in (".xlsx", ".xls", ".ods", ".numbers"):
        raise Unreadable("This is a spreadsheet: save it as CSV, and put that here.")
    if suffix in (".zip", ".gz", ".tar", ".7z"):
        raise Unreadable("This is an archive: unpack it here.")
    raise Unreadable(
        "Files of this kind hold no answers that can be read. CSV, Label Studio's JSON, class folders can."
    )


def _text(path):
    """A file's text, whatever program wrote it: UTF-8 with or without a mark, UTF-16, or Windows' western encoding."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif b"\0" in data:
        encodings = []
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Unreadable("This is no text: neither UTF-8 nor what Excel writes. Save it as “CSV UTF-8”.")


def _in_a_table(text):
    head = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    if rows and len(rows[0]) == 1 and rows[0][0].lower().startswith("sep="):  # Excel's own first line
        rows = list(csv.reader(io.StringIO(text.partition("\n")[2], newline=""), delimiter=rows[0][0][4:] or ","))
    if not rows:
        return []
    names = [cell.strip().lower() for cell in rows[0]]
    return _rows(names, ((n, row) for n, row in enumerate(rows[1:], start=2) if any(cell.strip() for cell in row)))


def _in_parquet(path):
    import pyarrow.parquet

    columns = pyarrow.parquet.read_table(path).to_pydict()
    names = [name.lower() for name in columns]
    rows = zip(*columns.values(), strict=True)
    return _rows(names, ((n, ["" if v is None else str(v) for v in row]) for n, row in enumerate(rows, start=1)))


def _rows(names, rows):
    image = next((name for name in IMAGE if name in names), None)
    label = next((name for name in LABEL if name in names), None)
    if image is None and "sha256" not in names:
        raise Unreadable(f"No column names images: call it image. The columns are: {', '.join(names)}.")
    if label is None and "status" not in names:
        return []  # a table of paths alone
    found = []
    for number, row in rows:
        cell = dict(zip(names, row, strict=False))
        said, word = label_studio.cell(cell.get(label, "").strip()) if label else ("", "")
        found.append(
            Raw(
                number,
                cell.get(image, "") if image else "",
                cell.get("sha256", "").strip().lower(),
                cell.get("status", "").strip().lower() or said,
                word,
                cell.get("annotator", "").strip(),
                cell.get("seconds", cell.get("lead_time", "")).strip(),
                cell.get("note", ""),
                cell.get("updated_at", cell.get("when", "")).strip(),
                cell.get("batch", "").strip(),
            )
        )
    return found


def _in_a_class_folder(path, places):
    """An image in a folder that is called after its class. Its content says which image it is."""
    if any(Path(place) == path.parent for place in places) or path.parent.name.lower() in NO_LABEL:
        return []
    return [Raw(0, path.name, identity.content(path), "", path.parent.name)]


class _Finder:
    """Which image a file means, by content, path or unique name."""

    def __init__(self, images):
        self.hashes = {image.sha256 for image in images}
        self.paths, names = {}, {}
        for image in images:
            for path in (image.path, *image.copies):
                self.paths[_plain(path)] = image.sha256
                names.setdefault(_plain(path).rpartition("/")[2], set()).add(image.sha256)
        self.names = {name: next(iter(found)) for name, found in names.items() if len(found) == 1}
        self.hints = 20  # looking for the nearest name takes a while in a large pool
        self.several = {name for name, found in names.items() if len(found) > 1}

    def __call__(self, sha256, image):
        """(hash or None, why not)."""
        if sha256 in self.hashes:
            return sha256, ""
        # In the order of certainty: as written, then as browsers, Windows and Label Studio change it.
        for path in (image, label_studio.plain_path(image)):
            plain = _plain(path)
            if plain in self.paths:
                return self.paths[plain], ""
        name = _plain(label_studio.plain_path(image)).rpartition("/")[2]
        for candidate in (name, label_studio.without_prefix(name)):
            if candidate in self.names:
                return self.names[candidate], ""
        if name in self.several:
            return None, f"{image!r} may be several images of that name: write the whole path."
        self.hints -= 1
        hint = did_you_mean(_plain(image), self.paths) if self.hints >= 0 else ""
        return None, f"No image of this campaign is {image or sha256!r}.{hint}"


def _plain(path):
    return unicodedata.normalize("NFC", os.fspath(path).replace("\\", "/")).removeprefix("./")


def _understood(raw, source, find, classes, renames, campaign):
    """(answer or None, problem or empty)."""
    if not raw.label and not raw.status:
        return None, ""  # a row that nobody has filled in
    name, why = find(raw.sha256, raw.image)
    if name is None:
        other = raw.batch.partition("/")[0]
        if other and other != campaign:
            why += f" The answer belongs to the campaign {other!r}: move the file to its `answers` folder."
        return None, why
    status, label, problem = _status(raw, classes, renames)
    try:
        seconds = float(raw.seconds.replace(",", ".")) if raw.seconds else None
    except ValueError:
        seconds = None
    return Answer(name, status, label, raw.annotator, seconds, raw.note, raw.when, source, raw.row), problem


def _status(raw, classes, renames):
    """(status, label, problem) of an answer."""
    label = renames.get(raw.label, raw.label)
    if raw.status and raw.status not in WORDS and raw.status not in ("several", "empty"):
        hint = did_you_mean(raw.status, WORDS)
        return "unsure", label, f"{raw.status!r} is no status.{hint} It counts as unsure until it is mended."
    status = WORDS.get(raw.status, raw.status) or "label"
    if status == "label" and not label:
        return "empty", "", ""
    if status in ("label", "new"):
        if label in classes:  # a new class that has joined the list since
            return "label", label, ""
        if status == "new":
            return "new", label, ""
        near = [c for c in classes if _folded(c) == _folded(label)]
        hint = f" Did you mean {near[0]!r}?" if near else did_you_mean(label, classes)
        cure = "Mend it, add it to the classes of the config, or name it in classes.csv (old,new)."
        return "new", label, f"{label!r} is no class.{hint} {cure}"
    if status == "several":
        return status, label, f"Several classes were chosen ({label}): the image counts as unsure until one is left."
    return status, "" if status in ("skip", "none", "empty") else label, ""


def _folded(name):
    return " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())


def settle(answers):
    """(`Settled` by hash, list of `Conflict`).

    Of each person the latest answer counts: by its time, where it has one, else the last read. One that says nothing
    (`empty`) is no answer. Where people disagree, what most of three or more say counts; else the image is a conflict.
    """
    by_image = {}
    for number, answer in enumerate(answers):
        if answer.status != "empty":
            by_person = by_image.setdefault(answer.sha256, {})
            rank = (answer.when, number)
            if answer.annotator not in by_person or rank > by_person[answer.annotator][0]:
                by_person[answer.annotator] = rank, answer
    settled, conflicts = {}, []
    for name, by_person in by_image.items():
        last = tuple(answer for _, answer in by_person.values())
        said = Counter((("unsure" if a.status == "several" else a.status), a.label) for a in last)
        (status, label), votes = said.most_common(1)[0]
        if len(said) > 1 and not (len(last) >= 3 and 2 * votes > len(last)):
            status, label = "conflict", ""
            conflicts.append(Conflict(name, last))
        known = [a.seconds for a in last if a.seconds is not None]
        people = tuple(dict.fromkeys(a.annotator for a in last if a.annotator))
        sources = tuple(dict.fromkeys(a.source for a in last))
        settled[name] = Settled(name, status, label, people, sum(known) if known else None, sources)
    return settled, conflicts
