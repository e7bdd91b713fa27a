"""Variants of a dataset: settings that every dataset has, and that change its pool or its classes."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labelbench.common.errors import UserError
from labelbench.data.dataset_file import Split

OTHER = "other"  # name of the class that `n_class` makes


# Keyword-only, so that a dataset's own settings may do without defaults.
@dataclass(frozen=True, kw_only=True)
class Variants:
    """Settings shared by all datasets; a dataset's `Config` derives from this. They apply in this order.

    n_class: keep the first n_class − 1 classes and merge all others into one class named `other`, in every split.
    imbalance_ratio: images of the pool's first class over those of its last (1: as they come).
    pool_size: draw that many images of the pool, the same ones in every trial.
    """

    n_class: int | None = None
    imbalance_ratio: float = 1.0
    pool_size: int | None = None

    def __post_init__(self):
        if self.n_class is not None and self.n_class < 2:
            raise ValueError("n_class must be at least 2")
        if self.imbalance_ratio < 1:
            raise ValueError("imbalance_ratio must be at least 1")
        if self.pool_size is not None and self.pool_size < 1:
            raise ValueError("pool_size must be at least 1")


class Sizes(NamedTuple):
    """What is known of a published dataset before its files are read: images of its pool, all and by class (None where
    only their sum was published), and the names of its K classes (their numbers where the files hold the names).
    """

    pool: int
    counts: tuple | None
    class_names: tuple


def even(classes, of_each):
    """The `Sizes` of a dataset whose pool has the same number of images of each class."""
    return Sizes(classes * of_each, (of_each,) * classes, tuple(map(str, range(1, classes + 1))))


def sizes(config, published):
    """The `Sizes` of the variant that `config` describes, of a dataset with the sizes `published`.

    Raises `UserError` as `apply` does, for what can be known of it. Files may hold less than was published.
    """
    pool, counts, names = published
    if config.n_class is not None:
        _check_merges(config.n_class, names)
        first = config.n_class - 1
        names = (*names[:first], OTHER)
        counts = None if counts is None else (*counts[:first], sum(counts[first:]))
    if config.imbalance_ratio > 1 and counts is not None:
        counts = tuple(_kept(config.imbalance_ratio, np.array(counts), names).astype(int).tolist())
        pool = sum(counts)
    if config.pool_size is not None:
        _check_pool_size(config.pool_size, pool)
        pool, counts = config.pool_size, None
    return Sizes(pool, counts, names)


def apply(config, splits, class_names):
    """Splits (by name) and class names of the variant that `config` describes.

    With an imbalance ratio r, class c of K keeps the first n·r^(−c/(K−1)) of its images in the pool, n being the size
    of the smallest class (exponential long tail, Cui et al. 2019, arXiv 1901.05555, §5.1). Validation and test stay as
    they are. Raises `UserError` for a variant that the dataset is too small for.
    """
    if config.n_class is not None:
        splits, class_names = _merged(config.n_class, splits, class_names)
    pool = splits["pool"]
    if config.imbalance_ratio > 1:
        pool = _subset(pool, _long_tail(config.imbalance_ratio, pool.labels, class_names))
    if config.pool_size is not None:
        _check_pool_size(config.pool_size, len(pool.labels))
        drawn = np.random.RandomState(42).permutation(len(pool.labels))[: config.pool_size]
        pool = _subset(pool, np.sort(drawn))
    return {**splits, "pool": pool}, tuple(class_names)


def lead_metric(config):
    """The metric that leads the tables: balanced accuracy where the variant is imbalanced, else accuracy."""
    return "balanced_accuracy" if config.imbalance_ratio > 1 or config.n_class is not None else "accuracy"


def _check_pool_size(pool_size, pool):
    if pool_size > pool:
        raise UserError(f"pool_size {pool_size} is more than the pool has: {pool} images. Lower it.")


def _check_merges(n_class, class_names):
    if n_class >= len(class_names):
        raise UserError(f"n_class {n_class} merges nothing: there are {len(class_names)} classes. Lower it.")


def _merged(n_class, splits, class_names):
    _check_merges(n_class, class_names)
    merged = {name: split._replace(labels=np.minimum(split.labels, n_class - 1)) for name, split in splits.items()}
    return merged, (*class_names[: n_class - 1], OTHER)


def _kept(ratio, counts, class_names):
    """(K,) float64 images of each class that a long tail keeps, of (K,) images in the pool."""
    keep = np.round(counts.min() * ratio ** (-np.arange(len(counts)) / (len(counts) - 1)))
    if keep.min() < 1:
        raise UserError(
            f"imbalance_ratio {ratio:g} leaves class {class_names[keep.argmin()]!r} without an image in the pool, "
            f"where the smallest class ({class_names[counts.argmin()]!r}) has {counts.min()}. Lower it."
        )
    return keep


def _long_tail(ratio, labels, class_names):
    """Mask (N,) bool of the pool's images that stay."""
    counts = np.bincount(labels, minlength=len(class_names))
    keep = _kept(ratio, counts, class_names)
    order = np.argsort(labels, kind="stable")
    nth_of_class = np.empty(len(labels), dtype=np.int64)
    nth_of_class[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return nth_of_class < keep[labels]


def _subset(split, chosen):
    return Split(*(values if values is None else values[chosen] for values in split))
