"""Caltech-256 (Griffin, Holub & Perona 2007): 29,780 photos of 256 classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelbench.data.datasets import _photos, _published, _variants

FOLDER = "256_ObjectCategories"
COUNTS = {"pool": 23_824, "val": 2_978, "test": 2_978}
SIZES = _variants.Sizes(COUNTS["pool"], None, tuple(map(str, range(1, 257))))
HOW_TO_GET = (
    "Get 256_ObjectCategories.tar from https://data.caltech.edu/records/nyy15-4j048, unpack it with `tar -xf`, and "
    f"name the folder in which this made {FOLDER} as `folder` of this dataset in the config."
)


@dataclass(frozen=True)
class Config(_variants.Variants):
    """folder: where the archive was unpacked; verify: compare the numbers of images with the published ones."""

    folder: str
    verify: bool = True


def sources(config):
    """No files: the photos themselves define the dataset, and they are too many to be tracked."""
    return []


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return _variants.lead_metric(config)


def _photos_of(config):
    """The `Photos` in the order of their paths, class names, and lines on what is wrong with the class folders.

    Class 257, `clutter`, shows nothing in particular and is left out. So is what lies between the photos of the
    published archive by mistake: the folder 056.dog/greg and the file 198.spider/RENAME2.
    """
    root = Path(config.folder) / FOLDER
    if not root.is_dir():
        _published.refuse("Caltech-256", [f"{root} is no folder"], HOW_TO_GET)
    folders = {path.name[:3]: path for path in sorted(root.iterdir()) if path.is_dir()}
    paths, labels, class_names, problems = [], [], [], []
    for label in range(256):
        number = f"{label + 1:03d}"
        if number not in folders:
            problems.append(f"{root}/{number}.*, the folder of class {label + 1}, is missing")
            continue
        found = _photos.names(folders[number], ".jpg")
        if not found:
            problems.append(f"{folders[number]} holds no photo")
        paths += [f"{folders[number]}/{name}" for name in found]
        labels += [label] * len(found)
        # 002.american-flag, 251.airplanes-101: -101 marks the classes that come from Caltech-101.
        class_names.append(folders[number].name[4:].removesuffix("-101").replace("-", " "))
    order = np.random.RandomState(42).permutation(len(paths))
    parts = np.split(order, [round(0.8 * len(order)), round(0.9 * len(order))])
    rows = dict(zip(("pool", "val", "test"), parts, strict=True))
    return _photos.Photos(paths, np.array(labels, dtype=np.int64), rows), class_names, problems


def prepare(config):
    """The `Dataset`: random 80 % pool, 10 % validation, 10 % test, as in the LabelBench paper's code."""
    photos, class_names, problems = _photos_of(config)
    prompts = _published.imagenet_prompts()
    return _photos.dataset("Caltech-256", config, photos, class_names, prompts, COUNTS, problems, HOW_TO_GET)


def images(config):
    """A function from a source position to a PIL image of any size, RGB or L."""
    photos, *_ = _photos_of(config)
    return _photos.reader(photos, HOW_TO_GET)
