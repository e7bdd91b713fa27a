"""The user's own images in folders that are called after their classes.

Either `folder/<class>/…/image`, or the same below split folders: `folder/train/<class>/…`, and beside `train` the
folders `val`, `test` and further test sets `test_…`. Endings say which files are images, and the first bytes of files
without one; hidden files and folders are passed over.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from labelbench.common import jobs
from labelbench.common.errors import UserError
from labelbench.data import contents, folders, image_files
from labelbench.data.datasets import _own
from labelbench.data.datasets._own import Examples, Problem
from labelbench.data.remembered import Listing

# What a first folder that holds folders of images is called where it is meant as a split, rightly or not.
SPLIT_LIKE = {"train", "training", "pool", "val", "valid", "validation", "dev", "test", "testing"}
# How such names begin, at any word in them, where they are none of these: `train_images`, `01_test`.
SPLIT_INSIDE = re.compile(r"(?i)(?<![a-z])(train|val|test|dev|fold)")


@dataclass(frozen=True, kw_only=True)
class Config(_own.Own):
    """folder: where the class folders or the split folders stand."""

    folder: str

    def __post_init__(self):
        super().__post_init__()
        _own.expand(self, "folder")


def sources(config):
    """None: the dates of folders say nothing of the images in them. What counts is `listing`."""
    return []


def listing(config, known, others):
    """The `Listing` of all images. known, others: what is remembered of files, which a folder does not need."""
    return Listing(config.folder, folders.walk(config.folder).images, _own.other_files(config))


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return config.metric


def check_source(config):
    """Raises `UserError` where there is no folder; looked at while planning too."""
    folder = config.folder
    if Path(folder).is_file():
        raise UserError(
            f"The image folder {folder} is a file. For a table of paths and labels write {{name: table, table: "
            f"{folder}}}; unpack an archive first."
        )
    if not Path(folder).is_dir():
        remedy = "Name the folder that holds one folder of images per class as `folder` of this dataset in the config."
        raise contents.missing(f"The image folder {folder}", folder, remedy)


def prepare(config, memory=None):
    """The `Dataset`; validation and test are drawn where no folder holds them (`_own.dataset`)."""
    check_source(config)
    found = folders.walk(config.folder)
    images, others = [file.path for file in found.images], found.others
    if not images and not found.closed:
        raise UserError(
            f"The image folder {config.folder} holds no images ({len(others)} other files). It needs one folder of "
            "images per class; unpack archives first."
        )
    for loop in found.loops:
        _own.log().warning("a link that leads back to a folder above it is not followed: %s", _own.shown(loop))
    parts = [path.split("/") for path in images]
    depth = 2 if any(len(p) > 2 and p[0].lower() in SPLIT_LIKE for p in parts) else 1
    _tell_of_others(images, others, depth)
    placed = [len(p) > depth for p in parts]
    problems = [
        Problem(
            "Folders that cannot be read",
            [": ".join(one) for one in found.closed],
            "Change their permissions, or move them elsewhere.",
        ),
        Problem(
            "Images outside of class folders",
            [path for path, fits in zip(images, placed, strict=True) if not fits],
            "Move them into the folder of their class.",
        ),
        Problem(
            "Folders that look like splits and hold the same folders",
            _unknown_splits(parts) if depth == 1 else [],
            "Call them train, val and test (or test_NAME), or name one of them as `folder` in the config.",
        ),
        Problem(
            "The class folders seem to be further down",
            _too_high(config.folder, parts, depth),
            "Name that folder as `folder` in the config."
            if depth == 1
            else "Move them up, so that they stand in the folder of their split.",
        ),
        Problem(
            "The folder seems to be one class of several",
            _one_class(config.folder, parts),
            "Name that folder as `folder` in the config.",
        ),
    ]
    holding = {tuple(p[:length]) for p in parts for length in (1, depth)}
    below = [tuple(folder.split("/")) for folder in found.folders if folder not in found.loops]
    empty = ["/".join(place) for place in below if len(place) <= depth and place not in holding]
    problems.append(Problem("Folders without images", empty, "Put images into them, or remove them."))
    labels = [_own.name_of(p[depth - 1]) if fits else "" for p, fits in zip(parts, placed, strict=True)]
    splits = [p[0] if fits else "pool" for p, fits in zip(parts, placed, strict=True)] if depth == 2 else None
    examples = Examples(
        listing=Listing(config.folder, found.images, _own.other_files(config)),
        labels=labels,
        splits=splits,
        problems=problems,
    )
    return _own.dataset(config, config.folder, examples, memory)


def _unknown_splits(parts):
    """Folders taken for classes that are called much like splits (`train_images`), and share two folders or more."""
    below = {}
    for p in parts:
        if len(p) > 2:
            below.setdefault(p[0], set()).add(p[1])
    like = [name for name in below if SPLIT_INSIDE.search(name)]
    shared = set.intersection(*(below[name] for name in like)) if len(like) > 1 else set()
    return [f"{name}: {', '.join(sorted(below[name])[:5])}" for name in like] if len(shared) > 1 else []


def _too_high(folder, parts, depth):
    """The folders further down that hold all others, where the config names one above them, or splits hold one.

    Each level above has only one folder: below `folder` itself, or with depth 2 below each split.
    """
    of_split, found = {}, {}
    for p in parts:
        of_split.setdefault(p[: depth - 1][0] if depth > 1 else "", []).append(p[depth - 1 :])
    for split, below in of_split.items():
        level = 0
        while all(len(p) > level + 2 for p in below) and len({p[level] for p in below}) == 1:
            level += 1
        names = {p[level] for p in below}
        if level and len(names) > 1:
            place = Path(folder, split, *below[0][:level])
            found[split] = f"{place} holds {', '.join(sorted(names)[:5])}"
    # Of test sets alone a single class may well be meant.
    return list(found.values()) if any(_own.split_of(split) == "pool" or not split for split in found) else []


def _one_class(folder, parts):
    """The folder above, where the one that the config names holds images alone and stands beside others that do."""
    place = Path(folder).absolute()
    if any(len(p) > 1 for p in parts) or place.name.lower() in SPLIT_LIKE:
        return []
    try:
        beside = [other for other in sorted(place.parent.iterdir()) if other != place and _holds_images(other)]
    except OSError:
        return []
    return [f"{place.parent} holds {', '.join([place.name, *(other.name for other in beside[:4])])}"] if beside else []


def _holds_images(folder):
    hidden = folder.name.startswith(".") or not folder.is_dir()
    return not hidden and any(path.suffix.lower() in image_files.SUFFIXES for path in folder.iterdir())


def _tell_of_others(images, others, depth):
    """Say which files are no images: in the log, and in the terminal where it may be by mistake."""
    if not others:
        return
    kinds = Counter(os.path.splitext(path)[1] or "no ending" for path in others)  # noqa: PTH122
    words = (
        f"{len(others)} files are no images and ignored: {dict(kinds.most_common(5))}; first {_own.shown(others[0])}"
    )
    of_class = Counter("/".join(path.split("/")[:depth]) for path in images)
    lost = Counter("/".join(path.split("/")[:depth]) for path in others if path.count("/") >= depth)
    poor = [f"{name} ({n} of {n + of_class[name]})" for name, n in lost.items() if n > 0.1 * (n + of_class[name])]
    many = len(others) > 0.1 * len(images)
    if many or poor:
        jobs.tell(f"{words}{'. More than a tenth of: ' + ', '.join(poor[:10]) if poor else ''}.")
    else:
        _own.log().info("%s", words)


def images(config, files):
    """A function from a position in the `Files` of the dataset to a PIL image of mode L or RGB."""
    return _own.reader(config, config.folder, files)
