"""TypiClust: the most typical example of each cluster that has no label yet (Hacohen et al. 2022)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features",)

# Typicalities decided in float64, of the members of a cluster with the largest in float32.
_DECIDED = 64


@dataclass(frozen=True)
class Config:
    """neighbours: of how many nearest neighbours the mean distance makes the typicality; the paper's is 20."""

    neighbours: int = 20

    def __post_init__(self):
        if self.neighbours < 1:
            raise ValueError(f"neighbours is {self.neighbours}; it must be at least 1")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: all features."""
    return sizes.features(sizes.examples) + sizes.k_means(sizes.examples, sizes.labelled + sizes.budget)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, one of each cluster in turn: (budget,) int64, in pick order.

    All examples' features, at unit length, are clustered by k-means into L + budget clusters. (The authors' code stops
    at 500 clusters, which makes it something else in later rounds.) Clusters with the fewest labelled examples come
    first, of these the largest, of these the first, and each gives its most typical unlabelled example: that with the
    smallest mean distance to its nearest neighbours in the cluster, of equal ones the lower index. Clusters without
    unlabelled examples are passed over; where the others are fewer than the budget, further rounds over them follow.
    With n = L + U, O(n·(L + budget)·d) time for an iteration of k-means, by two levels of clusters
    O(n·√(L + budget)·d) in large pools (`selection.clustering`), and O(Σ s²d) over the clusters picked from, of s
    members; O(nd) memory. Raises UserError if fewer than `budget` examples are unlabelled.
    Hacohen, Dekel & Weinshall, "Active learning on a budget: opposite strategies suit high and low budgets", ICML 2022.
    """
    pool.check_budget(budget)
    import torch

    from labelbench.common.progress import track
    from labelbench.selection import clustering

    everything = np.sort(np.concatenate([pool.labelled, pool.unlabelled]))
    x = pool.features(everything)
    torch.nn.functional.normalize(x, dim=1, out=x)
    number = len(pool.labelled) + budget
    _, cluster = clustering.k_means(x, number, rng)
    cluster = cluster.cpu().numpy()
    members = np.split(np.argsort(cluster, kind="stable"), np.cumsum(np.bincount(cluster, minlength=number))[:-1])
    free = np.isin(everything, pool.unlabelled)
    order = sorted(range(number), key=lambda k: (np.sum(~free[members[k]]), -len(members[k]), k))
    open_clusters = [members[k] for k in order if free[members[k]].any()]

    picks = []
    with track(budget, "typiclust") as counter:
        while len(picks) < budget:
            # Each cluster serves at most once a round, so the round's picks can be made cluster by cluster.
            for rows in open_clusters[: budget - len(picks)]:
                picks.append(_most_typical(x[torch.as_tensor(rows, device=x.device)], rows, free, config.neighbours))
                free[picks[-1]] = False
                counter.update(1)
            open_clusters = [rows for rows in open_clusters if free[rows].any()]
    return everything[picks]


def _most_typical(x, rows, free, neighbours):
    """The one of `rows` that is `free` and most typical among x (s, d), their features."""
    import torch

    candidates = np.flatnonzero(free[rows])
    if len(rows) == 1:
        return rows[0]
    if len(candidates) > _DECIDED:
        rough = _mean_distances(x, candidates, neighbours, torch.float32)
        candidates = np.sort(candidates[np.argsort(rough, kind="stable")[:_DECIDED]])
    # Rounded, so that equal distances tie.
    distances = np.round(_mean_distances(x, candidates, neighbours, torch.float64), 6)
    return rows[candidates[distances.argmin()]]


def _mean_distances(x, candidates, neighbours, dtype):
    """Mean distance of each of `candidates` to its nearest `neighbours` others in x, or to all of them if fewer."""
    import torch

    y = x.to(dtype)
    norms = y.square().sum(1)
    neighbours = min(neighbours, len(x) - 1)
    result = np.empty(len(candidates))
    step = max((1 << 22) // len(x), 16)
    for start in range(0, len(candidates), step):
        rows = torch.as_tensor(candidates[start : start + step], device=x.device)
        squared = torch.addmm(norms, y[rows], y.T, alpha=-2).add_(norms[rows, None])
        squared[torch.arange(len(rows), device=x.device), rows] = torch.inf
        # Copies are at distance 0, whatever the rounding.
        found = squared.topk(neighbours, largest=False).values
        found = torch.where(found > 1e-12, found, 0).sqrt()
        result[start : start + step] = found.mean(1).cpu().numpy()
    return result
