"""The oracle: the only way from an unlabelled example to its label."""

import numpy as np


class Oracle:
    """Sells labels of the pool, and never more than the budget.

    labels: (N,) int64, the answer an annotator would give for each example of the pool; budget: labels for sale.
    """

    def __init__(self, labels, budget):
        self._labels = labels
        self._sold = set()
        self.budget = budget
        self.bought = []

    def buy(self, indices):
        """Labels (n,) int64 of these pool positions. Raises `ValueError` beyond the budget or for a second purchase."""
        indices = np.atleast_1d(np.asarray(indices, dtype=np.int64))
        wanted = indices.tolist()
        if len(self.bought) + len(wanted) > self.budget:
            raise ValueError(
                f"{len(self.bought) + len(wanted)} labels asked of an oracle with a budget of {self.budget}"
            )
        if len(set(wanted)) < len(wanted) or not self._sold.isdisjoint(wanted):
            raise ValueError("a label is bought twice")
        self._sold.update(wanted)
        self.bought += wanted
        return self._labels[indices]

    @property
    def answers(self):
        """Labels (n,) int64 of everything bought so far, in that order."""
        return self._labels[np.array(self.bought, dtype=np.int64)]
