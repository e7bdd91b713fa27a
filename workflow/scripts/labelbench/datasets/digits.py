"""scikit-learn's 1797 handwritten digits, 8×8 grey levels (UCI "Optical Recognition of Handwritten Digits")."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelbench.dataset_file import Dataset, Split

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ('a photo of the digit "{}".', "the digit {}", "a handwritten {}", "the number {}")


@dataclass(frozen=True)
class Config:
    """imbalance_ratio: images of the most frequent class over those of the rarest in the pool (1: as they come)."""

    imbalance_ratio: float = 1.0

    def __post_init__(self):
        if self.imbalance_ratio < 1:
            raise ValueError("imbalance_ratio must be at least 1")


def sources(config):
    """Paths of the files the user provides: none, the images come with scikit-learn."""
    return []


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return "accuracy" if config.imbalance_ratio == 1 else "balanced_accuracy"


def _load():
    # 64 grey levels from 0 to 16 and the class, per line. The file is read without importing scikit-learn:
    # `sklearn.datasets.load_digits` costs every job a second of imports.
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    table = np.loadtxt(package / "datasets/data/digits.csv.gz", delimiter=",")
    return np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8), table[:, -1].astype(np.int64)


def prepare(config):
    """The `Dataset`: pool 1000, validation 200, test 597, by one fixed permutation.

    With an imbalance ratio r, class c of K keeps the first n·r^(−c/(K−1)) of its images in the pool, n being the size
    of the smallest class (exponential long tail, Cui et al. 2019, arXiv 1901.05555, §5.1). Validation and test stay
    balanced.
    """
    images, labels = _load()
    order = np.random.RandomState(42).permutation(len(labels))
    pool, val, test = np.split(order, [1000, 1200])
    if config.imbalance_ratio > 1:
        smallest = np.bincount(labels[pool]).min()
        keep = smallest * config.imbalance_ratio ** (-np.arange(10) / 9)
        nth_of_class = np.array([np.sum(labels[pool[:i]] == labels[k]) for i, k in enumerate(pool)])
        pool = pool[nth_of_class < np.round(keep)[labels[pool]]]
    return Dataset(
        splits={name: Split(labels[index], index) for name, index in (("pool", pool), ("val", val), ("test", test))},
        class_names=WORDS,
        templates=TEMPLATES,
        images_hash=hashlib.sha256(images.tobytes()).hexdigest(),
    )


def images(config):
    """A function from a source position to a PIL image, 8×8, mode L, light strokes on black."""
    from PIL import Image

    pixels, _ = _load()
    return lambda position: Image.fromarray(pixels[position])
