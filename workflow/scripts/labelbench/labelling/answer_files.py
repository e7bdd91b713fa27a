"""Which files people handed back, and what each of them claims, by its kind."""

import hashlib
import json
import re
from pathlib import Path

from labelbench.common.words import counted
from labelbench.data import folders, tables
from labelbench.labelling import identity, label_studio, tabular
from labelbench.labelling.records import Problem
from labelbench.labelling.tabular import DELIVERED, Claim, Unreadable

WRITTEN = frozenset({"batch.json", "label.html", "label_studio.json", "label_studio.xml"}) | {
    f"frozen.{ending}" for ending in ("csv", "json", "safetensors")
}
UNANSWERED = frozenset({"no_label", "_unlabeled"})  # Datumaro's and FiftyOne's folders of images without a label
UNFINISHED = (".part", ".crdownload", ".download", ".tmp", ".swp", "~")
PACKED = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
TEXTS = frozenset({".csv", ".tsv", ".txt"})

_NUMBER = re.compile(r"(?: ?\((\d{1,9})\)|[ _-](\d{1,9}))(?=\.[^./]*$)")


def files(folders_or_files):
    """(files, problems): (root or None, path, source, whether it is an image) of every file that may hold answers.

    Folders are looked into at any depth, through links. Links that lead nowhere, and folders that cannot be read, are
    the problems.
    """
    found, problems = [], []
    for place in map(Path, folders_or_files):
        if not place.is_dir():
            if not _ignored(place):
                source = f"{place.parent.name}/{place.name}" if place.parent.name else place.name
                found.append((None, place, source, place.suffix.lower() in identity.SUFFIXES))
            continue
        below = folders.walk(place)
        images, nowhere = {file.path for file in below.images}, {}
        for name in sorted([*images, *below.others], key=_natural):
            if not any(_ignored(Path(part)) for part in name.split("/")) and not _ignored(place / name):
                if (place / name).exists():
                    found.append((place, place / name, f"{place.name}/{name}", name in images))
                else:
                    nowhere.setdefault(f"{place.name}/{name}".rpartition("/")[0], []).append(place / name)
        for name, links in nowhere.items():
            lead = "leads" if len(links) == 1 else "lead"
            what = (
                f"{counted(len(links), 'link')} here {lead} nowhere, such as {links[0].name!r}. Bring the files back "
            )
            problems.append(Problem(name, 0, f"{what}to where they were, or copy the files themselves (cp -rL)."))
        for name, why in below.closed:
            what = f"This folder cannot be read ({why}). Change its permissions."
            problems.append(Problem(f"{place.name}/{name}", 0, what))
    return found, problems


def _ignored(path):
    """Whether it is a file that programs leave about, or one that we wrote ourselves into a batch's folder."""
    name = path.name.lower()
    if name.startswith((".", "~$")) or name.endswith(UNFINISHED) or name in ("thumbs.db", "desktop.ini", "__macosx"):
        return True
    return name in WRITTEN and re.fullmatch(r"batch\d+", path.parent.name) is not None


def claims(path, seen):
    """(claims, problems) of a file by its kind."""
    kind = path.suffix.lower()
    if kind in tables.SPREADSHEETS:
        raise Unreadable("is a spreadsheet: save it as 'CSV UTF-8' and hand that back.")
    if kind in PACKED:
        raise Unreadable("is packed: unpack it here, and remove it.")
    if kind in (".html", ".htm"):
        raise Unreadable("is a page and holds no answers: press Download in it and hand back the CSV that it saves.")
    if kind in tables.PARQUET:
        return tabular.claims(*tabular.cells(path))
    if kind not in TEXTS and kind != ".json":
        raise Unreadable("is of no kind that can be read: hand back CSV, a Label Studio export, or class folders.")
    data = path.read_bytes()
    digest = hashlib.sha256(data).digest()
    if digest in seen:
        return [], []
    seen.add(digest)
    if not data.strip():
        raise Unreadable("is empty. If it was saved just now, wait until it is written whole.")
    text = tabular.decode(data)
    if kind == ".json":
        try:
            content = json.loads(text.lstrip("\ufeff"))
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"is no whole JSON file ({error}): export it again.") from None
        return label_studio.claims(content)
    return tabular.claims(*tabular.table(text))


def sorted_image(root, path, beside):
    """The claim of an image in a class folder: root/<class>/image, or root/<person>/<class>/image.

    beside: what `_told` found, by folder. There is no claim of an image of which a table in its folder says who sorted
    it: what that table says counts.
    """
    parts = path.relative_to(root).parts[:-1] if root else ()
    if not parts:
        raise Unreadable("is an image outside a class folder: put it into a folder with the name of its class.")
    if parts[-1] in UNANSWERED:
        return [], []
    content = identity.content(path)
    if path.parent not in beside:
        beside[path.parent] = _told(path.parent / DELIVERED)
    if content in beside[path.parent]:
        return [], []
    person = parts[0] if len(parts) > 1 else ""
    return [Claim(0, content, (path.name,), "", (parts[-1],), person)], []


def _told(path):
    """Hashes of the images of which a delivered class folder's table says who sorted them; none without a table."""
    if not path.exists():
        return frozenset()
    header, rows = tabular.cells(path)
    if "sha256" not in header:
        raise Unreadable(
            f"stands beside a {DELIVERED} without the column sha256, so nothing tells whether a person sorted it. "
            "Bring that file back as it was delivered, or delete it to make all images in its folder people's answers."
        )
    at = header.index("sha256")
    return {cells[at].strip().lower() for _, cells in rows if len(cells) > at}


def numbered(source):
    """(a file's name without the number at its end, that number or 0): what browsers and people call a later file."""
    found = _NUMBER.search(source)
    return (source[: found.start()] + source[found.end() :], int(found[1] or found[2])) if found else (source, 0)


def family(source, others=()):
    """A file's name without the number that browsers add to a second download.

    "a (1).csv" can be nothing else; "a-2.csv" is one where `others` hold "a.csv", and otherwise another person's.
    """
    name, _ = numbered(source)
    return name if name in others or re.search(r"\(\d+\)(?=\.[^./]*$)", source) else source


def _natural(source):
    """Sorts numbers as numbers, and a second download, "a (2).csv", after the first, "a.csv"."""
    name, copy = numbered(source)
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if n % 2 else (-1, p) for n, p in enumerate(parts)], copy, source
