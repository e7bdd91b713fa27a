"""A shortlist: the part of a large pool that an expensive strategy gets to see. What it costs: docs/strategies.md."""

from dataclasses import dataclass, replace

import numpy as np

from labelbench.common.errors import UserError
from labelbench.selection.pool import Pool
from labelbench.selection.strategies import margin

# What each way of choosing asks of the pool.
WAYS = {"margin": ("probabilities",), "random": (), "kmeans": ("features",)}

# Examples, drawn at random, that the centres of k-means cells come from.
SAMPLE = 50_000


@dataclass(frozen=True)
class Config:
    """by: `margin`, those of smallest margin; `random`; `kmeans`, at random an equal share of each of `cells` k-means
    cells; or several of these, whose union it is, each with an equal share. size: examples on the list, at most."""

    by: str | tuple[str, ...] = "margin"
    size: int = 500_000
    cells: int = 1000

    def __post_init__(self):
        if unknown := [way for way in ways(self) if way not in WAYS]:
            raise ValueError(f"by must be among {', '.join(WAYS)}, and not {', '.join(unknown)}")
        if repeated := [way for at, way in enumerate(ways(self)) if way in ways(self)[:at]]:
            raise ValueError(f"by names {repeated[0]} twice. Each way gives an equal share, so name it once")
        if not ways(self) or self.size < len(ways(self)) or self.cells < 1:
            raise ValueError("by names at least one way; size and cells are at least 1, and size no less than the ways")


def ways(config):
    """The ways of choosing, as a tuple."""
    return (config.by,) if isinstance(config.by, str) else tuple(config.by)


def uses(config):
    """What the shortlist asks of the pool, as `USES` of a strategy."""
    return tuple(dict.fromkeys(use for way in ways(config) for use in WAYS[way]))


def check_budget(config, budget, unlabelled=None):
    """Raise UserError where a way's share is smaller than the batch, of a pool that is longer than the list.

    unlabelled: examples of the pool; None where they are not known, and then refused is only what no pool allows.
    """
    chosen = ways(config)
    share = config.size // len(chosen)
    cut = config.size < (budget if unlabelled is None else unlabelled)
    if share < budget and cut:
        of = f"each of {', '.join(chosen)}" if len(chosen) > 1 else chosen[0]
        raise UserError(
            f"shortlist: {share} examples by {of} are fewer than the batch of {budget}. Raise its size to "
            f"{budget * len(chosen)} or more."
        )


def shortened(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> Pool:
    """The pool with the shortlist as its unlabelled examples; the pool itself where that is no longer than the list.

    A way's share is size divided by the number of ways; examples that two ways name count once, so that the union can
    be shorter. One pass over the pool for `margin` and for `kmeans` each, O(size) memory beyond the features of
    `SAMPLE` examples. Raises UserError where a share is smaller than `budget`.
    """
    number = len(pool.unlabelled)
    if config.size >= number:
        return pool
    check_budget(config, budget, number)
    chosen = ways(config)
    share = config.size // len(chosen)
    choose = {"margin": _by_margin, "random": _at_random, "kmeans": _by_cells}
    found = [choose[way](pool, share, config, rng) for way in chosen]
    return replace(pool, unlabelled=np.unique(np.concatenate(found)))


def _by_margin(pool, share, config, rng):
    return margin.select(pool, share, margin.Config(), rng)


def _at_random(pool, share, config, rng):
    return rng.choice(pool.unlabelled, share, replace=False)


def _by_cells(pool, share, config, rng):
    """An equal share of each cell; of cells that have fewer, all, and their rest is shared by the others."""
    import torch

    from labelbench.selection import clustering

    sample = rng.choice(pool.unlabelled, min(SAMPLE, len(pool.unlabelled)), replace=False)
    x = pool.features(np.sort(sample))
    torch.nn.functional.normalize(x, dim=1, out=x)
    centres, _ = clustering.k_means(x, min(config.cells, len(x)), rng)
    cell = np.empty(len(pool.unlabelled), dtype=np.int64)
    for rows, features in pool.feature_chunks(pool.unlabelled):
        products = torch.nn.functional.normalize(features, dim=1) @ centres.T
        cell[rows] = (centres.square().sum(1) - 2 * products).argmin(1).cpu().numpy()
    # Ranks in a random order within each cell: the lowest ranks of all cells together are equal shares.
    shuffled = rng.permutation(len(cell))
    order = shuffled[np.argsort(cell[shuffled], kind="stable")]
    starts = np.cumsum(np.bincount(cell)) - np.bincount(cell)
    rank = np.empty(len(cell), dtype=np.int64)
    rank[order] = np.arange(len(cell)) - starts[cell[order]]
    return pool.unlabelled[np.lexsort((shuffled.argsort(), rank))[:share]]
