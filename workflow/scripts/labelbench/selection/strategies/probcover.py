"""ProbCover: greedy coverage with balls of one radius (Yehuda et al. 2022)."""

import math
from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features",)


@dataclass(frozen=True)
class Config:
    """delta: radius of the balls, between features of unit length; None: from the purity, as in the paper.
    purity: α, the share of the balls that must lie within one k-means cluster.
    largest_part: more unlabelled examples than this are covered in random parts, see `selection.coverage.select`; δ
    then comes from as many examples of the pool."""

    delta: float | None = None
    purity: float = 0.95
    largest_part: int = 50_000

    def __post_init__(self):
        if self.delta is not None and self.delta <= 0:
            raise ValueError(f"delta is {self.delta}; it must be positive")
        if not 0 < self.purity <= 1:
            raise ValueError(f"purity is {self.purity}; it must be above 0 and at most 1")
        if self.largest_part < 1:
            raise ValueError(f"largest_part is {self.largest_part}; it must be at least 1")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: of the coverage, or of the radius that comes before."""
    if config.delta is not None:
        return sizes.coverage(config.largest_part)
    return max(sizes.coverage(config.largest_part), 5 * sizes.features(min(sizes.examples, config.largest_part)))


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples whose balls cover most of the pool: (budget,) int64, in pick order.

    Each pick is the example with the most uncovered ones closer than δ; the balls of labelled examples are covered from
    the start. δ is the largest radius for which a share α of all balls hold one cluster only, of k-means into as many
    clusters as there are classes: a quantile of the distances to the nearest example of another cluster, found without
    a grid search. Of equal gains the lower index comes first. Once everything is covered the rest is drawn uniformly:
    the paper leaves that open, and by index it would follow the order of the files.
    Cost and memory as those of `maxherding`; `rng` also seeds k-means.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Yehuda et al., "Active learning through a covering lens", NeurIPS 2022.
    """
    pool.check_budget(budget)
    from labelbench.selection import coverage

    delta = config.delta
    if delta is None:
        everything = np.sort(np.concatenate([pool.labelled, pool.unlabelled]))
        if len(everything) > config.largest_part:
            everything = np.sort(rng.choice(everything, config.largest_part, replace=False))
        delta = pure_radius(coverage.unit(pool.features(everything)), pool.num_classes, config.purity, rng)
    return coverage.select(pool, budget, coverage.Ball(delta), rng, largest_part=config.largest_part)


def pure_radius(x, num_classes, purity, rng):
    """The largest δ for which open balls around at least a share `purity` of x, (n, d) float64 unit vectors, are pure:
    they hold one of `num_classes` k-means clusters only. Infinite where there is one cluster."""
    from labelbench.selection import clustering, coverage

    _, cluster = clustering.k_means(x.float(), min(num_classes, len(x)), rng)
    radii = np.sort(coverage.nearest_of_others(x, cluster).sqrt().cpu().numpy())[::-1]
    # The first ⌈αn⌉ balls are pure up to the radius of the last of them.
    return float(radii[math.ceil(round(purity * len(x), 6)) - 1])
