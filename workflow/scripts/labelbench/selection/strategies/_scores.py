"""What the strategies that sort by a score share. They hold the batch and a chunk of the pool, never all scores."""

import numpy as np

from labelbench.selection.pool import Pool


class Smallest:
    """The `count` smallest of many things that come in pieces, by one or several keys; of equal ones the earlier.

    Memory for twice the count, or 65,536 where that is more.
    """

    def __init__(self, count):
        self.count = count
        self._room = max(2 * count, 1 << 16)
        self._keys, self._positions, self._seen = None, np.empty(0, dtype=np.int64), 0

    def add(self, *keys):
        """The next things, by their keys: arrays (m,) of floats, the one that decides first coming first."""
        positions = np.arange(self._seen, self._seen + len(keys[0]))
        self._seen += len(keys[0])
        if self._keys is None:
            self._keys, self._positions = keys, positions
        else:
            self._keys = tuple(np.concatenate(pair) for pair in zip(self._keys, keys, strict=True))
            self._positions = np.concatenate([self._positions, positions])
        if len(self._positions) > self._room:
            self._reduce()

    def _reduce(self):
        order = np.lexsort((self._positions, *self._keys[::-1]))[: self.count]
        self._keys, self._positions = tuple(key[order] for key in self._keys), self._positions[order]

    def positions(self):
        """Positions of the smallest among all that were added: int64, smallest first."""
        self._reduce()
        return self._positions


def smallest(pool: Pool, budget: int, score) -> np.ndarray:
    """Indices of the `budget` unlabelled examples of smallest score, smallest first, of equal ones the lower index.

    score: callable from probabilities (m, K), a float32 tensor, to a float32 tensor (m,).
    Raises UserError if fewer than `budget` examples are unlabelled.
    """
    pool.check_budget(budget)
    found = Smallest(budget)
    for _, _, probabilities in pool.chunks(pool.unlabelled):
        found.add(score(probabilities).cpu().numpy())
    return pool.unlabelled[found.positions()]
