"""Features of a pool that lie in several files or arrays, read row by row as a strategy asks for them."""

from pathlib import Path

import numpy as np

from labelbench.common.errors import UserError

# Rows asked for that lie closer together than this many times their number are read in one piece.
SPARSE = 4


class NpyRows:
    """The rows of a matrix in a .npy file: `rows[indices]` reads them from disk, and keeps none of them.

    A memory map would do the same, but what was read of it counts as the process's memory until the system needs it.
    Raises `UserError` for a file that is no matrix.
    """

    def __init__(self, path):
        try:
            self._map = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as a NumPy array: {error}") from None
        if self._map.ndim != 2 or self._map.dtype.kind != "f":
            raise UserError(f"{path} must hold a matrix of floats, not {self._map.shape} of {self._map.dtype}.")
        self.shape, self.dtype, self._path = self._map.shape, self._map.dtype, Path(path)
        self._in_rows = self._map.flags.c_contiguous

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, indices):
        """(m, d) rows of an int64 array of m indices, in their order."""
        if not len(indices) or not self._in_rows:
            return self._map[indices]
        first, last = int(indices.min()), int(indices.max())
        if last - first >= SPARSE * len(indices):
            return self._map[indices]
        width = self.shape[1]
        with self._path.open("rb") as file:
            file.seek(self._map.offset + first * width * self.dtype.itemsize)
            block = np.fromfile(file, self.dtype, (last + 1 - first) * width).reshape(-1, width)
        return block[indices - first]


class Shards:
    """Several matrices of the same width as one, one below the other; each an array or anything like `NpyRows`."""

    def __init__(self, parts):
        self._parts = list(parts)
        widths = {part.shape[1] for part in self._parts}
        if len(widths) != 1:
            raise UserError(f"Shards of one pool have features of one width, not of {sorted(widths)}.")
        self._ends = np.cumsum([len(part) for part in self._parts])
        self.shape = (int(self._ends[-1]), widths.pop())

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, indices):
        """(m, d) rows of an int64 array of m indices, in their order."""
        indices = np.asarray(indices)
        part_of = np.searchsorted(self._ends, indices, side="right")
        if len(indices) and (part_of == part_of[0]).all():
            return self._rows(part_of[0], indices)
        found = None
        for part in np.unique(part_of):
            at = part_of == part
            rows = self._rows(part, indices[at])
            found = np.empty((len(indices), self.shape[1]), rows.dtype) if found is None else found
            found[at] = rows
        return np.empty((0, self.shape[1]), np.float32) if found is None else found

    def _rows(self, part, indices):
        begin = self._ends[part] - len(self._parts[part])
        return np.asarray(self._parts[part][indices - begin])
