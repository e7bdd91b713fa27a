"""Matrices and columns in files that other programs wrote: NumPy, HDF5, safetensors, Parquet, CSV.

A matrix is read in consecutive blocks of rows and never held as a whole.
"""

import fnmatch
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelbench.common.errors import UserError, did_you_mean
from labelbench.data import contents, tables

BLOCK = 8192  # rows that are read at a time
MATRICES = (".npy", ".h5", ".hdf5", ".safetensors", ".parquet")


@dataclass(frozen=True)
class Matrix:
    """A matrix in a file: `rows` and `dim`, and `read()`, which yields its rows in order, (≤ 8192, dim) floats each."""

    rows: int
    dim: int
    read: Callable[[], Iterator[np.ndarray]]


def matrix(path, name):
    """The `Matrix` in a file; `name` is that of the array or column, where the format has names.

    In a Parquet file that is a column of lists, or a pattern (`f*`) of columns of numbers, in the order of the file.
    Raises `UserError` for a file that is not there, has another format, no such array, or no matrix of floats in it.
    """
    kind = _kind(path, MATRICES)
    found = {
        ".npy": _numpy_matrix,
        ".h5": _hdf5_matrix,
        ".hdf5": _hdf5_matrix,
        ".safetensors": _safetensors_matrix,
        ".parquet": _parquet_matrix,
    }[kind](path, name)
    if not found.rows or not found.dim:
        raise UserError(f"The matrix in {path} is empty: {found.rows} rows of {found.dim} numbers.")
    return found


def column(path, name, separator=","):
    """The values (n,) of an array or column: text (object, empty where nothing stands) or whole numbers (int64).

    path: any of the formats of `matrix`, or CSV with this separator; of a .npy file the name is not used.
    Raises `UserError` as `matrix` does.
    """
    kind = _kind(path, (*MATRICES, ".csv", ".tsv", ".txt"))
    if kind == ".npy":
        return _plain(path, name, _load(path))
    if kind in (".h5", ".hdf5"):
        import h5py

        with _opened(path, lambda: h5py.File(path, "r", locking=False)) as file:
            data = _named(path, name, file)
            return _plain(path, name, data.asstr()[()] if h5py.check_string_dtype(data.dtype) else data[()])
    if kind == ".safetensors":
        with _safetensors(path) as file:
            _check_name(path, name, list(file.keys()))
            return _plain(path, name, file.get_tensor(name))
    return _table_column(path, name, kind, separator)


def columns_of(path, separator=","):
    """Names of the arrays or columns of a file; none of a .npy file."""
    kind = _kind(path, (*MATRICES, ".csv", ".tsv", ".txt"))
    if kind == ".npy":
        return []
    if kind in (".h5", ".hdf5"):
        import h5py

        with _opened(path, lambda: h5py.File(path, "r", locking=False)) as file:
            return list(file)
    if kind == ".safetensors":
        with _safetensors(path) as file:
            return list(file.keys())
    if kind == ".parquet":
        return _parquet(path).schema_arrow.names
    import pandas as pd

    return list(_opened(path, lambda: pd.read_csv(path, sep=separator, dtype=str, nrows=0, encoding="utf-8-sig")))


def check_there(path):
    """Raises `UserError` where there is no file."""
    if not Path(path).is_file():
        raise contents.missing(path, path, "Name the file in this dataset's settings in the config.")


def _kind(path, known):
    check_there(path)
    kind = Path(path).suffix.lower()
    if kind not in known:
        raise UserError(f"{path}: the formats that are read end in {', '.join(known)}. Save it as one of them.")
    if kind in (".csv", ".tsv", ".txt", ".parquet"):
        tables.refuse_wrong_ending(path, path)
    return kind


def _opened(path, read):
    """What `read` returns; its error as a `UserError` that names the file."""
    try:
        return read()
    except UserError:
        raise
    except Exception as error:  # every reader has errors of its own
        raise UserError(f"{path} cannot be read: {error}. Is it whole, and of the format that its name says?") from None


def _check_name(path, name, names):
    if name not in names:
        raise UserError(
            f"{path} holds no {name!r}.{did_you_mean(name, names)} It holds: {', '.join(names) or 'nothing'}."
        )


def _named(path, name, file):
    _check_name(path, name, list(file))
    return file[name]


def _check_floats(path, shape, kind):
    if len(shape) != 2 or kind != "f":
        raise UserError(
            f"{path}: a matrix of floats with a row per example is needed, not an array of shape {tuple(shape)} of "
            f"{'floats' if kind == 'f' else 'other numbers or text'}."
        )


def _in_blocks(rows, read):
    """A function that yields read(begin, end) for consecutive blocks."""
    return lambda: (read(begin, min(begin + BLOCK, rows)) for begin in range(0, rows, BLOCK))


def _load(path):
    return _opened(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))


def _numpy_matrix(path, name):
    data = _load(path)
    _check_floats(path, data.shape, data.dtype.kind)
    return Matrix(*data.shape, _in_blocks(len(data), lambda begin, end: np.asarray(data[begin:end])))


def _hdf5_matrix(path, name):
    import h5py

    with _opened(path, lambda: h5py.File(path, "r", locking=False)) as file:
        data = _named(path, name, file)
        shape = data.shape
        _check_floats(path, shape, data.dtype.kind)

    def read():
        with h5py.File(path, "r", locking=False) as file:
            for begin in range(0, shape[0], BLOCK):
                yield file[name][begin : begin + BLOCK]

    return Matrix(*shape, read)


def _safetensors(path):
    from safetensors import safe_open

    return _opened(path, lambda: safe_open(path, framework="np"))


def _safetensors_matrix(path, name):
    with _safetensors(path) as file:
        _check_name(path, name, list(file.keys()))
        part = file.get_slice(name)
        shape, kind = part.get_shape(), part.get_dtype()
    if kind not in ("F16", "F32", "F64"):
        raise UserError(f"{path}: {name} is of type {kind}; float16, float32 and float64 are read. Convert it.")
    _check_floats(path, shape, "f")

    def read():
        with _safetensors(path) as file:
            part = file.get_slice(name)
            for begin in range(0, shape[0], BLOCK):
                yield part[begin : min(begin + BLOCK, shape[0])]

    return Matrix(*shape, read)


def _parquet(path):
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{path} needs a reader: pip install pyarrow. Or save it in another format.") from None
    return _opened(path, lambda: parquet.ParquetFile(path))


def _parquet_matrix(path, name):
    file = _parquet(path)
    names = file.schema_arrow.names
    chosen = [name] if name in names else fnmatch.filter(names, name)
    if not chosen:
        _check_name(path, name, names)

    def blocks():
        for batch in _parquet(path).iter_batches(batch_size=BLOCK, columns=chosen):
            yield _numbers(path, batch, chosen)

    first = next(blocks(), np.empty((0, 0)))
    return Matrix(file.metadata.num_rows, first.shape[1], lambda: _of_one_width(path, blocks(), first.shape[1]))


def _numbers(path, batch, names):
    """(n, d) floats of a batch of Parquet rows: of one column of lists, or of several columns of numbers."""
    columns = [batch.column(name) for name in names]
    if len(columns) == 1 and hasattr(columns[0], "flatten") and "list" in str(columns[0].type):
        values = columns[0].flatten().to_numpy(zero_copy_only=False)
        if len(values) % len(batch):
            raise UserError(f"{path}: the lists in the column {names[0]!r} are not of one length.")
        return values.reshape(len(batch), -1)
    if text := [n for n, c in zip(names, columns, strict=True) if not _is_number(c.type)]:
        raise UserError(f"{path}: these columns hold no numbers: {', '.join(text[:5])}.")
    return np.column_stack([c.to_numpy(zero_copy_only=False).astype(np.float32) for c in columns])


def _is_number(kind):
    import pyarrow as pa

    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _of_one_width(path, blocks, dim):
    for block in blocks:
        if block.shape[1] != dim:
            raise UserError(f"{path}: its rows are not of one length ({dim}, and {block.shape[1]} further down).")
        yield block


def _table_column(path, name, kind, separator):
    import pandas as pd

    _check_name(path, name, columns_of(path, separator))
    if kind == ".parquet":
        values = _opened(path, lambda: pd.read_parquet(path, columns=[name]))[name]
        # Whole numbers with gaps come as floats otherwise, and their labels as "3.0".
        values = values.convert_dtypes()
        if pd.api.types.is_integer_dtype(values.dtype) and not values.isna().any():
            return values.to_numpy(dtype=np.int64)
        return values.astype("string").fillna("").to_numpy(dtype=object)
    # Text as it stands: "NA" and "null" may be classes, "007" is not 7.
    read = {"sep": separator, "dtype": str, "keep_default_na": False, "usecols": [name], "encoding": "utf-8-sig"}
    values = _opened(path, lambda: pd.read_csv(path, **read))[name]
    return values.fillna("").str.strip().to_numpy(dtype=object)


def _plain(path, name, values):
    """Values as text (object) or int64. Raises `UserError` where they are neither."""
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1 and values.dtype.kind in "iub":
        return values.astype(np.int64)
    if values.ndim == 1 and values.dtype.kind in "USO":
        text = values.astype("U") if values.dtype.kind == "S" else values
        return np.array([str(value).strip() for value in text], dtype=object)
    raise UserError(
        f"{path}: {name or 'it'} must be a column of whole numbers or text, not of shape {values.shape} and type "
        f"{values.dtype}."
    )
