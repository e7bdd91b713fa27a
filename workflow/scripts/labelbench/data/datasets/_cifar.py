"""CIFAR-10 and CIFAR-100 as published for Python: pickled batches of 32×32 colour photos (Krizhevsky 2009)."""

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labelbench.common.errors import UserError
from labelbench.data.dataset_file import Dataset
from labelbench.data.datasets import _published, _variants


@dataclass(frozen=True)
class Config(_variants.Variants):
    """folder: where the archive was unpacked; verify: compare the files with the published checksums."""

    folder: str
    verify: bool = True


class Layout(NamedTuple):
    """Where one of the two datasets keeps what: files with their MD5 checksums, and keys inside the pickles."""

    title: str
    archive: str
    folder: str
    train: dict
    test: dict
    meta: dict
    labels: str
    names: str

    @property
    def how_to_get(self):
        return (
            f"Get https://www.cs.toronto.edu/~kriz/{self.archive}, unpack it with `tar -xzf {self.archive}`, and name "
            f"the folder in which this made {self.folder} as `folder` of this dataset in the config."
        )

    def paths(self, config, *parts):
        """MD5 checksums by path, of all files or of some."""
        files = {name: md5 for part in parts or (self.train, self.test, self.meta) for name, md5 in part.items()}
        return {Path(config.folder) / self.folder / name: md5 for name, md5 in files.items()}


class _Unpickler(pickle.Unpickler):
    """A pickle can run any code when it is loaded; this one makes arrays and built-in values and nothing else."""

    def find_class(self, module, name):
        reconstruct, *_ = np.empty(0).__reduce__()
        known = {
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no part of CIFAR")
        return known[module, name]


def _unpickle(path, layout):
    try:
        with path.open("rb") as file:
            # Written by Python 2, whose strings were bytes.
            return _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{path} cannot be read: {error}. {layout.how_to_get}") from error


def _load(config, layout):
    """Pixels (n, 32, 32, 3) uint8 of training and test set together, labels of each, class names."""
    _published.refuse(layout.title, _published.missing(layout.paths(config)), layout.how_to_get)
    batches = [_unpickle(path, layout) for path in layout.paths(config, layout.train, layout.test)]
    (meta,) = (_unpickle(path, layout) for path in layout.paths(config, layout.meta))
    try:
        rows = np.concatenate([batch["data"] for batch in batches])
        train, test = (
            np.concatenate([np.array(batch[layout.labels], dtype=np.int64) for batch in part])
            for part in (batches[:-1], batches[-1:])
        )
        pixels = rows.reshape(len(train) + len(test), 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(pixels, dtype=np.uint8), train, test, meta[layout.names]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{Path(config.folder) / layout.folder} does not hold the batches of {layout.title}: "
            f"{type(error).__name__} {error}. {layout.how_to_get}"
        ) from error


def prepare(config, layout):
    """The `Dataset`: pool 50,000; validation and test are random halves of the official test set."""
    problems = _published.missing(layout.paths(config))
    if config.verify:
        problems += _published.altered(layout.paths(config))
    _published.refuse(layout.title, problems, layout.how_to_get)
    pixels, train, test, names = _load(config, layout)
    class_names = [name.replace("_", " ") for name in names]
    splits, class_names = _variants.apply(config, _published.halves(train, test), class_names)
    return Dataset(
        splits, class_names, _published.imagenet_prompts(), images_hash=hashlib.sha256(pixels.tobytes()).hexdigest()
    )


def images(config, layout):
    """A function from a source position (training images, then test images) to a PIL image, 32×32, RGB."""
    from PIL import Image

    pixels, *_ = _load(config, layout)
    return lambda position: Image.fromarray(pixels[position])
