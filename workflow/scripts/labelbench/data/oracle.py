"""The oracle: the only way from an unlabelled example to its label."""

import numpy as np

from labelbench.common.errors import UserError


def check_budget(name, initial, total, pool, classes):
    """What to note of a budget that buys fewer labels at first than a dataset has classes, else "".

    initial: labels of the first round; total: of all rounds; pool: images; classes: their number. Raises `UserError`
    where the pool is smaller than the budget.
    """
    if total > pool:
        raise UserError(
            f"The budget of {name} is larger than its pool: {total} labels in all rounds together, of {pool} examples. "
            "Lower initial, batches or rounds under `budgets` in the config."
        )
    if initial >= classes:
        return ""
    return (
        f"The first round of {name} buys {initial} labels, fewer than its {classes} classes: no model knows the "
        "classes that none of them is of, unless it begins with a zero-shot head."
    )


class Oracle:
    """Sells labels of the pool, and never more than the budget.

    labels: (N,) int64, the answer an annotator would give for each example of the pool, −1 where nobody knows it;
    budget: labels for sale; source: (N,) int64 positions in the image source, by which an error names examples (their
    positions in the pool unless given).
    """

    def __init__(self, labels, budget, source=None):
        self._labels = labels
        self._source = np.arange(len(labels)) if source is None else source
        self._sold = set()
        self.budget = budget
        self.bought = []

    def buy(self, indices):
        """Labels (n,) int64 of these pool positions.

        Raises `ValueError` beyond the budget or for a second purchase, `UserError` for an example without an answer.
        """
        indices = np.atleast_1d(np.asarray(indices, dtype=np.int64))
        wanted = indices.tolist()
        if len(self.bought) + len(wanted) > self.budget:
            raise ValueError(
                f"{len(self.bought) + len(wanted)} labels asked of an oracle with a budget of {self.budget}"
            )
        if len(set(wanted)) < len(wanted) or not self._sold.isdisjoint(wanted):
            raise ValueError("a label is bought twice")
        if len(unknown := indices[self._labels[indices] < 0]):
            numbers = ", ".join(str(at + 1) for at in sorted(self._source[unknown])[:10])
            raise UserError(
                f"{len(unknown)} of the {len(wanted)} labels to buy do not exist: the dataset's images number {numbers}"
                f"{', …' if len(unknown) > 10 else ''} have none (rows of a table, its header not counted). A study "
                "plays the annotator with the labels it is given: fill them in, or take those images out of the pool."
            )
        self._sold.update(wanted)
        self.bought += wanted
        return self._labels[indices]

    @property
    def answers(self):
        """Labels (n,) int64 of everything bought so far, in that order."""
        return self._labels[np.array(self.bought, dtype=np.int64)]
