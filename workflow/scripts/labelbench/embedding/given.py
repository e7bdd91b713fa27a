"""Embeddings that a dataset brings along → embedding files like those that encoders make.

This stands in the place of an encoder, under the name `given`, for datasets that consist of embeddings.
"""

import numpy as np

from labelbench.common import hdf5, progress
from labelbench.common.errors import UserError
from labelbench.data.views import image_seed
from labelbench.embedding import embeddings

NAME = "given"


def files(config):
    """No weights belong to it."""
    return []


def has_text_tower(config):
    """Nobody knows what made the embeddings, so there is no zero-shot head."""
    return False


def write_clean(path, matrix, dataset, attributes):
    """Write the embedding file of the clean view: each split's rows of a `feature_files.Matrix`, in one pass."""
    with hdf5.create(path) as file:
        sources = {name: split.source for name, split in sorted(dataset.splits.items())}
        outputs = {name: embeddings.create(file, name, len(source), matrix.dim) for name, source in sources.items()}
        _copy(matrix, [(outputs[name], source) for name, source in sources.items()])
        embeddings.write_standardisation(file)
        embeddings.describe(file, attributes)


def write_copies(path, matrices, dataset, attributes):
    """Write the embedding file of augmented views from the matrices of weak and strong copies."""
    source = dataset.splits["pool"].source
    with hdf5.create(path) as file:
        for name, matrix in zip(("weak", "strong"), matrices, strict=True):
            _copy(matrix, [(embeddings.create(file, name, len(source), matrix.dim), source)])
        embeddings.describe(file, attributes)


def write_views(path, clean, dataset, views, attributes):
    """Write the embedding file of augmented views: the rows of the file `clean` with noise and dropout.

    views: `Views` of the dataset's plug-in. The draws of a row depend on the dataset, the view's name in `attributes`
    and the row's block of 8192.
    """
    pool = embeddings.read(clean, "pool", dataset.fingerprint)
    mean, std = embeddings.standardisation(clean)

    def batches():
        for begin in range(0, len(pool), embeddings.CHUNK):
            rows = pool[begin : begin + embeddings.CHUNK].astype(np.float32)
            rng = np.random.default_rng(image_seed(dataset.fingerprint, attributes["view"], begin))
            weak = rows + views.weak_noise * std * rng.standard_normal(rows.shape, dtype=np.float32)
            strong = rows + views.strong_noise * std * rng.standard_normal(rows.shape, dtype=np.float32)
            dropped = rng.random(rows.shape, dtype=np.float32) < views.dropout
            yield weak, np.where(dropped, mean, strong)

    with hdf5.create(path) as file:
        embeddings.write(file, ["weak", "strong"], *pool.shape, batches())
        embeddings.describe(file, attributes)


def _copy(matrix, targets):
    """Copy rows of a matrix into float16 datasets. targets: (HDF5 dataset, ascending row numbers) pairs."""
    begin = 0
    with progress.track(matrix.rows, "features", "rows") as counter:
        for block in matrix.read():
            with np.errstate(over="ignore"):
                half = block.astype(np.float16)
            if not np.isfinite(half).all():
                row = begin + int(np.flatnonzero(~np.isfinite(half).all(1))[0])
                raise UserError(
                    f"Row {row + 1} of the features holds a value that float16 cannot (NaN, infinity, or above 65504), "
                    "in which embeddings are kept. Mend the row, or scale the features down."
                )
            for output, source in targets:
                first, end = np.searchsorted(source, [begin, begin + len(block)])
                if end > first:
                    output[first:end] = half[source[first:end] - begin]
            begin += len(block)
            counter.update(len(block))
