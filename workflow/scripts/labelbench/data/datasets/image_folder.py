"""The user's own images in folders that are called after their classes.

Either `folder/<class>/…/image`, or the same below split folders: `folder/train/<class>/…`, and beside `train` the
folders `val`, `test` and further test sets `test_…`. Pillow says which endings are images; other files are ignored,
hidden ones silently.
"""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from labelbench.common.errors import UserError
from labelbench.data.datasets import _own
from labelbench.data.datasets._own import Examples, Problem

# What a first folder that holds folders of images is called where it is meant as a split, rightly or not.
SPLIT_LIKE = {"train", "training", "pool", "val", "valid", "validation", "dev", "test", "testing"}


@dataclass(frozen=True, kw_only=True)
class Config(_own.Own):
    """folder: where the class folders or the split folders stand."""

    folder: str


def sources(config):
    """All folders, whose dates change when files come or go, and the file of class names.

    An image whose content is replaced under its old name is not noticed: touch its folder.
    """
    folders = [place for place, _, _ in _walk(config.folder)]
    return [*folders, *([config.class_names] if config.class_names else [])]


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return config.metric


def _walk(folder):
    """`os.walk` in alphabetical order, through links, without hidden folders and what macOS puts into zip files."""
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        yield place, folders, sorted(files)


def _listed(folder):
    """Paths relative to `folder`, with /, of its images, and of the files that are none."""
    from PIL import Image

    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    images, others = [], []
    for place, _, files in _walk(folder):
        below = Path(place).relative_to(folder).as_posix()
        for name in files:
            if not name.startswith("."):
                path = name if below == "." else f"{below}/{name}"
                (images if Path(name).suffix.lower() in endings else others).append(path)
    return images, others


def prepare(config):
    """The `Dataset`; validation and test are drawn where no folder holds them (`_own.dataset`)."""
    if not Path(config.folder).is_dir():
        raise UserError(
            f"The image folder {config.folder} does not exist. Name the folder that holds one folder of images per "
            "class as `folder` of this dataset in the config."
        )
    images, others = _listed(config.folder)
    if others:
        kinds = Counter(Path(path).suffix or "no ending" for path in others)
        _own.log().info("%d files are no images and ignored: %s; first %s", len(others), dict(kinds), others[0])
    if not images:
        raise UserError(
            f"The image folder {config.folder} holds no images ({len(others)} other files). It needs one folder of "
            "images per class; unpack archives first."
        )
    parts = [path.split("/") for path in images]
    depth = 2 if any(len(p) > 2 and p[0].lower() in SPLIT_LIKE for p in parts) else 1
    placed = [len(p) > depth for p in parts]
    problems = [
        Problem(
            "Images outside of class folders",
            [path for path, fits in zip(images, placed, strict=True) if not fits],
            "Move them into the folder of their class.",
        )
    ]
    holding = {tuple(p[:length]) for p in parts for length in (1, depth)}
    below = [Path(place).relative_to(config.folder) for place, _, _ in _walk(config.folder)]
    empty = [str(place) for place in below if 1 <= len(place.parts) <= depth and place.parts not in holding]
    problems.append(Problem("Folders without images", empty, "Put images into them, or remove them."))
    return _own.dataset(
        config,
        config.folder,
        config.folder,
        Examples(
            paths=images,
            labels=[p[depth - 1] if fits else "" for p, fits in zip(parts, placed, strict=True)],
            splits=[p[0] if fits else "pool" for p, fits in zip(parts, placed, strict=True)] if depth == 2 else None,
            problems=problems,
        ),
    )


def images(config):
    """A function from a position among all images, folder by folder, to a PIL image of mode L or RGB."""
    paths, _ = _listed(config.folder)
    return _own.reader(config.folder, paths)
