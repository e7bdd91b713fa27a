"""Embedding files: float16 matrices that are memory-mapped when read, with what made them in their attributes."""

from pathlib import Path

import numpy as np

from labelbench import hdf5
from labelbench.errors import UserError


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


def read(path, name, fingerprint):
    """Rows of one dataset of an embedding file: (n, d) float16, a memory map shared by all jobs of a machine.

    Raises `UserError` if the file was made from another dataset.
    """
    with hdf5.read(path, "embed") as file:
        if file.attrs["fingerprint"] != fingerprint:
            raise UserError(
                f"The embeddings {path} belong to another dataset (fingerprint {file.attrs['fingerprint']}, "
                f"expected {fingerprint}). Delete the file and run Snakemake again."
            )
        data = file[name]
        if data.size == 0:
            return data[()]
        offset, shape = data.id.get_offset(), data.shape
    # Copy-on-write keeps the file as it is and gives torch the writable memory that it asks for.
    return np.memmap(Path(path), dtype="<f2", mode="c", offset=offset, shape=shape)


def standardisation(path):
    """Mean and standard deviation (d,) float32 of the clean pool embeddings; constant dimensions have deviation 1."""
    with hdf5.read(path, "embed") as file:
        return file["mean"][()], file["std"][()]
