"""Trainings that came to nothing, told from their history."""

import math

import pytest

from labelbench.training.collapse import collapsed


def history(accuracies, losses=None, train=None):
    n = len(accuracies)
    losses, train = losses or [1.0] * n, train or [1.0] * n
    return [
        {"val_accuracy": a, "val_loss": loss, "train_loss": t}
        for a, loss, t in zip(accuracies, losses, train, strict=True)
    ]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (history([0.4, 0.6, 0.59]), 0),
        (history([0.4, 0.6, 0.31]), 0),  # a bad epoch is none
        (history([0.4, 0.6, 0.04]), 1),
        (history([0.4, 0.6, 0.59], losses=[1.0, 0.9, math.nan]), 1),
        (history([math.nan] * 2, train=[1.0, 0.4]), 0),
        (history([math.nan] * 2, train=[1.0, 2.5]), 1),
        (history([math.nan] * 2, train=[1.0, math.inf]), 1),
    ],
)
def test_a_training_that_came_to_nothing_is_noticed(epochs, expected):
    assert collapsed(epochs) == expected
