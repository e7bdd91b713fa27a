"""What the user's own images have in common, whether folders or a table name them: classes, splits, what can be wrong.

Problems are collected, so that the user reads all of them at once.
"""

import hashlib
import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from labelbench.common.errors import UserError, did_you_mean
from labelbench.data import image_files
from labelbench.data.dataset_file import Dataset, Split

SPLITS = {"train": "pool", "pool": "pool", "val": "val", "test": "test"}
AT_MOST = 10  # places that are named per problem


@dataclass(frozen=True, kw_only=True)
class Own:
    """Settings of all datasets of the user's own.

    val, test: share of each class that is drawn for validation or test where the data do not say themselves which
    images these are. class_names: a text file with one name per line, in the order of the sorted labels (numbers by
    their value); without it a class is called what its label says, underscores being spaces. templates: prompts for
    zero-shot heads, `{}` stands for the class name. metric: the one that leads the tables. on_corrupt: whether an image
    that cannot be read is an error, or is listed in the log and left out.
    """

    val: float = 0.1
    test: float = 0.2
    class_names: str = ""
    templates: tuple[str, ...] = ("a photo of a {}.", "an image of a {}.")
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1"] = "accuracy"
    on_corrupt: Literal["error", "drop"] = "error"

    def __post_init__(self):
        if not (0 < self.val < 1 and 0 < self.test < 1 and self.val + self.test < 1):
            raise ValueError(f"val and test are shares that leave something for the pool, not {self.val}, {self.test}")
        if not self.templates or any("{}" not in template for template in self.templates):
            raise ValueError("every one of templates needs a {} where the class name goes")


class Problem(NamedTuple):
    """A kind of mistake: `what` is a heading, `places` a line for each time it occurs, `remedy` a sentence."""

    what: str
    places: list
    remedy: str


@dataclass
class Examples:
    """What folders or a table say of n images, as text.

    paths: relative to one root; labels: empty where unknown; splits: as the data name them, or None where they do not;
    groups and annotated (a second annotator's labels): None where there are none. problems: found so far.
    """

    paths: list
    labels: list
    splits: list | None
    groups: list | None = None
    annotated: list | None = None
    problems: list = field(default_factory=list)


def log():
    return logging.getLogger("labelbench")


def raise_all(where, problems):
    """Raise one `UserError` that lists all problems of the dataset at `where`, if there are any."""
    lines = []
    for what, places, remedy in problems:
        if places:
            lines += [f"{what} ({len(places)}):", *(f"    {place}" for place in places[:AT_MOST])]
            lines += [f"    and {len(places) - AT_MOST} more"] if len(places) > AT_MOST else []
            lines += [f"  {remedy}"]
    if lines:
        raise UserError("\n".join([f"The dataset {where} cannot be used as it is.", *lines]))


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


def dataset(config, where, root, examples):
    """The `Dataset` of these examples. Raises one `UserError` with everything that is wrong.

    where: what the user calls the dataset; root: folder that the paths are relative to. Positions are those of
    `examples`. Where no example is named for validation or test, it is drawn from the pool class by class: of n
    labelled images of a class, round(n · share) of those whose paths have the smallest hashes. So the split needs no
    seed, every class has its share, and images that are added later move few of the others.
    """
    problems = list(examples.problems)
    readable = _readable(config, where, root, examples, problems)
    classes = by_value(set(examples.labels) - {""})
    names = _class_names(config, classes, problems)
    labels = _numbers(examples.labels, classes)
    splits = _named_splits(examples, problems)
    shares = {name: getattr(config, name) for name in ("test", "val") if name not in splits}
    _draw(shares, splits, labels, readable, examples.paths)

    columns = {"labels": labels}
    if examples.groups is not None:
        columns["groups"] = _numbers(examples.groups, by_value(set(examples.groups) - {""}))
    found = {}
    for name in ["pool", "val", "test", *sorted(set(splits) - {"pool", "val", "test"})]:
        source = np.flatnonzero((splits == name) & readable)
        found[name] = Split(source=source, **{column: values[source] for column, values in columns.items()})
    if examples.annotated is not None:
        second = _second_annotator(examples, classes, problems)
        found["pool"] = found["pool"]._replace(annotated=second[found["pool"].source])
    _check_splits(found, names, examples, problems)
    raise_all(where, problems)
    log().info("classes: %s", ", ".join(f"{label} ({name})" for label, name in zip(classes, names, strict=True)))
    return Dataset(
        splits=found,
        class_names=tuple(names),
        templates=config.templates,
        images_hash=image_files.fingerprint(root, [Path(root, examples.paths[i]) for i in np.flatnonzero(readable)]),
    )


def reader(root, paths):
    """A function from a position in `paths` to a PIL image of mode L or RGB; it raises `UserError` for a bad file."""

    def read(position):
        path = Path(root, paths[position])
        try:
            return image_files.opened(path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} cannot be read: {error}. It could be when the dataset was prepared: put the image back, or "
                "run Snakemake again with `--forcerun prepare_dataset` to look through the images anew."
            ) from None

    return read


def _readable(config, where, root, examples, problems):
    """(n,) bool: False for the images that `on_corrupt: drop` leaves out; else they are a problem."""
    readable = np.ones(len(examples.paths), dtype=bool)
    unreadable = image_files.check([str(Path(root, path)) for path in examples.paths], where, "decode")
    lines = [f"{Path(root, examples.paths[index])}: {reason}" for index, reason in unreadable]
    if config.on_corrupt == "drop":
        readable[[index for index, _ in unreadable]] = False
        for line in lines:
            log().warning("left out: %s", line)
    else:
        remedy = "Mend or remove them, or leave them out with `on_corrupt: drop` in the config."
        problems.append(Problem("Images that cannot be read", lines, remedy))
    return readable


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


def _draw(shares, splits, labels, readable, paths):
    """Move images of the pool into the splits that `shares` names, in place."""
    order = np.array(sorted(range(len(paths)), key=lambda i: hashlib.sha256(paths[i].encode()).digest()), dtype=int)
    order = order[(splits == "pool")[order] & readable[order]]
    for label in range(labels.max(initial=-1) + 1):
        members, begin = order[labels[order] == label], 0
        for name, share in shares.items():
            end = begin + round(len(members) * share)
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
    pool = found["pool"].labels
    # An image without a label may be of any class.
    absent = set() if (pool < 0).any() else set(range(len(names))) - set(pool.tolist())
    places = [
        f"{names[label]}: {sum(int(np.sum(split.labels == label)) for split in found.values())} in other splits"
        for label in sorted(absent)
    ]
    remedy = "Add images of these classes to the pool (train), or take the classes out."
    problems.append(Problem("Classes without an image in the pool", places, remedy))
    places = [
        f"{name}, number {index + 1}: {examples.paths[index]}"
        for name, split in found.items()
        if name != "pool"
        for index in split.source[split.labels < 0]
    ]
    remedy = "Only the pool may lack labels. Label these or move them to the pool."
    problems.append(Problem("Images for validation or test without a label", places, remedy))
