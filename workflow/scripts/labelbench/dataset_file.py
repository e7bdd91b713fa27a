"""The dataset file `datasets/{dataset}.h5`: what a study knows of a dataset besides its images."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labelbench import hdf5


class Split(NamedTuple):
    """`labels` (n,) int64 true classes; `source` (n,) int64 positions of the images in the plug-in's image source."""

    labels: np.ndarray
    source: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A dataset without its images.

    splits: by name, always with `pool`, `val` and `test`; class_names: K words for prompts and tables; templates:
    prompts with one `{}`; lead_metric: `accuracy`, or `balanced_accuracy` where classes are imbalanced; images_hash:
    sha256 of the image source.
    """

    splits: dict
    class_names: tuple
    templates: tuple
    lead_metric: str
    images_hash: str

    @property
    def num_classes(self):
        return len(self.class_names)

    @property
    def fingerprint(self):
        """32 hex digits that identify images, splits and labels: label sets and embeddings carry it."""
        h = hashlib.sha256(self.images_hash.encode())
        h.update("\0".join(self.class_names).encode())
        for name, split in sorted(self.splits.items()):
            h.update(name.encode())
            h.update(np.ascontiguousarray(split.labels, dtype="<i8").tobytes())
            h.update(np.ascontiguousarray(split.source, dtype="<i8").tobytes())
        return h.hexdigest()[:32]


def write(path, dataset, spec, code):
    """Write a dataset file with the spec and code digest of the job that made it."""
    with hdf5.create(path) as file:
        for name, split in dataset.splits.items():
            group = file.create_group(name)
            group["labels"] = np.asarray(split.labels, dtype=np.int64)
            group["source"] = np.asarray(split.source, dtype=np.int64)
        file.attrs.update(
            class_names=list(dataset.class_names),
            templates=list(dataset.templates),
            lead_metric=dataset.lead_metric,
            images_hash=dataset.images_hash,
            fingerprint=dataset.fingerprint,
            spec=spec,
            code=code,
        )


def read(path):
    """The `Dataset` in a file made by `write`."""
    with hdf5.read(path, "prepare_dataset") as file:
        return Dataset(
            splits={name: Split(group["labels"][()], group["source"][()]) for name, group in file.items()},
            class_names=tuple(file.attrs["class_names"]),
            templates=tuple(file.attrs["templates"]),
            lead_metric=file.attrs["lead_metric"],
            images_hash=file.attrs["images_hash"],
        )
