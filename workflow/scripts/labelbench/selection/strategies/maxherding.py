"""MaxHerding: greedy coverage with a Gaussian kernel (Bae et al. 2024)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features",)


@dataclass(frozen=True)
class Config:
    """sigma: width of the kernel exp(−‖x − y‖²/σ²) between features of unit length. The paper's is 1.
    largest_part: more unlabelled examples than this are covered in random parts, see `selection.coverage.select`."""

    sigma: float = 1.0
    largest_part: int = 50_000

    def __post_init__(self):
        if self.sigma <= 0:
            raise ValueError(f"sigma is {self.sigma}; it must be positive")
        if self.largest_part < 1:
            raise ValueError(f"largest_part is {self.largest_part}; it must be at least 1")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`."""
    return sizes.coverage(config.largest_part)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples that cover the pool, each the one that adds most: (budget,) int64.

    The coverage of the labelled and picked examples S is the mean over the pool of max over s in S of k(x, s). Of equal
    gains the lower index comes first. `rng` cuts a large pool into parts, and draws the rest once all is covered. With
    n = min(U, `largest_part`), O(U·(n + L)·d) time and O((n + L)d) memory (`selection.coverage`).
    Raises UserError if fewer than `budget` examples are unlabelled.
    Bae, Noh & Sutherland, "Generalized coverage for more robust low-budget active learning", ECCV 2024.
    """
    pool.check_budget(budget)
    from labelbench.selection import coverage

    return coverage.select(pool, budget, coverage.Gaussian(config.sigma), rng, largest_part=config.largest_part)
