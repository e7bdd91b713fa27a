"""scikit-learn's 1797 handwritten digits, 8×8 grey levels (UCI "Optical Recognition of Handwritten Digits")."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelbench.data.dataset_file import Dataset, Split
from labelbench.data.datasets import _variants

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHIFTS = ("test_inverted", "test_blurred")
SIZES = _variants.Sizes(1000, (93, 96, 90, 105, 106, 110, 108, 100, 87, 105), WORDS)
TEMPLATES = ('a photo of the digit "{}".', "the digit {}", "a handwritten {}", "the number {}")


@dataclass(frozen=True)
class Config(_variants.Variants):
    """shifted: two more test sets, the test digits dark on white (`test_inverted`) and blurred (`test_blurred`)."""

    shifted: bool = False


def sources(config):
    """Paths of the files the user provides: none, the images come with scikit-learn."""
    return []


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return _variants.lead_metric(config)


def _load():
    # 64 grey levels from 0 to 16 and the class, per line. The file is read without importing scikit-learn:
    # `sklearn.datasets.load_digits` costs every job a second of imports.
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    table = np.loadtxt(package / "datasets/data/digits.csv.gz", delimiter=",")
    return np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8), table[:, -1].astype(np.int64)


def prepare(config):
    """The `Dataset`: pool 1000, validation 200, test 597, by one fixed permutation."""
    images, labels = _load()
    order = np.random.RandomState(42).permutation(len(labels))
    parts = zip(("pool", "val", "test"), np.split(order, [1000, 1200]), strict=True)
    splits = {name: Split(labels[at], at) for name, at in parts}
    if config.shifted:
        for nth, name in enumerate(SHIFTS, start=1):
            splits[name] = Split(splits["test"].labels, splits["test"].source + nth * len(labels))
    splits, class_names = _variants.apply(config, splits, WORDS)
    return Dataset(splits, class_names, TEMPLATES, images_hash=hashlib.sha256(images.tobytes()).hexdigest())


def images(config):
    """A function from a source position to a PIL image, 8×8, mode L, light strokes on black.

    All images stand there once as they are, then once for each of `SHIFTS`.
    """
    from PIL import Image, ImageFilter, ImageOps

    pixels, _ = _load()
    changes = [lambda image: image, ImageOps.invert, lambda image: image.filter(ImageFilter.GaussianBlur(0.7))]

    def image(position):
        change, at = divmod(position, len(pixels))
        return changes[change](Image.fromarray(pixels[at]))

    return image
