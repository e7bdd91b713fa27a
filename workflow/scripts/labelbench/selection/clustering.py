"""k-means with as many clusters as there are labels to buy: seeded by D² sampling, in one level or in two."""

import math

import numpy as np
import torch

from labelbench.selection import greedy, temporaries

# Lloyd iterations; by then hardly a point changes its cluster.
ITERATIONS = 20

# Points × clusters above which k-means goes by two levels: one iteration of 50,000 points in 10,000 clusters of 512
# dimensions is 5e11 operations, some seconds.
ONE_LEVEL = 5e8

# Up to here distances are in float64 and rounded, so that the picks are those of the algorithm on paper.
_EXACT = 1 << 22

# Rows that are in float64 at a time.
_ROWS = 1024


def k_means(x, clusters: int, rng: np.random.Generator):
    """Centres of clusters of the rows of x, and the cluster of each row: float32 (clusters, d) and int64 (n,).

    x: (n, d) float32, n >= clusters, of norms about 1. Seeds come from k-means++, then follow Lloyd's iterations until
    nothing changes, at most `ITERATIONS`. Of equally near centres the first counts; a cluster that loses all its points
    keeps its centre and can stay empty. O(n·clusters·d) time an iteration and O(n) memory beyond x.

    Beyond `ONE_LEVEL` points × clusters this is approximate: the points are clustered into √clusters groups, and each
    group on its own into its share of the clusters, by its size, which takes O(n·√clusters·d) an iteration.
    """
    if len(x) * clusters <= ONE_LEVEL:
        return _lloyd(x, clusters, rng, exact=len(x) * clusters <= _EXACT)
    _, groups = _lloyd(x, round(clusters**0.5), rng, exact=False)
    sizes = torch.bincount(groups).tolist()
    # Whole numbers that add up, and never more than the group has points, because clusters <= n.
    ends = (np.cumsum(sizes) * clusters // len(x)).tolist()
    cluster = torch.full_like(groups, -1)
    centres = []
    for rows, start, end in zip(groups.argsort(stable=True).split(sizes), [0, *ends[:-1]], ends, strict=True):
        if end > start:
            found, part = _lloyd(x[rows], end - start, rng, exact=False)
            centres.append(found)
            cluster[rows] = start + part
    centres = torch.cat(centres)
    # Groups too small for a cluster of their own.
    rest = torch.nonzero(cluster < 0)[:, 0]
    cluster[rest] = _nearest(x[rest], centres, exact=False)
    return centres, cluster


def seeds(x, clusters, rng):
    """The centres to begin with: (clusters, d) float64, rows of x drawn by k-means++, the first of them uniformly.

    The largest norm would be no choice: those of unit vectors differ by what is lost in rounding, which is something
    else in every kernel.
    """
    chosen = greedy.d2_sampling(greedy.points(x), clusters, rng, first=int(rng.integers(len(x))))
    return x[torch.as_tensor(chosen, device=x.device)].double()


def _lloyd(x, clusters, rng, exact):
    centres = seeds(x, clusters, rng)
    grid = _grid(x)
    sums = torch.zeros((clusters, x.shape[1]), dtype=torch.float64, device=x.device)
    cluster = None
    for _ in range(ITERATIONS):
        before, cluster = cluster, _nearest(x, centres, exact)
        if before is None:
            _add(sums, x, torch.arange(len(x), device=x.device), cluster, grid)
        else:
            moved = torch.nonzero(before != cluster)[:, 0]
            if not len(moved):
                break
            # Exact sums stay exact: what they hold at any moment is the sum of some of the rows.
            _add(sums, x, moved, cluster, grid)
            _add(sums, x, moved, before, -grid)
        counts = torch.bincount(cluster, minlength=clusters)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres.float(), cluster


def _grid(x):
    """The power of two that values of x are rounded to, for sums of up to len(x) of them that float64 holds exactly."""
    low, high = torch.stack(x.aminmax()).tolist()
    return 2.0 ** (math.frexp(max(-low, high, 1e-30) * len(x))[1] - 52)


def _add(sums, x, rows, cluster, grid):
    """Adds `rows` of x to the sums (clusters, d) float64 of their clusters, in place; subtracts them if grid < 0.

    A GPU adds them in any order, which changes what is lost in rounding. So nothing is lost: multiples of `grid` add up
    without rounding, and their sum is the same in any order, on any hardware. Most float32 values of unit vectors are
    such multiples already; of a million rows, the others change by less than 2⁻³².
    """
    for some in rows.split(_ROWS):
        sums.index_add_(0, cluster[some], x[some].double().div_(grid).round_().mul_(abs(grid)))


def _nearest(x, centres, exact):
    """Index of the nearest centre of each row of x: int64 (n,).

    If `exact`, where float32 leaves a doubt which is nearest, float64 decides.
    """
    double, centres = centres, centres.float()
    norms = centres.square().sum(1)
    doubt = 4 * greedy.RESOLUTION * max(float(norms.max()), 1.0)
    cluster = torch.empty(len(x), dtype=torch.int64, device=x.device)
    step = max(temporaries.elements(x) // len(centres), 64)
    for part, found in zip(x.split(step), cluster.split(step), strict=True):
        squared = torch.addmm(norms, part, centres.T, alpha=-2)
        smallest, found[:] = squared.min(1)
        if exact:
            unsure = torch.nonzero((squared <= smallest[:, None] + doubt).sum(1) > 1)[:, 0]
            found[unsure] = _nearest_for_certain(part[unsure].double(), double)
    return cluster


def _nearest_for_certain(x, centres):
    squared = torch.addmm(centres.square().sum(1), x, centres.T, alpha=-2)
    # Multiples of 2⁻³⁴, for vectors of about unit length: true ties are ties.
    return squared.mul_(2.0**34).round_().argmin(1)


def weighted_k_means(x, weights, clusters: int, rng: np.random.Generator):
    """As `k_means`, but a centre is the mean of its rows by their weights; one level of clusters, however many.

    weights: (n,) float64, not negative. Seeds are drawn without the weights. A cluster whose rows weigh nothing keeps
    its centre. Memory for a float64 copy of a thousand rows.
    """
    centres = seeds(x, clusters, rng)
    cluster, exact = None, len(x) * clusters <= _EXACT
    for _ in range(ITERATIONS):
        before, cluster = cluster, _nearest(x, centres, exact)
        if before is not None and torch.equal(before, cluster):
            break
        totals = torch.zeros(clusters, dtype=torch.float64, device=x.device).index_add_(0, cluster, weights)
        sums = torch.zeros_like(centres)
        for rows, part, weight in zip(x.split(_ROWS), cluster.split(_ROWS), weights.split(_ROWS), strict=True):
            sums.index_add_(0, part, rows.double() * weight[:, None])
        moved = totals > 0
        centres[moved] = sums[moved] / totals[moved, None]
    return centres.float(), cluster
