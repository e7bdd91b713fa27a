"""Rows of embeddings that need not be computed again, of images that are known by their contents.

Snakemake deletes the file of a view before the job that makes it anew. So the last one keeps a second name, in the
folder `.rows` beside it, with the hashes of the images behind its rows.
"""

import contextlib
import os
from pathlib import Path

import h5py
import numpy as np

from labelbench.common import hdf5
from labelbench.common.errors import UserError
from labelbench.common.jobs import written_whole
from labelbench.embedding import embeddings
from labelbench.embedding.encoder import preprocessing


def _places(path):
    """(second name of an embedding file, its hashes)."""
    folder = Path(path).parent / ".rows"
    return folder / Path(path).name, folder / f"{Path(path).stem}.hashes.npz"


def keep(path, dataset):
    """Give the embedding file of a dataset with `files` a second name. Where links cannot be made, nothing is kept."""
    rows, hashes = _places(path)
    rows.parent.mkdir(exist_ok=True)
    hashes.unlink(missing_ok=True)  # first, so that they never stand beside another file's rows
    with contextlib.suppress(OSError):
        with written_whole(rows) as part:
            os.link(path, part)
        with written_whole(hashes) as part, part.open("wb") as file:
            np.savez(file, **{name: dataset.files.sha256[split.source] for name, split in dataset.splits.items()})


class Rows:
    """The rows of a former embedding file by the hashes of their images.

    path: of the file that is to be made; view: as in `embedder.embed`; made: attributes that must be the same.
    """

    def __init__(self, path, view, made):
        self._file, hashes = _places(path)
        self._made, self._where = made, {}
        if self._file.exists() and hashes.exists():
            with np.load(hashes) as found:
                for split in sorted(found.files) if view == "clean" else ["pool"]:
                    for row, name in enumerate(found[split]):
                        self._where.setdefault(name.tobytes(), (split, row))

    def of(self, hashes, encoder):
        """What there is for images with these hashes (n, 32) uint8: an `Old`, or None where nothing fits."""
        if not self._where:
            return None
        made = {
            **self._made,
            "weights": encoder.weights_hash,
            "preprocessing": preprocessing(encoder.transform),
            "precision": encoder.precision,
        }
        with contextlib.suppress(UserError), hdf5.read(self._file, "embed") as file:
            if all(file.attrs.get(key) == value for key, value in made.items()):
                return Old(self._file, [self._where.get(name.tobytes()) for name in hashes], encoder.dim)
        return None


class Old:
    """Former rows of n images: `there` (n,) bool says of which."""

    def __init__(self, path, where, dim):
        self._path, self._dim = path, dim
        self.there = np.array([at is not None for at in where], dtype=bool)
        self._split = np.array([at[0] if at else "" for at in where], dtype=object)
        self._row = np.array([at[1] if at else -1 for at in where], dtype=np.int64)

    def joined(self, batches):
        """Yields tuples of (m, d) arrays for all n images in order; batches: the same for those that are not there."""
        with h5py.File(self._path, "r", locking=False) as file:
            views = ["weak", "strong"] if "weak" in file else None
        old = {split: [embeddings.mapped(self._path, v) for v in views or [split]] for split in set(self._split) - {""}}
        fresh = None
        for begin in range(0, len(self.there), embeddings.CHUNK):
            here = slice(begin, begin + embeddings.CHUNK)
            block = [np.zeros((len(self.there[here]), self._dim), np.float16) for _ in views or [None]]
            for split, matrices in old.items():
                at = np.flatnonzero(self._split[here] == split)
                for values, matrix in zip(block, matrices, strict=True):
                    values[at] = matrix[self._row[here][at]]
            todo = np.flatnonzero(~self.there[here])
            while len(todo):
                fresh = fresh if fresh is not None and len(fresh[0]) else next(batches)
                count = min(len(todo), len(fresh[0]))
                for values, rows in zip(block, fresh, strict=True):
                    values[todo[:count]] = rows[:count]
                todo, fresh = todo[count:], tuple(rows[count:] for rows in fresh)
            yield tuple(block)
