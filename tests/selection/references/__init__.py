"""Plain references: what the strategies must pick, written from the papers, for reading and not for speed.

One file per strategy with `select(view, budget, config, rng)` (SEQUENTIAL ones also take `oracle`), which returns
(budget,) indices into the pool in pick order, and `SAME_PICKS`: whether the strategy makes exactly these picks for the
same generator. Where it is False, both draw from the same distribution, and a test compares it.
"""

import importlib
from typing import NamedTuple

import numpy as np


class View(NamedTuple):
    """The pool as float64 arrays: features (N, d), probabilities (N, K), the labelled indices and labels (L,), K,
    and the model's last layer, weight (K, d) and bias (K,)."""

    features: np.ndarray
    probabilities: np.ndarray
    labelled: np.ndarray
    labels: np.ndarray
    num_classes: int
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def unlabelled(self):
        return np.setdiff1d(np.arange(len(self.features)), self.labelled)


def load(name):
    """The reference of a strategy."""
    return importlib.import_module(f"references.{name}")


def smallest(view, scores, budget):
    """The unlabelled examples of smallest score, of equal ones the lower index first."""
    return np.array(sorted(view.unlabelled, key=lambda i: (scores[i], i))[:budget], dtype=np.int64)
