"""Embedding files: float16 matrices that are memory-mapped when read, with what made them in their attributes.

A file of the clean view has a dataset (n, d) for each split, and the pool's `mean` and `std` (d,) float32; a file of
augmented views has the pool's `weak` and `strong` (N, d). Attributes: `fingerprint` of the dataset; `view`; `encoder`;
`weights`, the hash of its weights; `preprocessing`, how images were made for it; `precision` of the forward pass;
`spec` and `code` of the job.
"""

import contextlib
from pathlib import Path

import numpy as np

from labelbench.common import hdf5
from labelbench.common.errors import UserError

CHUNK = 8192  # rows, so that no step holds a large pool in memory


def create(file, name, rows, dim):
    """A contiguous float16 dataset of shape (rows, dim) in an open HDF5 file, to be filled batch by batch."""
    return file.create_dataset(name, shape=(rows, dim), dtype="<f2")


def check_finite(name, batch):
    """Raise `UserError` if a batch does not survive float16."""
    if not np.isfinite(batch).all():
        raise UserError(
            f"Embeddings of {name} hold values that float16 cannot (NaN, or above 65504). "
            "Is this the right checkpoint? Try the encoder's embedding after projection (projection: true)."
        )


def write(file, names, rows, dim, batches):
    """Write the datasets `names`, each (rows, dim) float16, from `batches`: tuples of (n, dim) arrays, one per name."""
    outputs, done = [create(file, name, rows, dim) for name in names], 0
    for batch in batches:
        for name, output, values in zip(names, outputs, batch, strict=True):
            half = values.astype(np.float16)
            check_finite(name, half)
            output[done : done + len(half)] = half
        done += len(half)


def write_standardisation(file):
    """Write `mean` and `std` (d,) float32 of the dataset `pool`, summed in float64 and by chunks.

    A dimension that never varies carries nothing, and dividing by its deviation would be 0/0: it gets 1.
    """
    pool = file["pool"]
    mean = sum(chunk.sum(0, dtype=np.float64) for (chunk,) in _chunks([pool])) / len(pool)
    std = np.sqrt(sum(np.square(chunk - mean).sum(0) for (chunk,) in _chunks([pool])) / len(pool))
    file["mean"] = mean.astype(np.float32)
    file["std"] = np.where(std > 1e-6, std, 1.0).astype(np.float32)


def describe(file, attributes):
    """Write attributes in alphabetical order: with another order, HDF5 writes other bytes."""
    for name in sorted(attributes):
        file.attrs[name] = attributes[name]


def _chunks(datasets):
    """Yields the next rows of datasets of equal length, as a tuple of arrays."""
    for begin in range(0, len(datasets[0]), CHUNK):
        yield tuple(dataset[begin : begin + CHUNK] for dataset in datasets)


def gather(path, shards):
    """Write the embedding file whose parts are the files `shards`, in order: the bytes of a file made in one piece.

    Raises `UserError` if the shards are not of one making (weights, dataset, preprocessing, precision, settings, code).
    """
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(hdf5.read(shard, "embed_shard")) for shard in shards]
        attributes = {key: value for key, value in parts[0].attrs.items() if key != hdf5.DIGEST}
        for shard, part in zip(shards, parts, strict=True):
            if different := sorted(key for key in attributes if part.attrs.get(key) != attributes[key]):
                raise UserError(
                    f"{shards[0]} and {shard} were not made alike: they differ in {', '.join(different)}. Were they "
                    "made on different kinds of machines? Delete both and run Snakemake again."
                )
        file = stack.enter_context(hdf5.create(path))
        for names in [["weak", "strong"]] if "weak" in parts[0] else [[name] for name in parts[0]]:
            rows = sum(len(part[names[0]]) for part in parts)
            batches = (chunk for part in parts for chunk in _chunks([part[name] for name in names]))
            write(file, names, rows, parts[0][names[0]].shape[1], batches)
        if "pool" in file:
            write_standardisation(file)
        describe(file, attributes)


def read(path, name, fingerprint):
    """Rows of one dataset of an embedding file: (n, d) float16, a memory map shared by all jobs of a machine.

    Raises `UserError` if the file was made from another dataset.
    """
    with hdf5.read(path, "embed") as file:
        if file.attrs["fingerprint"] != fingerprint:
            raise UserError(
                f"The embeddings {path} belong to another dataset (fingerprint {file.attrs['fingerprint']}, "
                f"expected {fingerprint}). Delete the file{_cached(path)} and run Snakemake again."
            )
    return mapped(path, name)


def mapped(path, name):
    """One dataset of an embedding file as a memory map: (n, d) float16."""
    with hdf5.read(path, "embed") as file:
        data = file[name]
        if data.size == 0:
            return data[()]
        offset, shape = data.id.get_offset(), data.shape
    # Copy-on-write keeps the file as it is and gives torch the writable memory that it asks for.
    return np.memmap(Path(path), dtype="<f2", mode="c", offset=offset, shape=shape)


def _cached(path):
    """Names what a link into the cache between workflows leads to: it would come back."""
    return f" and {path.resolve()}, which it links to," if (path := Path(path)).is_symlink() else ""


def standardisation(path):
    """Mean and standard deviation (d,) float32 of the clean pool embeddings; constant dimensions have deviation 1."""
    with hdf5.read(path, "embed") as file:
        return file["mean"][()], file["std"][()]
