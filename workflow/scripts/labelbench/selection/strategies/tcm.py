"""TCM: TypiClust for the first batches, then margin sampling (Doucet et al. 2024)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool
from labelbench.selection.strategies import margin, typiclust

USES = ("features", "probabilities")


@dataclass(frozen=True)
class Config:
    """batches: of how many batches TypiClust buys the labels, the first one included, before margin takes over."""

    batches: int = 3

    def __post_init__(self):
        if self.batches < 0:
            raise ValueError(f"batches is {self.batches}; it must not be negative")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: of the strategy whose turn it is."""
    strategy = typiclust if sizes.labelled < config.batches * sizes.budget else margin
    return strategy.memory(strategy.Config(), sizes)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, typical ones at first and uncertain ones later: (budget,) int64.

    While fewer than `batches`·`budget` labels are bought, those of `typiclust`, then those of `margin`, in their order
    and at their cost. The paper counts steps and recommends few of TypiClust where features are pretrained; a strategy
    sees no steps, only how many labels there are, which is the same where the first batch is as large as the others.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Doucet, Estermann, Aczel & Wattenhofer, "Bridging diversity and uncertainty in active learning with self-supervised
    pre-training", ICLR 2024 workshop PML4LRS (arXiv 2403.03728).
    """
    pool.check_budget(budget)
    if len(pool.labelled) < config.batches * budget:
        return typiclust.select(pool, budget, typiclust.Config(), rng)
    return margin.select(pool, budget, margin.Config(), rng)
