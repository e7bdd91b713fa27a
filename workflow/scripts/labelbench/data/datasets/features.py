"""Precomputed embeddings of anything (texts, sounds, tables, molecules, images): a matrix with a row per example.

No encoder is asked for: the rows are what proxies and strategies see. What is asked for besides is a label for every
row of validation and test, and as many for the pool as the study is to buy from it.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from labelbench.common.errors import UserError
from labelbench.data import feature_files
from labelbench.data.dataset_file import Dataset, Split
from labelbench.data.datasets import _own, _variants
from labelbench.data.datasets._own import Problem

# The rows are embeddings already: planning gives such a dataset no encoder, and no training on images.
FEATURES = True


@dataclass(frozen=True)
class Views:
    """Weak and strong views of a row, where the dataset names no augmented copies: the row with noise and dropout.

    `weak_noise`, `strong_noise`: standard deviation of Gaussian noise, in standard deviations of each feature over the
    pool. `dropout`: probability that a feature of the strong view is replaced by its mean over the pool.
    """

    weak_noise: float = 0.1
    strong_noise: float = 0.3
    dropout: float = 0.1

    def __post_init__(self):
        if self.weak_noise < 0 or self.strong_noise < 0:
            raise ValueError("weak_noise and strong_noise must not be negative")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class Config(_variants.Variants):
    """features: a file with the matrix: .npy, .h5, .safetensors or .parquet, of float16, float32 or float64.

    array: its name in the file (of Parquet a column of lists, or a pattern of columns such as `f*`; of .npy not used).
    table: a CSV (with `separator`) or Parquet file with a line per row, for the columns that follow; without it they
    are arrays or columns of the file of features. Each may also be a .npy file. label: classes, empty or −1 where
    unknown. split: train (or pool), val, test, test_…; where there is no column of the default name, splits are drawn,
    shares `val` and `test` of each class. group: what worst-group accuracy compares. annotator: a second annotator's
    labels. weak, strong: files of augmented copies of the matrix, one per augmentation seed, in the same order of rows;
    `weak` alone serves as both; without any, see `Views`. class_names: a text file with a name per line, in the order
    of the sorted labels. metric: the one that leads the tables.
    """

    features: str
    array: str = "features"
    table: str = ""
    separator: str = ","
    label: str = "label"
    split: str = "split"
    group: str = ""
    annotator: str = ""
    weak: tuple[str, ...] = ()
    strong: tuple[str, ...] = ()
    val: float = 0.1
    test: float = 0.2
    class_names: str = ""
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1"] = "accuracy"

    def __post_init__(self):
        super().__post_init__()
        if not (0 < self.val < 1 and 0 < self.test < 1 and self.val + self.test < 1):
            raise ValueError(f"val and test are shares that leave something for the pool, not {self.val}, {self.test}")
        if self.strong and len(self.strong) != len(self.weak):
            raise ValueError(f"strong names {len(self.strong)} files and weak {len(self.weak)}: name a pair per seed")


def sources(config):
    """All files that the dataset is read from."""
    columns = [getattr(config, key) for key in ("label", "split", "group", "annotator")]
    arrays = [name for name in columns if name.endswith(".npy")]
    return [
        config.features,
        *[name for name in (config.table, config.class_names) if name],
        *arrays,
        *config.weak,
        *config.strong,
    ]


def check_source(config):
    """Raises `UserError` where one of the files does not exist; looked at while planning too."""
    for path in sources(config):
        feature_files.check_there(path)


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return config.metric if config.metric != "accuracy" else _variants.lead_metric(config)


def images(config):
    """Raises `UserError`: there are none."""
    raise UserError(f"{config.features} holds embeddings: there are no images to show, or to train an encoder on.")


def matrix(config):
    """The `feature_files.Matrix` of all rows."""
    return feature_files.matrix(config.features, config.array)


def copies(config, augmentation):
    """The matrices of the weak and strong copies number `augmentation`; None where the dataset names no copies.

    Raises `UserError` where there is none of that number, or one has another shape than the features.
    """
    if not config.weak:
        return None
    if augmentation >= len(config.weak):
        raise UserError(
            f"The study asks for augmentation seed {augmentation}, but {len(config.weak)} files of weak copies are "
            f"named. Name more, or set `augmentations: {len(config.weak)}` in the config."
        )
    whole, found = matrix(config), []
    for path in (config.weak[augmentation], (config.strong or config.weak)[augmentation]):
        copy = feature_files.matrix(path, config.array)
        if (copy.rows, copy.dim) != (whole.rows, whole.dim):
            raise UserError(
                f"{path} holds {copy.rows} rows of {copy.dim} numbers, {config.features} {whole.rows} of "
                f"{whole.dim}: a copy has a row for each row of the features, in the same order."
            )
        found.append(copy)
    return tuple(found)


def prepare(config):
    """The `Dataset`; positions are rows of the matrix. Raises one `UserError` with all that is wrong with columns."""
    rows = matrix(config).rows
    problems = []
    values = {key: _column(config, key, rows, problems) for key in ("label", "split", "group", "annotator")}
    if values["label"].dtype == object:
        problems += _own.cells(values["label"].tolist(), lambda positions: [f"row {at + 1}" for at in positions])
    _own.raise_all(config.features, problems)
    labels, classes = _coded(values["label"])
    names = _class_names(config, classes, problems)
    splits = _splits(config, labels, values["split"], problems)
    groups = None if values["group"] is None else _coded(values["group"])[0]
    found = {}
    for name in ["pool", "val", "test", *sorted(set(np.unique(splits)) - {"pool", "val", "test"})]:
        source = np.flatnonzero(splits == name)
        found[name] = Split(labels[source], source, None if groups is None else groups[source])
    if values["annotator"] is not None:
        second, known = _coded(values["annotator"], classes)
        if unknown := known[len(classes) :]:
            remedy = "A second annotator can only give labels that occur in the label column. Mend them."
            problems.append(Problem("Labels of the second annotator that are no class", unknown, remedy))
        found["pool"] = found["pool"]._replace(annotated=second[found["pool"].source])
    _check(found, names, problems)
    _own.raise_all(config.features, problems)
    found, names = _variants.apply(config, found, names)
    return Dataset(found, names, templates=("{}",), images_hash=_content(config.features))


def _column(config, key, rows, problems):
    """The values of one column, None where the dataset has no such column."""
    name = getattr(config, key)
    if not name:
        return None
    path = name if name.endswith(".npy") else config.table or config.features
    if path == config.features and path.endswith(".npy"):
        if key == "split":
            return None
        raise UserError(
            f"{path} holds the features alone, so their labels must stand elsewhere: name a `table` (CSV or Parquet) "
            "with a line per row, or a .npy file as `label`."
        )
    if key == "split" and name == "split" and name not in feature_files.columns_of(path, config.separator):
        return None  # only by its default name: splits are drawn
    values = feature_files.column(path, name, config.separator)
    if len(values) != rows:
        places = [f"{key}: {len(values)} values in {path} for {rows} rows of features"]
        problems.append(Problem("Columns of another length", places, "Write a value for each row, in the same order."))
    return values


def _coded(values, classes=()):
    """Codes (n,) int64, −1 for an empty or negative value, and what they stand for: text, sorted, `classes` first."""
    import pandas as pd

    codes, found = pd.factorize(values)
    found = [str(value) for value in found]
    real = {value for value in found if value and not re.fullmatch("-[0-9]+", value)}
    order = [*classes, *_own.by_value(real - set(classes))]
    number = {name: at for at, name in enumerate(order)}
    lookup = np.array([number.get(name, -1) for name in found] + [-1], dtype=np.int64)
    return lookup[codes], order


def _class_names(config, classes, problems):
    """K names: those of the file, or the labels."""
    remedy = "Every class needs a label of its own."
    problems.append(Problem("Fewer than two classes", [str(classes)] if len(classes) < 2 else [], remedy))
    if not config.class_names:
        return tuple(classes)
    try:
        names = [line.strip() for line in Path(config.class_names).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"class_names, {config.class_names}: {error}") from None
    if len(names) != len(classes) or len(set(names)) != len(names):
        places = [f"{config.class_names}: {len(set(names))} different names for {len(classes)} labels"]
        problems.append(Problem("A file of class names that does not fit", places, "Write one name per line."))
        return tuple(classes)
    return tuple(names)


def _splits(config, labels, given, problems):
    """(n,) text: the split of each row. Validation and test are drawn from the pool where no row is named for them."""
    if given is None:
        splits = np.full(len(labels), "pool", dtype="U32")
    else:
        import pandas as pd

        codes, found = pd.factorize(np.asarray(given, dtype=object))
        unknown = sorted(str(name) for name in found if name and _own.split_of(str(name)) is None)
        remedy = "Splits are called train (or pool), val, test, and test_… for further test sets."
        problems.append(Problem("Unknown names of splits", unknown, remedy))
        words = [_own.split_of(str(name)) or "pool" for name in found] + ["pool"]
        splits = np.array(words, dtype="U32")[codes]
    begin = 0
    rank, size = _ranks(np.where(splits == "pool", labels, -1))
    for name in ("test", "val"):
        if not (splits == name).any():
            end = begin + np.round(size * getattr(config, name))
            splits[(rank >= begin) & (rank < end)] = name
            begin = end
    return splits


def _ranks(labels):
    """The rank of each row among those of its class, in an order that looks random, and the size of its class.

    Both (n,) int64, of rows without a class −1 and 0. The order comes from a hash of the row's number (splitmix64), so
    the split needs no seed, and rows that are added later change the ranks of few others.
    """
    x = np.arange(1, len(labels) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    order = np.lexsort((x ^ (x >> np.uint64(31)), labels))
    values, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    rank, size = np.empty((2, len(labels)), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    size[order] = np.repeat(counts, counts)
    return np.where(labels >= 0, rank, -1), np.where(labels >= 0, size, 0)


def _check(found, names, problems):
    """Add what is wrong with the splits: empty ones, classes that cannot be learnt, tests that cannot be judged."""
    empty = [name for name, split in found.items() if not len(split.source)]
    remedy = "Name rows for them, or raise `val` or `test` in the config so that some are drawn."
    problems.append(Problem("Splits without a row", empty, remedy))
    pool = found["pool"].labels
    # A row without a label may be of any class.
    absent = [] if (pool < 0).any() else [names[k] for k in np.setdiff1d(np.arange(len(names)), pool)]
    remedy = "Add rows of these classes to the pool (train), or take the classes out."
    problems.append(Problem("Classes without a row in the pool", absent, remedy))
    places = [f"{n}: row {row + 1}" for n, s in found.items() if n != "pool" for row in s.source[s.labels < 0]]
    remedy = "Only the pool may lack labels. Label these rows or move them to the pool."
    problems.append(Problem("Rows for validation or test without a label", places, remedy))


def _content(path):
    """SHA-256 (hexadecimal) of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
