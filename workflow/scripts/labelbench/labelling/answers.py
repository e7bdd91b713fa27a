"""What people handed back: whichever program wrote it, each answer with its image, or a sentence on what is wrong.

Nothing is guessed. An answer belongs to an image by content (the column sha256, or the bytes of an image in a class
folder), or else by a name that fits one image only. What cannot be understood is listed, and everything else goes on.
"""

import difflib
import hashlib
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from labelbench.common.errors import UserError, did_you_mean
from labelbench.common.words import counted
from labelbench.data import folders, tables
from labelbench.labelling import identity, label_studio, tabular
from labelbench.labelling.tabular import DELIVERED, WORDS, Claim, Unreadable

STATES = ("label", "skip", "none", "unsure", "new", "several", "empty")
OPINIONS = ("label", "none", "new")  # skipped and unsure contradict nobody

WRITTEN = frozenset({"batch.json", "label.html", "label_studio.json", "label_studio.xml"}) | {
    f"frozen.{ending}" for ending in ("csv", "json", "safetensors")
}
UNANSWERED = frozenset({"no_label", "_unlabeled"})  # Datumaro's and FiftyOne's folders of images without a label
UNFINISHED = (".part", ".crdownload", ".download", ".tmp", ".swp", "~")
PACKED = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
TEXTS = frozenset({".csv", ".tsv", ".txt"})

# What people write into the column of labels where they mean that there is none, without its spaces.
STATUSES = {"skip": "skip", "skipped": "skip", "?": "unsure", "??": "unsure", "unsure": "unsure", "notsure": "unsure"}
STATUSES |= {"none": "none", "noneofthese": "none", "noneofthem": "none"}

_NUMBER = re.compile(r"(?: ?\((\d{1,9})\)|[ _-](\d{1,9}))(?=\.[^./]*$)")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
_HASH = re.compile(r"[0-9a-f]{64}")
_HINTS = 5  # sentences per file that look for near names: that is slow in a large pool
_NEAR = 5000  # names that are compared for such a hint


class Answer(NamedTuple):
    """What one person said about one image.

    sha256: the image; status: one of `STATES`; label: class name, '' unless status is label or new (several: names
    joined by ' | '); annotator: '' if unknown; seconds: float or None; when: ISO time in UTC, or ''; source: file,
    relative to the campaign's folder; row: line of a table, number of a task, 0 for folders; shown: whether a
    prediction was on view while the person answered; replaces: files whose answers on this image were known when a
    table of delivered labels, of which this is a row, was written.
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
    shown: bool = False
    replaces: tuple = ()


class Problem(NamedTuple):
    """What could not be used as it stands. what: a sentence for people; row: 0 where it is about the file."""

    source: str
    row: int
    what: str


class Settled(NamedTuple):
    """The one answer that counts for an image.

    status: label, skip, none, unsure, new or conflict; label: class name (conflict: all, joined by ' | ');
    annotators: names of those who gave it; seconds: sum over the people whose answers were compared, or None;
    sources: `file:row` of those answers, and files of answers that these replaced as corrections.
    """

    sha256: str
    status: str
    label: str = ""
    annotators: tuple = ()
    seconds: float | None = None
    sources: tuple = ()


class Conflict(NamedTuple):
    """People who disagree about an image, or one with himself; answers: the latest `Answer` of each, or the several
    of which nothing tells the latest."""

    sha256: str
    answers: tuple


def read(folders_or_files, images, classes, renames, campaign):
    """(answers, problems), lists of `Answer` and `Problem`, of all files, in a fixed order.

    images: list of `identity.Image`; classes: names; renames: old name → new name, applied first; campaign: its name.
    Never raises for what a file holds. A file of the same content as an earlier one is passed over.
    """
    places, known = _Images(images), _Classes(classes, renames)
    found, problems, seen, beside = [], [Problem("classes.csv", 0, what) for what in known.problems], set(), {}
    files, closed = _files(folders_or_files)
    problems += closed
    for root, path, source, is_image in files:
        try:
            if is_image:
                claims, complaints = _sorted_image(root, path, beside)
            else:
                claims, complaints = _claims(path, seen)
        except Unreadable as error:
            problems.append(Problem(source, 0, f"{path.name} {error}"))
            continue
        except UserError as error:
            problems.append(Problem(source, 0, str(error)))
            continue
        except OSError as error:
            problems.append(Problem(source, 0, f"{path.name} cannot be read: {error.strerror or error}."))
            continue
        problems += [Problem(source, row, what) for row, what in complaints]
        answers, more = _understood(source, claims, places, known, campaign)
        found += answers
        problems += more
    return found, problems + known.complaints()


def filled(path):
    """Whether a table holds any answer, or anything that has to be complained of; a `batch.csv` goes out with none."""
    try:
        found, problems = _claims(path, set())
    except (Unreadable, UserError, OSError):
        return True
    return bool(found or problems)


def labels(path):
    """Whether a table has a column of labels: one that only names images is no file of answers."""
    try:
        at = tabular.columns(tabular.cells(path)[0])
    except (Unreadable, UserError, OSError):
        return False
    return bool(at)


def settle(answers):
    """(settled, conflicts): `Settled` by hash in the order of their first answers, and a list of `Conflict`.

    Of each person the latest answer counts: by time where both have one; otherwise within a file the lower row, and
    among files whose names differ by a number at the end alone ("a.csv", "a (1).csv", "a-2.csv") the highest number.
    Where none of these tells which is later, a person who contradicts himself is a conflict. Nameless answers are one
    person per file ("answers (1).csv", a second download, belongs to "answers.csv"). Skipped, unsure and several labels
    contradict nobody. Where opinions differ it is a conflict, unless three or more people have one and more than half
    of them agree. Answers handed in empty are none. A row of delivered labels that was changed replaces the answers it
    was made of, whoever gave them; one that was not changed says nothing.
    """
    given = {}
    sources = {answer.source for answer in answers}
    for answer in answers:
        if answer.status != "empty":
            given.setdefault(answer.sha256, []).append(answer)
    settled, conflicts = {}, []
    for name, found in given.items():
        latest = _by_person(_corrected(found, sources), sources)
        settled[name] = _settle(name, latest)
        if settled[name].status == "conflict":
            conflicts.append(Conflict(name, tuple(answer for mine in latest for answer in mine)))
    return settled, conflicts


def _by_person(given, sources):
    """The answers on an image that count of each person: a list of lists as of `_latest`."""
    people = {}
    for answer in given:
        person = (answer.annotator, "") if answer.annotator else ("", _family(answer.source, sources))
        people.setdefault(person, []).append(answer)
    return [_latest(mine) for mine in people.values()]


def _corrected(given, sources):
    """The answers on an image without what a changed row of delivered labels replaces, and without unchanged rows.

    A row is unchanged where it says what the answers of which it was made say by themselves.
    """
    gone = set()
    for n, row in enumerate(given):
        made_of = {m for m, a in enumerate(given) if a.source in row.replaces and a.source != row.source}
        if made_of:
            old = _settle("", _by_person(_corrected([given[m] for m in sorted(made_of)], sources), sources))
            gone |= {n} if (old.status, old.label) == (row.status, row.label) else made_of
    return [a for n, a in enumerate(given) if n not in gone] or given


def _latest(mine):
    """The answers of one person, in the order in which they were read, that no other one of them replaces: mostly one.

    Several are left where nothing tells their order and they are different opinions.
    """
    left = [a for n, a in enumerate(mine) if not any(_replaces(b, a, m > n) for m, b in enumerate(mine) if m != n)]
    left = left or mine  # times and names that contradict each other
    opinions = {(a.status, a.label): a for a in left if a.status in OPINIONS}
    return list(opinions.values()) or left[-1:]


def _replaces(new, old, below):
    """Whether one person's answer is later than another one; below: whether it was read after it."""
    if new.when and old.when and new.when != old.when:
        return new.when > old.when
    if new.source == old.source:
        return below
    (new_name, new_number), (old_name, old_number) = _numbered(new.source), _numbered(old.source)
    return new_name == old_name and new_number > old_number


def contradictions(conflicts):
    """A `Problem` for each file in which a person contradicts what the same person says in another file."""
    found = {}
    for conflict in conflicts:
        people = {}
        for answer in conflict.answers:
            people.setdefault(answer.annotator or _family(answer.source), []).append(answer)
        for mine in people.values():
            for one, other in zip(mine, mine[1:], strict=False):
                found.setdefault((one.source, other.source, one.annotator), []).append(one)
    return [
        Problem(
            other,
            0,
            f"{person or 'Somebody'} contradicts {source} here, about {counted(len(mine), 'image')} (conflicts.csv), "
            "and nothing says which file is later. Move the older one away, or put a number at the end of the later "
            f"one's name: {_after(source)!r}.",
        )
        for (source, other, person), mine in found.items()
    ]


def _after(source):
    stem, dot, ending = source.rpartition("/")[2].rpartition(".")
    return f"{stem} (1){dot}{ending}" if dot else f"{ending} (1)"


def _settle(name, people):
    """The `Settled` of an image; people: for each person the answers of `_latest`.

    One who contradicts himself is one of those who have an opinion, and agrees with nobody.
    """
    given = [answer for mine in people for answer in mine]
    opinions = [mine for mine in people if mine[0].status in OPINIONS]
    if opinions:
        votes = Counter((mine[0].status, mine[0].label) for mine in opinions if len(mine) == 1)
        (status, label), most = votes.most_common(1)[0] if votes else (("conflict", ""), 0)
        agreed = [a for mine in opinions for a in mine if len(mine) == 1 and (a.status, a.label) == (status, label)]
        if most < len(opinions) and (len(opinions) < 3 or most <= len(opinions) / 2):
            status, agreed = "conflict", [a for mine in opinions for a in mine]
            label = " | ".join(sorted({a.label or a.status for a in agreed}))
    else:
        status = "skip" if all(a.status == "skip" for a in given) else "unsure"
        label, agreed = "", [a for a in given if status == "skip" or a.status != "skip"]
    times = [a.seconds for a in given if a.seconds is not None]
    annotators = tuple(sorted({a.annotator for a in agreed if a.annotator}))
    sources = [f"{a.source}:{a.row}" if a.row else a.source for a in given]
    sources = tuple(dict.fromkeys(sources + [name for a in given for name in a.replaces]))
    return Settled(name, status, label, annotators, sum(times) if times else None, sources)


def _numbered(source):
    """(a file's name without the number at its end, that number or 0): what browsers and people call a later file."""
    found = _NUMBER.search(source)
    return (source[: found.start()] + source[found.end() :], int(found[1] or found[2])) if found else (source, 0)


def _family(source, others=()):
    """A file's name without the number that browsers add to a second download.

    "a (1).csv" can be nothing else; "a-2.csv" is one where `others` hold "a.csv", and otherwise another person's.
    """
    name, _ = _numbered(source)
    return name if name in others or re.search(r"\(\d+\)(?=\.[^./]*$)", source) else source


def _natural(source):
    """Sorts numbers as numbers, and a second download, "a (2).csv", after the first, "a.csv"."""
    name, copy = _numbered(source)
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if n % 2 else (-1, p) for n, p in enumerate(parts)], copy, source


def _files(folders_or_files):
    """(files, problems): (root or None, path, source, whether it is an image) of every file that may hold answers.

    Folders are looked into at any depth, through links. Links that lead nowhere, and folders that cannot be read, are
    the problems.
    """
    files, problems = [], []
    for place in map(Path, folders_or_files):
        if not place.is_dir():
            if not _ignored(place):
                source = f"{place.parent.name}/{place.name}" if place.parent.name else place.name
                files.append((None, place, source, place.suffix.lower() in identity.SUFFIXES))
            continue
        below = folders.walk(place)
        images, nowhere = {file.path for file in below.images}, {}
        for name in sorted([*images, *below.others], key=_natural):
            if not any(_ignored(Path(part)) for part in name.split("/")) and not _ignored(place / name):
                if (place / name).exists():
                    files.append((place, place / name, f"{place.name}/{name}", name in images))
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
    return files, problems


def _ignored(path):
    """Whether it is a file that programs leave about, or one that we wrote ourselves into a batch's folder."""
    name = path.name.lower()
    if name.startswith((".", "~$")) or name.endswith(UNFINISHED) or name in ("thumbs.db", "desktop.ini", "__macosx"):
        return True
    return name in WRITTEN and re.fullmatch(r"batch\d+", path.parent.name) is not None


def _sorted_image(root, path, beside):
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


def _claims(path, seen):
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


def _understood(source, claims, places, known, campaign):
    """(answers, problems) of a file's claims: images and classes looked up."""
    found, problems, foreign, moved, lost = [], [], Counter(), [], []
    for claim in claims:
        name, why = places.find(claim)
        if not name:
            other = claim.batch.split("/")[0] if claim.batch.count("/") == 2 else ""
            if other and other != campaign:
                foreign[other] += 1
            else:
                lost.append((claim, why))
            continue
        if why:
            moved.append(claim.row)
        status, label, what = known.answer(claim, source)
        if what:
            problems.append(Problem(source, claim.row, what))
        if status:
            found.append(
                Answer(
                    name,
                    status,
                    label,
                    claim.annotator,
                    claim.seconds,
                    claim.note,
                    claim.when,
                    source,
                    claim.row,
                    claim.shown,
                    claim.replaces,
                )  # fmt: skip
            )
    for other, count in foreign.items():
        what = f"{_rows(count)} of the campaign {other!r}, for images that {campaign!r} does not have. "
        problems.append(Problem(source, 0, f"{what}Hand them back there."))
    if moved:
        name = "names" if len(moved) == 1 else "name"
        what = f"{counted(len(moved), 'answer')} {name} one image by content (sha256) and another by path; content "
        what += "counts. Either files were replaced or exchanged since, and nothing is wrong. Or single columns of the "
        what += "table were sorted: then restore it, because its labels stand beside the wrong images."
        problems.append(Problem(source, moved[0], what))
    if len(lost) > 3 and len(lost) == len(claims):
        what = f"None of the {len(lost)} images that it names is in {campaign!r}, such as {_shown(lost[0][0])}. "
        problems.append(Problem(source, 0, f"{what}Is it an export of another project, or of another folder?"))
    else:
        for n, (claim, why) in enumerate(lost):
            hint = places.near(claim) if n < _HINTS and why == _UNKNOWN else ""
            problems.append(Problem(source, claim.row, f"{_shown(claim)} {why}{hint}"))
    return found, problems


def opened(found, audit):
    """A `Problem` for each source in which audit images were answered while a prediction was on view.

    found: a list of `Answer`; audit: a function that tells whether a hash is one of the audit.
    """
    seen = Counter(answer.source for answer in found if answer.shown and audit(answer.sha256))
    return [
        Problem(
            source,
            0,
            f"{_rows(count)} about audit images beside which a prediction was shown. People tend to follow it, so the "
            "accuracy may look better than it is: hide predictions of images that carry none in label_studio.json.",
        )
        for source, count in seen.items()
    ]


def _rows(count):
    return "1 answer is" if count == 1 else f"{count} answers are"


def _shown(claim):
    name = claim.names[0] if claim.names else claim.sha256
    if not name:
        return "This row"
    return repr(name if len(name) <= 200 else name[:200] + "…")


_UNKNOWN = "is no image of this campaign. Its answer is not used."


class _Images:
    """Finds the image that an answer is about."""

    def __init__(self, images):
        self.hashes = {image.sha256 for image in images}
        self.paths = {}
        for image in sorted(images, key=lambda image: not image.present):  # a file's present content comes first
            for path in (image.path, *image.copies):
                self.paths.setdefault(_nfc(path), image.sha256)
        self.bases, self.valid = {}, None
        for path, name in self.paths.items():
            self.bases.setdefault(path.rpartition("/")[2], []).append((path, name))

    def find(self, claim):
        """(hash, '') of a claim's image; ('', what is wrong) where none or several fit; (hash, text) as a warning."""
        if _HASH.fullmatch(claim.sha256):
            if claim.sha256 in self.hashes:
                named = self.paths.get(claim.names[0]) if claim.names and claim.row else None
                return claim.sha256, "" if named in (None, claim.sha256) else "another path"
            if any(self._by_name(name)[0] for name in claim.names):
                return "", (
                    "has another content (sha256) here than the answer is about: it was replaced, saved anew or "
                    "recompressed. The answer is not used; if it is right all the same, write it into a table without "
                    "the column sha256."
                )
            return "", _UNKNOWN
        why = _UNKNOWN if claim.names else "names no image. Its answer is not used."
        for name in claim.names:
            found, why = self._by_name(name)
            if found:
                return found, ""
        return "", why

    def _by_name(self, value):
        forms = _forms(value)
        for form in forms:
            if form in self.paths:
                return self.paths[form], ""
        why = _UNKNOWN
        for form in forms:
            found = self._by_base(form, form.rpartition("/")[2])
            if len(found) == 1:
                return found.pop(), ""
            if found:
                why = f"fits {len(found)} images, by name alone. Write its path, or its sha256."
        return "", why

    def _by_base(self, path, base):
        """Hashes of images of this file name; those that share more of the path where there are any."""
        here = self.bases.get(base)
        if here is None and _UPLOAD.match(base):
            here = self.bases.get(base[9:])
            if here is None:
                if self.valid is None:
                    self.valid = {}
                    for name, places in self.bases.items():
                        self.valid.setdefault(_valid(name), []).extend(places)
                here = self.valid.get(base[9:])
        here = here or ()
        longer = {name for p, name in here if "/" in p and f"/{path}".endswith(f"/{p}")}
        longer = longer or {name for p, name in here if "/" in path and f"/{p}".endswith(f"/{path}")}
        return longer if len(longer) == 1 else {name for _, name in here}

    def near(self, claim):
        """A sentence with the names that are nearest to a claim's; empty where none is near."""
        if not claim.names:
            return ""
        base = _forms(claim.names[0])[-1].rpartition("/")[2]
        folded = base.casefold()
        names = [name for name in self.bases if name.casefold() == folded]
        stem = (base.rpartition(".")[0] or base).casefold()  # with another ending, or with none
        names = names or [name for name in self.bases if name.rpartition(".")[0].casefold() == stem]
        if not names:
            some = [name for name in self.bases if abs(len(name) - len(base)) < 3 and name[:1] == base[:1]][:_NEAR]
            names = difflib.get_close_matches(base, some, n=3)
        paths = [self.bases[name][0][0] for name in names[:3]]
        return f" The nearest: {', '.join(map(repr, paths))}." if paths else ""


def _nfc(text):
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _valid(name):
    """A file name as Label Studio keeps it when it is uploaded."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def _forms(value):
    """What an image's name may have been before programs changed it, the likeliest first."""
    forms = [_nfc(value)]
    text = value.strip()
    if "?d=" in text:
        text = text.partition("?d=")[2]
    elif "://" in text:
        text = text.partition("://")[2].partition("/")[2]
    for form in (text, unquote(text), unquote(unquote(text))):
        clean = form.replace("\\", "/")
        while clean.startswith(("/", "./")):
            clean = clean.removeprefix("./").removeprefix("/")
        forms.append(_nfc(clean))
    return list(dict.fromkeys(forms))


class _Classes:
    """Finds the class that an answer names, and says so once per file and name where there is none."""

    def __init__(self, classes, renames):
        self.classes = [_nfc(name) for name in classes]
        self.names = dict(zip(self.classes, classes, strict=True))
        self.folded = {_folded(name): name for name in classes}
        self.renames, self.problems = self._resolved({_nfc(old): _nfc(new) for old, new in renames.items()})
        self.unknown, self.words = {}, {}

    @staticmethod
    def _resolved(renames):
        """Each old name with the name at the end of its chain. Names that lead back to themselves are complained of."""
        found, problems, cyclic = {}, [], set()
        for old in renames:
            seen, name = [old], renames[old]
            while name in renames and renames[name] != name and name not in seen:
                seen.append(name)
                name = renames[name]
            if name in seen and renames[old] != old:
                if not cyclic & set(seen):
                    chain = " → ".join(map(repr, [*seen, name]))
                    problems.append(f"The renames lead in a circle and are not applied: {chain}. Remove one of them.")
                cyclic.update(seen)
            elif not name.strip():
                problems.append(f"The class {old!r} is renamed to nothing; this is not applied. Write a new name.")
            else:
                found[old] = name
        return found, problems

    def answer(self, claim, source):
        """(status, label, what is wrong or ''); no status where the claim is no answer."""
        status, label = claim.status, claim.labels[0] if claim.labels else ""
        status = {"labelled": "label", "labeled": "label", "skipped": "skip"}.get(status, status)
        if status == "empty":
            return "empty", "", ""
        if status == "several":
            names = [self.renamed(name) for name in claim.labels]
            if len(set(names)) > 1:
                joined = " | ".join(names)
                return "several", joined, f"Several labels for one image: {joined}. It counts as unsure; choose one."
            status, label = "label", names[0]
        if status in ("skip", "none", "unsure"):
            if label.strip():
                return "", "", f"The status is {status!r}, yet there is the label {label!r}. Empty one of the two."
            return status, "", ""
        if status not in ("", "label", "new"):
            return "", "", f"The status {status!r} is none of: label, skip, none, unsure, new. The row is not used."
        if not label.strip():
            return "", "", f"The status is {status!r}, but there is no label. Write the class, or empty the status."
        try:
            label.encode()
        except UnicodeEncodeError:
            return "", "", f"The label {label!r} is not readable text. Write it anew, and save the file as UTF-8."
        name = self.renamed(label)
        if name in self.names:
            return "label", self.names[name], ""
        if status != "new" and label in WORDS:
            return WORDS[label], "", ""
        where = source if claim.row else source.rpartition("/")[0]  # of an image in a class folder: that folder
        if status != "new" and _folded(name) in STATUSES:
            self.words.setdefault((where, label.strip()), []).append(claim.row)
            return "", "", ""
        # A new class that is only another spelling of one in the list is a slip; any other is what was meant.
        if status != "new" or _folded(name) in self.folded:
            self.unknown.setdefault((where, name), []).append(claim.row)
        return "new", name, ""

    def renamed(self, label):
        label = _nfc(label).strip()  # as names of classes are, everywhere else
        return self.renames.get(label, label)

    def complaints(self):
        """A `Problem` for each file and name that is no class."""
        found = []
        for (source, word), rows in self.words.items():
            count = f" ({len(rows)} answers)" if len(rows) > 1 else ""
            status = STATUSES[_folded(word)]
            what = f"{word!r} is no class of the list{count}, and is not used. If no class is meant, write {status!r} "
            what += f"into the column `status` and leave the label empty; as a folder, call it `__{status}__`."
            found.append(Problem(source, rows[0], what))
        for (source, name), rows in self.unknown.items():
            near = self.folded.get(_folded(name)) or next((c for c in self.classes if _same_number(c, name)), None)
            hint = f" Did you mean {near!r}?" if near else did_you_mean(name, self.classes)
            count = f" ({len(rows)} answers)" if len(rows) > 1 else ""
            what = f"{name!r} is no class of the list{count}: it counts as a new class.{hint} "
            what += "Correct the answer, add the class to the list, or write both names into classes.csv (old,new)."
            found.append(Problem(source, rows[0], what))
        return found


def _folded(text):
    """A name without what the eye passes over: case, spaces, Unicode form."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _same_number(one, other):
    """Whether two names are one number: Excel makes 7 of 007."""
    try:
        return float(one) == float(other)
    except ValueError:
        return False
