"""SelectAL: typical, uncertain or random examples, whichever kind a model misses most (Hacohen & Weinshall 2023)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool
from labelbench.selection.strategies import badge, random, typiclust

USES = ("features", "probabilities", "labels")


@dataclass(frozen=True)
class Config:
    """share: part of the labelled examples whose loss is tried. folds: parts of them that the models are judged by."""

    share: float = 0.1
    folds: int = 5

    def __post_init__(self):
        if not 0 < self.share < 1:
            raise ValueError(f"share must be between 0 and 1, not {self.share}")
        if self.folds < 2:
            raise ValueError(f"folds must be at least 2, not {self.folds}")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`, at most: of the strategy that takes more, or the refits."""
    kinds = [strategy.memory(strategy.Config(), sizes) for strategy in (typiclust, badge)]
    refits = 12 * sizes.features(sizes.labelled) if sizes.labelled > 2 else 0
    return max(*kinds, refits)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, in the order of the strategy that is taken: (budget,) int64.

    `kind_missed_most` decides by the labels there are: `typiclust` where a model that loses typical examples becomes
    worst, as happens with few labels, `badge` where it is the loss of atypical ones, as happens with many, and else
    `random`. With fewer than three labels `typiclust`. At the cost of what is taken, after 3·folds refits in
    O(Ld² + d³ + LdK). Raises UserError if fewer than `budget` examples are unlabelled.
    Hacohen & Weinshall, "How to select which active learning strategy is best suited for your specific problem and
    budget", NeurIPS 2023 (arXiv 2306.03543). It retrains networks; here, as proxies are linear, the refits are logistic
    regressions (`common.refit`) on standardised features. Share and number of folds are ours.
    """
    pool.check_budget(budget)
    kind = kind_missed_most(pool, config, rng) if len(pool.labelled) > 2 else "typical"
    strategy = {"typical": typiclust, "atypical": badge, "any": random}[kind]
    return strategy.select(pool, budget, strategy.Config(), rng)


def kind_missed_most(pool: Pool, config: Config, rng: np.random.Generator) -> str:
    """Of which kind of labelled examples the loss makes models worst: "typical", "atypical" or "any".

    The labelled examples, three or more, are cut into folds. Each is judged by models of the others, from which one
    example of each of share·n k-means clusters is left out: that with the smallest mean distance to the cluster's
    others (`typical`), that with the largest (`atypical`), or as many uniformly drawn ones (`any`). A kind is missed
    most if, over all folds, fewer predictions are right without it than without either other kind; if there is no such
    kind it is "any".
    """
    import torch

    from labelbench.common.refit import fit_heads
    from labelbench.selection import clustering, coverage

    features = pool.features(pool.labelled)
    unit = coverage.unit(features)
    x = features.double()
    mean, deviation = x.mean(0), x.std(0, correction=0)
    x = torch.nn.functional.pad((x - mean) / torch.where(deviation > 0, deviation, 1), (0, 1), value=1)
    y = torch.tensor(pool.labels, device=x.device)
    number = len(x)
    right = dict.fromkeys(["typical", "atypical", "any"], 0)
    for held_out in np.array_split(rng.permutation(number), min(config.folds, number)):
        kept = np.setdiff1d(np.arange(number), held_out)
        clusters = min(max(round(config.share * len(kept)), 1), len(kept) - 1)
        own = unit[torch.as_tensor(kept, device=x.device)]
        cluster = clustering.k_means(own.float(), clusters, rng)[1].cpu().numpy()
        lost = [_extremes(own, np.flatnonzero(cluster == k)) for k in np.unique(cluster)]
        lost = {"typical": [low for low, _ in lost], "atypical": [high for _, high in lost]}
        lost["any"] = rng.choice(len(kept), len(lost["typical"]), replace=False)
        rows = torch.as_tensor(np.stack([np.delete(kept, lost[kind]) for kind in right]), device=x.device)
        heads = fit_heads(x[rows], y[rows], pool.num_classes)
        judged = torch.as_tensor(held_out, device=x.device)
        # Rounded, so that classes that are as likely tie and the first of them is predicted.
        predicted = (x[judged] @ heads).mul_(1e6).round_().argmax(2)
        for kind, count in zip(right, (predicted == y[judged]).sum(1).tolist(), strict=True):
            right[kind] += count
    fewest = min(right.values())
    missed = [kind for kind, count in right.items() if count == fewest]
    return missed[0] if len(missed) == 1 else "any"


def _extremes(x, rows):
    """Which of `rows` of x has the smallest and which the largest mean distance to the others; of equal ones the first.

    Rounded, so that equal distances tie.
    """
    from labelbench.selection import coverage

    distances = coverage.squared_distances(x[rows], x[rows]).clamp_(min=0).sqrt_().sum(1).cpu().numpy().round(6)
    return rows[distances.argmin()], rows[distances.argmax()]
