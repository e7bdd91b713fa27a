"""The dataset file `datasets/{dataset}.h5`: what a study knows of a dataset besides its images."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labelbench.common import hdf5

FILES = "files"  # group of the file beside the splits, which are called pool, val, test and test_…


class Split(NamedTuple):
    """Some images of a dataset, in order.

    labels: (n,) int64 true classes, −1 where unknown, which only the pool may hold; source: (n,) int64 positions of the
    images in the plug-in's image source; groups: (n,) int64 group of each image, such as the camera that took it, −1
    for none, or None where the dataset names no groups; annotated: (n,) int64 classes according to a second annotator,
    −1 where there is no answer, or None where the dataset has no such answers.
    """

    labels: np.ndarray
    source: np.ndarray
    groups: np.ndarray | None = None
    annotated: np.ndarray | None = None


class Files(NamedTuple):
    """The files of a dataset whose images are files of the user's own, by source position.

    paths: n names relative to the dataset's root, or absolute; sha256: (n, 32) uint8 hashes of their contents, zeros
    for a file that could not be read; decoding: text, how contents become pixels.
    """

    paths: list
    sha256: np.ndarray
    decoding: str


@dataclass(frozen=True)
class Dataset:
    """A dataset without its images.

    splits: by name, always with `pool`, `val` and `test`; further test sets have names that begin with `test_`;
    class_names: K words for prompts and tables; templates: prompts with one `{}`; images_hash: sha256 of the image
    source; fingerprint: 32 hex digits that identify images, splits and labels, computed where it is not given: label
    sets and embeddings carry it; files: of the user's own images, which are known by their contents, else None.
    """

    splits: dict
    class_names: tuple
    templates: tuple
    images_hash: str
    fingerprint: str = ""
    files: Files | None = None

    def __post_init__(self):
        object.__setattr__(self, "fingerprint", self.fingerprint or _fingerprint(self))

    @property
    def num_classes(self):
        return len(self.class_names)


def _fingerprint(dataset):
    h = hashlib.sha256(dataset.images_hash.encode())
    h.update("\0".join(dataset.class_names).encode())
    for name, split in sorted(dataset.splits.items()):
        h.update(name.encode())
        for field, values in _present(split):
            if field in Split._field_defaults:
                h.update(field.encode())
            h.update(np.ascontiguousarray(values, dtype="<i8").tobytes())
    return h.hexdigest()[:32]


def _present(split):
    """(name, values) of a split's fields, without those it does not have."""
    return [(field, values) for field, values in split._asdict().items() if values is not None]


def write(path, dataset, spec, code):
    """Write a dataset file with the spec and code digest of the job that made it."""
    with hdf5.create(path) as file:
        for name, split in dataset.splits.items():
            group = file.create_group(name)
            for field, values in _present(split):
                group[field] = np.asarray(values, dtype=np.int64)
        if dataset.files is not None:
            group = file.create_group(FILES)
            names = "\0".join(dataset.files.paths).encode(errors="surrogateescape")
            group["paths"] = np.frombuffer(names, dtype=np.uint8)
            group["sha256"] = dataset.files.sha256
            group.attrs["decoding"] = dataset.files.decoding
        file.attrs.update(
            class_names=list(dataset.class_names),
            templates=list(dataset.templates),
            images_hash=dataset.images_hash,
            fingerprint=dataset.fingerprint,
            spec=spec,
            code=code,
        )


def read(path):
    """The `Dataset` in a file made by `write`."""
    with hdf5.read(path, "prepare_dataset") as file:
        splits = {name: Split(**{f: group[f][()] for f in group}) for name, group in file.items() if name != FILES}
        files = None
        if FILES in file:
            names = file[FILES]["paths"][()].tobytes().decode(errors="surrogateescape").split("\0")
            files = Files(names, file[FILES]["sha256"][()], file[FILES].attrs["decoding"])
        return Dataset(
            splits=splits,
            class_names=tuple(file.attrs["class_names"]),
            templates=tuple(file.attrs["templates"]),
            images_hash=file.attrs["images_hash"],
            fingerprint=file.attrs["fingerprint"],
            files=files,
        )
