"""What the user's own images have in common, whether folders or a table name them: classes, splits, what can be wrong.

Problems are collected, so that the user reads all of them at once.
"""

import hashlib
import logging
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from labelbench.common import jobs
from labelbench.common.errors import UserError, did_you_mean
from labelbench.data import contents, image_files, remembered, tables
from labelbench.data.dataset_file import Dataset, Files, Split

SPLITS = {"train": "pool", "pool": "pool", "val": "val", "test": "test"}
AT_MOST = 10  # places that are named per problem


@dataclass(frozen=True, kw_only=True)
class Own:
    """Settings of all datasets of the user's own.

    val, test: share of each class that is drawn for validation or test where the data do not say themselves which
    images these are. class_names: a text file with one name per line, in the order of the sorted labels (numbers by
    their value); without it a class is called what its label says, underscores being spaces. templates: prompts for
    zero-shot heads, `{}` stands for the class name. metric: the one that leads the tables. on_corrupt: whether an image
    that cannot be read is an error, or is listed in the log and left out. on_duplicate: whether one image in two splits
    or two classes is an error, is left out, or stays; which ones `drop` leaves out: `_copies`. unlabelled: whether
    images of the pool without a label are an error or left out. background: what transparent pixels show, a colour by
    name or as #rrggbb. max_pixels: the largest image that is decoded.
    """

    val: float = 0.1
    test: float = 0.2
    class_names: str = ""
    templates: tuple[str, ...] = ("a photo of a {}.", "an image of a {}.")
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1"] = "accuracy"
    on_corrupt: Literal["error", "drop"] = "error"
    on_duplicate: Literal["error", "drop", "keep"] = "error"
    unlabelled: Literal["error", "drop"] = "error"
    background: str = "white"
    max_pixels: int = image_files.AS_IS.max_pixels

    def __post_init__(self):
        if not (0 < self.val < 1 and 0 < self.test < 1 and self.val + self.test < 1):
            raise ValueError(f"val and test are shares that leave something for the pool, not {self.val}, {self.test}")
        if not self.templates or any("{}" not in template for template in self.templates):
            raise ValueError("every one of templates needs a {} where the class name goes")
        if not image_files.is_colour(self.background):
            raise ValueError(f"background is no colour: {self.background!r}. Write white, black or as '#c0ffee'")
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1, not {self.max_pixels}")
        expand(self, "class_names")


def expand(config, *names):
    """Replace `~`, `$VARIABLES` and repeated slashes in settings of a frozen `Config` that are paths."""
    for name in names:
        if value := getattr(config, name):
            object.__setattr__(config, name, os.path.normpath(contents.expanded(value.strip())))


class Problem(NamedTuple):
    """A kind of mistake: `what` is a heading, `places` a line for each time it occurs, `remedy` a sentence."""

    what: str
    places: list
    remedy: str


@dataclass
class Examples:
    """What folders or a table say of n images, as text.

    listing: the n files and what else the dataset is read from; labels: empty where unknown; splits: as the data name
    them, or None where they do not; groups and annotated (a second annotator's labels): None where there are none.
    problems: found so far. places: function from positions, ascending, to where a reader finds them, a list of text;
    None where the paths say it.
    """

    listing: remembered.Listing
    labels: list
    splits: list | None
    groups: list | None = None
    annotated: list | None = None
    problems: list = field(default_factory=list)
    places: Callable | None = None

    @property
    def paths(self):
        return [file.path for file in self.listing.files]

    def where(self, at):
        """A line for people for each of the ascending positions `at`: place and path."""
        paths = self.paths
        places = [f"{place}: " for place in self.places(at)] if self.places else [""] * len(at)
        return [f"{place}{paths[k]}" for place, k in zip(places, at, strict=True)]


def decoding(config):
    """How files become pixels."""
    return image_files.Decoding(config.background, config.max_pixels, image_files.SHORTEST)


def shown(text):
    """A file name for people: what is no valid UTF-8 stands as escapes."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def name_of(folder):
    """The class that a folder's or a table's text names: composed characters, whatever the disk prefers; UTF-8."""
    try:
        folder.encode()
    except UnicodeEncodeError:  # a name from times before UTF-8, of which most in use was Latin-1
        folder = os.fsencode(folder).decode("latin-1")
    return unicodedata.normalize("NFC", folder)


def other_files(config, *paths):
    """Files besides the images, for a `Listing`: these, and that of the class names."""
    return [contents.listed("", path) for path in [*paths, config.class_names] if path]


def log():
    return logging.getLogger("labelbench")


def raise_all(where, problems):
    """Raise one `UserError` that lists all problems of the dataset at `where`, if there are any."""
    lines = []
    for what, places, remedy in problems:
        if places:
            lines += [f"{what} ({len(places)}):", *(f"    {shown(place)}" for place in places[:AT_MOST])]
            lines += [f"    and {len(places) - AT_MOST} more"] if len(places) > AT_MOST else []
            lines += [f"  {remedy}"]
    if lines:
        raise UserError("\n".join([f"The dataset {where} cannot be used as it is.", *lines]))


def cells(labels, places):
    """`Problem`s of labels, a list of text, that stand for several classes or are written as lists.

    places: function from positions, ascending, to where a reader finds them, a list of text.
    """
    several, lists = tables.several(labels), tables.lists(labels)
    right = [f"write {one}" if one else "leave it empty" for _, one in lists]
    written = zip(places([at for at, _ in lists]), lists, right, strict=True)
    return [
        Problem(
            "Cells with several labels",
            [f"{place}: {labels[at]}" for place, at in zip(places(several), several, strict=True)],
            tables.SEVERAL,
        ),
        Problem(
            "Labels that are written as lists",
            [f"{place}: {labels[at]}: {cure}" for place, (at, _), cure in written],
            tables.LISTS,
        ),
    ]


def by_value(labels):
    """Labels sorted, as numbers where all of them are whole numbers."""
    whole = all(label.isascii() and label.isdigit() for label in labels)
    return sorted(labels, key=lambda label: (int(label), label) if whole else label)


def _numbers(words, known):
    """(n,) int64 position of each word in `known`, −1 for one that is not there, such as the empty one."""
    number = {word: position for position, word in enumerate(known)}
    return np.array([number.get(word, -1) for word in words], dtype=np.int64)


def split_of(name):
    """The split that a folder or a table calls `name`, or None for an unknown one."""
    return name if re.fullmatch("test_[a-z0-9_]+", name) else SPLITS.get(name)


def dataset(config, where, examples, memory=None):
    """The `Dataset` of these examples. Raises one `UserError` with everything that is wrong.

    where: what the user calls the dataset; memory: folder of what is known of the files (`remembered`), which is
    brought up to date. Positions are those of `examples`. Where no example is named for validation or test, it is drawn
    from the pool class by class: of n labelled images of a class, round(n · share) of those whose contents have the
    smallest hashes, and for test at least one of three. So the split needs no seed, every class has its share, images
    that are added later move few of the others, and those that get another name none.
    """
    problems = list(examples.problems)
    known = contents.look(
        examples.listing.root,
        examples.listing.files,
        remembered.read_files(memory, decoding(config)) if memory else (),
        decoding(config),
    )
    if memory:
        remembered.write_files(memory, known, decoding(config))
    readable = _readable(config, examples, known, problems)
    _tell_of_pixels(config, known)
    classes = by_value(set(examples.labels) - {""})
    names = _class_names(config, classes, problems)
    labels = _numbers(examples.labels, classes)
    splits = _named_splits(examples, problems)
    kept = _copies(config, examples, known, splits, readable, problems)
    kept &= _labelled(config, examples, labels, splits, kept, problems)
    shares = {name: getattr(config, name) for name in ("test", "val") if name not in splits}
    # What cannot be read is no copy of anything else that cannot.
    hashes = [k.sha256 or hashlib.sha256(repr(k.file.path).encode()).hexdigest() for k in known]
    _draw(shares, splits, labels, kept, hashes)

    columns = {"labels": labels}
    if examples.groups is not None:
        columns["groups"] = _numbers(examples.groups, by_value(set(examples.groups) - {""}))
    found = {}
    for name in ["pool", "val", "test", *sorted(set(splits) - {"pool", "val", "test"})]:
        source = np.flatnonzero((splits == name) & kept)
        found[name] = Split(source=source, **{column: values[source] for column, values in columns.items()})
    if examples.annotated is not None:
        second = _second_annotator(examples, classes, problems)
        found["pool"] = found["pool"]._replace(annotated=second[found["pool"].source])
    _check_splits(found, names, examples, problems)
    raise_all(where, problems)
    log().info("classes: %s", ", ".join(f"{label} ({name})" for label, name in zip(classes, names, strict=True)))
    _tell_of_rare_classes(found, names)
    hashes = np.array([list(bytes.fromhex(k.sha256 or "00" * 32)) for k in known], dtype=np.uint8)
    of_pixels = str(decoding(config)).encode() + hashes[kept].tobytes()
    return Dataset(
        splits=found,
        class_names=tuple(names),
        templates=config.templates,
        images_hash=hashlib.sha256(of_pixels).hexdigest(),
        files=Files(examples.paths, hashes, str(decoding(config))),
    )


def reader(config, root, files):
    """A function from a position in the `Files` of a dataset to a PIL image of mode L or RGB.

    It raises `UserError` for a file that is not the one that was there when the dataset was prepared.
    """
    how = decoding(config)

    def read(position):
        path = Path(root, files.paths[position])
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).digest() == files.sha256[position].tobytes():
                return image_files.opened(content, how)
            reason = "its content has changed"
        except (OSError, ValueError) as error:
            reason = error
        raise UserError(
            f"{shown(str(path))} cannot be used: {reason}. It could be when the dataset was prepared. Put the image "
            "back, or run Snakemake again: it notices what has changed."
        ) from None

    return read


def _readable(config, examples, known, problems):
    """(n,) bool: False for the images that `on_corrupt: drop` leaves out; else they are a problem."""
    readable = np.array([not k.problem for k in known], dtype=bool)
    root = examples.listing.root
    lines = [f"{Path(root, k.file.path)}: {_why(root, k)}" for k in known if k.problem]
    if config.on_corrupt == "drop":
        for line in lines:
            log().warning("left out: %s", shown(line))
        if lines:
            of_class = Counter(
                label or "no label" for label, k in zip(examples.labels, known, strict=True) if k.problem
            )
            counts = ", ".join(f"{label} ({n})" for label, n in of_class.most_common(10))
            jobs.tell(
                f"{len(lines)} of {len(known)} images cannot be read and are left out (on_corrupt: drop): {counts}. "
                "The log names each."
            )
    else:
        readable[:] = True
        remedy = "Mend or remove them, or leave them out with `on_corrupt: drop` in the config."
        problems.append(Problem("Images that cannot be read", lines, remedy))
    return readable


# What paths look like that come from elsewhere: a pattern, and what it is.
_ELSEWHERE = (
    (r"(?i)file://", "an address: write the path alone, without file://"),
    (r"(?i)[a-z][a-z0-9+.-]+://", "an address, not a file: download the images first"),
    (r"/data/(local-files|upload)/", "an address within Label Studio: write the files' own paths"),
    (r"[A-Za-z]:[\\/]", "a path of Windows: write one of this machine, or one relative to the table"),
    (r".*\\", "a path with backslashes: write / between folders"),
)


def _why(root, known):
    """Why a file is none that can be read: the cause, where its path tells one."""
    path = known.file.path
    if known.file.size < 0:
        for pattern, cause in _ELSEWHERE:
            if re.match(pattern, path):
                return cause
        for spelling in ("NFC", "NFD"):
            if (other := unicodedata.normalize(spelling, path)) != path and Path(root, other).exists():
                return f"on disk it is spelt with other characters that look the same ({spelling})"
    return known.problem


def _tell_of_pixels(config, known):
    """Say of how many images more than their plain pixels decides what is seen."""
    noted = Counter(note for k in known for note in k.notes.split(";"))
    if count := noted[image_files.TRANSPARENT]:
        log().info(
            "%d of %d images are transparent in places, where they show %s (setting background)",
            count,
            len(known),
            config.background,
        )
    if count := noted[image_files.DARK]:
        jobs.tell(
            f"{count} of {len(known)} images have 16 bits, but no level above 4095: they are taken for 8 to 12 bits, "
            "as few as hold all levels of the image."
        )


def _copies(config, examples, known, splits, readable, problems):
    """(n,) bool: `readable` without the images that `on_duplicate: drop` leaves out.

    Of copies in one class `drop` keeps one, in a test split rather than for validation, there rather than in the pool.
    What stands in two classes is left out whole: nobody knows what it is.
    """
    of_content = defaultdict(list)
    for index in np.flatnonzero(readable):
        if not known[index].problem:
            of_content[known[index].sha256].append(index)
    groups = [group for group in of_content.values() if len(group) > 1]
    kinds = [split.partition("_")[0] for split in splits]
    twice = [g for g in groups if len({examples.labels[i] for i in g} - {""}) > 1]
    leaks = [g for g in groups if len({kinds[i] for i in g}) > 1]
    kept = readable.copy()
    if config.on_duplicate == "drop":
        rank = {"test": 0, "val": 1, "pool": 2}
        for group in groups:
            contradict = len({examples.labels[i] for i in group} - {""}) > 1
            kept[group] = False
            if not contradict:
                kept[min(group, key=lambda i: (rank[kinds[i]], i))] = True
    elif config.on_duplicate == "error":
        remedy = (
            "By content they are the same image. Keep one of each; `on_duplicate: drop` in the config does so, `keep` "
            "takes them as they are."
        )
        places = [_same(examples, group, splits) for group in leaks]
        problems.append(Problem("Images in the pool and in a test or validation split", places, remedy))
        places = [_same(examples, group, examples.labels) for group in twice]
        problems.append(Problem("Images in two classes", places, remedy))
    if groups:
        done = f"{int(np.sum(readable & ~kept))} files are left out" if config.on_duplicate == "drop" else "all stay"
        jobs.tell(
            f"{len(groups)} images are there more than once, by content: {len(twice)} of them in two classes, "
            f"{len(leaks)} in two splits; {done} (on_duplicate: {config.on_duplicate})."
        )
        for group in groups if config.on_duplicate != "error" else []:  # which ones stand in the error
            log().info("the same image: %s", shown(_same(examples, group, examples.labels)))
    return kept


def _same(examples, group, words):
    paths = examples.paths
    return " = ".join(f"{paths[i]} ({words[i] or 'no label'})" for i in group[:AT_MOST])


def _labelled(config, examples, labels, splits, kept, problems):
    """(n,) bool: False for the images that `unlabelled: drop` leaves out; else they are a problem."""
    unknown = (labels < 0) & (splits == "pool") & kept
    if config.unlabelled == "drop":
        log().warning("left out: %d images of the pool without a label", unknown.sum())
        return ~unknown
    remedy = (
        "A study simulates who labels, so it can only buy labels that are there: `unlabelled: drop` in the config "
        "leaves these images out. To have people label them, see docs/labelling.md."
    )
    what = f"Of {np.sum((splits == 'pool') & kept)} images of the pool, those without a label"
    problems.append(Problem(what, examples.where(np.flatnonzero(unknown).tolist()), remedy))
    return np.ones(len(labels), dtype=bool)


def _tell_of_rare_classes(found, names):
    """Say which classes lack images to be judged by: what no split holds, no metric weighs."""
    for name in found:
        if name == "pool":
            continue
        counts = {other: np.bincount(s.labels[s.labels >= 0], minlength=len(names)) for other, s in found.items()}
        absent = [f"{names[c]} ({counts['pool'][c]} in the pool)" for c in np.flatnonzero(counts[name] == 0)]
        if absent:
            jobs.tell(
                f"{len(absent)} of {len(names)} classes have no image in the split {name}, so no metric of it says "
                f"anything about them, balanced accuracy neither: {_some(absent)}."
            )


def _class_names(config, classes, problems):
    """K names: those of the file, or the labels with spaces for underscores."""
    names, wrong = [label.replace("_", " ").strip() for label in classes], []
    if config.class_names:
        try:
            lines = Path(config.class_names).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            wrong.append(f"{config.class_names}: {error}")
        else:
            if len(lines) == len(classes):
                names = [line.strip() for line in lines]
            else:
                wrong.append(f"{config.class_names}: {len(lines)} lines for {len(classes)} labels: {_some(classes)}")
    remedy = "Write one name per line, as UTF-8 text, in this order of the labels; or mend labels that are none."
    problems.append(Problem("A file of class names that does not fit", wrong, remedy))
    few = [_some(classes) or "no label at all"] if len(classes) < 2 else []
    problems.append(Problem("Fewer than two classes", few, "Every class needs a folder, or a label, of its own."))
    unclear = [repr(name) for name, count in Counter(names).items() if count > 1 or not name]
    remedy = "Rename or merge the classes, or name them with class_names: a prompt cannot tell these apart."
    problems.append(Problem("Class names that are empty or stand for two classes", unclear, remedy))
    return names


def _some(labels):
    return ", ".join(labels[:AT_MOST]) + (", …" if len(labels) > AT_MOST else "")


def _named_splits(examples, problems):
    """(n,) object: the split that the data name for each example; the pool where they name none."""
    if examples.splits is None:
        return np.full(len(examples.paths), "pool", dtype=object)
    unknown = sorted(name for name in set(examples.splits) if split_of(name) is None)
    places = [f"{name!r}.{did_you_mean(name.lower(), SPLITS)}" for name in unknown]
    remedy = "Splits are called train (or pool), val, test, and test_… for further test sets."
    problems.append(Problem("Unknown names of splits", places, remedy))
    return np.array([split_of(name) or "pool" for name in examples.splits], dtype=object)


def _draw(shares, splits, labels, usable, hashes):
    """Move images of the pool into the splits that `shares` names, in place; copies of one image stay together."""
    order = np.array(sorted(range(len(hashes)), key=lambda i: (hashes[i], i)), dtype=int)
    order = order[(splits == "pool")[order] & usable[order]]
    for label in range(labels.max(initial=-1) + 1):
        members, begin = order[labels[order] == label], 0
        for name, share in shares.items():
            count = round(len(members) * share)
            end = begin + (max(count, 1) if name == "test" and len(members) >= 3 else count)
            while begin < end < len(members) and hashes[members[end]] == hashes[members[end - 1]]:
                end += 1
            splits[members[begin:end]] = name
            begin = end
    for name, share in shares.items():
        log().info("%s: %d images drawn from the pool, %g of each class", name, np.sum(splits == name), share)


def _second_annotator(examples, classes, problems):
    """(n,) int64 classes that the second annotator said, −1 for no answer."""
    unknown = sorted(set(examples.annotated) - {"", *classes})
    places = [f"{label!r}.{did_you_mean(label, classes)}" for label in unknown]
    remedy = "A second annotator can only give labels that occur in the label column. Mend them."
    problems.append(Problem("Labels of the second annotator that are no class", places, remedy))
    return _numbers(examples.annotated, classes)


def _check_splits(found, names, examples, problems):
    """Add what is wrong with the splits: empty ones, classes that cannot be learnt, tests that cannot be judged."""
    empty = [name for name, split in found.items() if not len(split.source)]
    remedy = "Name images for them, or raise `val` or `test` in the config so that some are drawn."
    problems.append(Problem("Splits without images", empty, remedy))
    absent = set(range(len(names))) - set(found["pool"].labels.tolist())
    places = [
        f"{names[label]}: {sum(int(np.sum(split.labels == label)) for split in found.values())} in other splits"
        for label in sorted(absent)
    ]
    remedy = "Add images of these classes to the pool (train), or take the classes out."
    problems.append(Problem("Classes without an image in the pool", places, remedy))
    places = [
        f"{name}, {place}"
        for name, split in found.items()
        if name != "pool"
        for place in examples.where(split.source[split.labels < 0].tolist())
    ]
    remedy = "Only the pool may lack labels. Label these or move them to the pool."
    problems.append(Problem("Images for validation or test without a label", places, remedy))
