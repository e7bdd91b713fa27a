"""The oracle: the only way from an unlabelled example to its label."""

import numpy as np


class Oracle:
    """Sells labels of the pool, and never more than the budget.

    labels: (N,) int64, the answer an annotator would give for each example of the pool; budget: labels for sale.
    """

    def __init__(self, labels, budget):
        self._labels = labels
        self.budget = budget
        self.bought = []

    def buy(self, indices):
        """Labels (n,) int64 of these pool positions. Raises `ValueError` beyond the budget or for a second purchase."""
        indices = np.atleast_1d(np.asarray(indices, dtype=np.int64))
        wanted = [*self.bought, *indices.tolist()]
        if len(wanted) > self.budget:
            raise ValueError(f"{len(wanted)} labels asked of an oracle with a budget of {self.budget}")
        if len(set(wanted)) < len(wanted):
            raise ValueError("a label is bought twice")
        self.bought = wanted
        return self._labels[indices]
