"""Class-balanced random sampling: as many examples of each class as the model's guesses allow."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool
from labelbench.selection.strategies._turns import in_turn

USES = ("probabilities",)


@dataclass(frozen=True)
class Config:
    """No settings."""


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: one chunk only."""
    return 0


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, an equal share for each guessed class: (budget,) int64.

    The guess is the most probable class, of equal ones the first. Within a class the examples are drawn uniformly
    without replacement. What a class with too few guesses cannot give is shared evenly among the others, and a random
    order of the classes decides who gets what cannot be shared evenly. Made for the first round, where the guesses are
    those of a zero-shot head and cost no label; works in any round. O(UK) time, one chunk of the pool in memory.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Random sampling balanced by predicted class is the baseline "balanced random" of Emam et al., "Active learning at
    the ImageNet scale", 2021 (arXiv 2111.12880), there with true labels; that zero-shot guesses can stand in for them:
    Bang et al., "Active prompt learning in vision language models", CVPR 2024 (arXiv 2311.11178).
    """
    pool.check_budget(budget)
    guess = np.empty(len(pool.unlabelled), dtype=np.int64)
    for rows, _, probabilities in pool.chunks(pool.unlabelled):
        guess[rows] = probabilities.argmax(1).cpu().numpy()
    shuffled = rng.permutation(len(guess))
    return pool.unlabelled[shuffled[in_turn(guess[shuffled], rng.permutation(pool.num_classes), budget)]]
