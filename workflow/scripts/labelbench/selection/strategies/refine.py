"""REFINE: many strategies filter the pool again and again, and one picks from what is left (Huseljic et al. 2026)."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool
from labelbench.selection.strategies import (
    alfamix,
    badge,
    bait_binary,
    dropquery,
    margin,
    maxherding,
    random,
    typiclust,
    uherding,
)

USES = ("features", "probabilities", "head", "labels")

# Who filters. Imported by name, as the digest of this file's code follows such imports only.
FILTERS = {
    "random": random,
    "margin": margin,
    "badge": badge,
    "bait_binary": bait_binary,
    "typiclust": typiclust,
    "alfamix": alfamix,
    "dropquery": dropquery,
    "maxherding": maxherding,
    "uherding": uherding,
}


@dataclass(frozen=True)
class Config:
    """depth: passes of the filter. strategies: who filter, in turn, each with its default settings. proposals: batches
    in a pass, of all strategies together.

    subset: examples that a batch of the first pass is chosen from, drawn anew for each; null: from the whole pool,
    where each strategy proposes once. share: of what is left that a batch of a later pass is chosen from, drawn anew
    for each. largest: examples that a pass leaves at most, drawn at random where it would leave more.
    """

    depth: int = 5
    strategies: tuple[str, ...] = tuple(FILTERS)
    proposals: int = 100
    subset: int | None = 5000
    share: float = 0.4
    largest: int = 10_000

    def __post_init__(self):
        for name in ("proposals", "largest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.depth < 0:
            raise ValueError(f"depth must not be negative, not {self.depth}")
        if self.subset is not None and self.subset < 1:
            raise ValueError(f"subset must be at least 1, not {self.subset}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {self.share}")
        if not self.strategies:
            raise ValueError("strategies must name at least one strategy")
        if unable := [name for name in self.strategies if name not in FILTERS]:
            raise ValueError(f"strategies must be among {', '.join(FILTERS)}, and not {', '.join(unable)}")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: of the last pick, or of who filters."""
    seen = sizes.unlabelled if config.subset is None else max(config.subset, sizes.budget)
    seen = max(min(seen, sizes.unlabelled), round(config.share * min(config.largest, sizes.unlabelled)))
    part = dataclasses.replace(sizes, unlabelled=seen)
    last = dataclasses.replace(sizes, unlabelled=min(max(config.largest, sizes.budget), sizes.unlabelled))
    filters = [FILTERS[name].memory(FILTERS[name].Config(), part) for name in config.strategies]
    return max(*filters, uherding.memory(uherding.Config(), last))


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples that `uherding` picks among those a filter left: (budget,) int64.

    A pass of the filter asks the strategies in turn for batches of `budget`, each from a random part of what the pass
    before left, and leaves the union of the batches; there are `depth` passes. With the default settings this is the
    published method, whose first pass sees 5,000 examples for each batch. `subset: null` lets it see the whole pool,
    and a `shortlist` (`selection.shortlist`) lets other strategies see as few examples as the published experiments
    did: so what the filter gains, and what the number of candidates, can be told apart. A pass that would see all that
    is left asks each strategy once, and passes end when no more than the batch is left.
    Time for `depth`·`proposals` batches from the parts, and `uherding`'s for `largest` examples.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Huseljic, Herde, Rauch, Hahn & Sick, "Cleaning the pool: progressive filtering of unlabeled pools in deep active
    learning", CVPR 2026 (arXiv 2511.22344); the cap on what a pass leaves is that of the authors' code.
    """
    pool.check_budget(budget)
    from labelbench.common.progress import track

    left = pool.unlabelled
    with track(config.depth, "refine", unit="passes") as done:
        for level in range(config.depth):
            if len(left) <= budget:
                break
            left = _filtered(pool, left, level, budget, config, rng)
            done.update(1)
    return uherding.select(dataclasses.replace(pool, unlabelled=left), budget, uherding.Config(), rng)


def _filtered(pool, left, level, budget, config, rng):
    """What a pass leaves of `left`: ascending indices, at least `budget`."""
    whole = level == 0 and config.subset is None
    size = len(left) if whole else config.subset if level == 0 else round(config.share * len(left))
    size = min(max(size, budget), len(left))
    proposals = min(config.proposals, len(config.strategies)) if size == len(left) else config.proposals
    found = set()
    for proposal in range(proposals):
        strategy = FILTERS[config.strategies[proposal % len(config.strategies)]]
        part = left if size == len(left) else np.sort(rng.choice(left, size, replace=False))
        found.update(
            strategy.select(dataclasses.replace(pool, unlabelled=part), budget, strategy.Config(), rng).tolist()
        )
    found = np.array(sorted(found), dtype=np.int64)
    most = max(config.largest, budget)
    return found if len(found) <= most else np.sort(rng.choice(found, most, replace=False))
