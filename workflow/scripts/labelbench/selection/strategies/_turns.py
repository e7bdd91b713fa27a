"""What the strategies share that take from several groups in turn."""

import numpy as np


def in_turn(group: np.ndarray, turn: np.ndarray, budget: int) -> np.ndarray:
    """Positions (budget,) int64 of examples taken one from each group in turn, until there are `budget` of them.

    group: (n,) int64, the group of every example; each gives its examples in their order here, and is skipped once it
    has none left. turn: (groups,) int64, the place of every group in a cycle. O(n log n) time.
    """
    by_group = np.argsort(group, kind="stable")
    ordered = group[by_group]
    cycle = np.empty_like(ordered)
    cycle[by_group] = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return np.lexsort((turn[group], cycle))[:budget]
