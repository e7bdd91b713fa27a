"""Hierarchical clustering with average linkage, of as many examples as there are."""

import math

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from labelbench.selection import clustering

# Examples that are clustered with each other at most: all their float64 distances are 0.5 GB.
LARGEST_CELL = 8192


def average_linkage(features: torch.Tensor, count: int, rng: np.random.Generator) -> np.ndarray:
    """The cluster of each example: (n,) int64, about `count` clusters.

    features: (n, d) float32. Clusters are merged by average Euclidean distance until it exceeds a threshold, chosen
    such that `count` are left; ties at the threshold are all merged. Up to `LARGEST_CELL` examples this is exact. More
    are first cut by k-means into cells of at most so many, between which nothing is merged (so that there are never
    fewer clusters than cells); the threshold is the same for all cells. O(n·LARGEST_CELL·d) time, O(LARGEST_CELL²)
    memory.
    """
    cells = _cells(features, rng)
    trees = [linkage(_distances(features[cell]), "average") if len(cell) > 1 else np.empty((0, 4)) for cell in cells]
    heights = np.sort(np.concatenate([tree[:, 2] for tree in trees]))
    merges = min(len(features) - count, len(heights))
    threshold = heights[merges - 1] if merges > 0 else -1
    cluster = np.empty(len(features), dtype=np.int64)
    clusters = 0
    for cell, tree in zip(cells, trees, strict=True):
        own = fcluster(tree, threshold, "distance") if len(cell) > 1 else np.ones(1)
        cluster[cell] = clusters + own - 1
        clusters = cluster[cell].max() + 1
    return cluster


def _cells(features, rng):
    """Positions of the examples of every cell."""
    # k-means wants norms of about 1.
    scale = features.norm(dim=1).max().clamp(min=torch.finfo(torch.float32).tiny)
    cells, left = [], [np.arange(len(features))]
    while left:
        cell = left.pop()
        if len(cell) <= LARGEST_CELL:
            cells.append(cell)
            continue
        # Half full on average, as k-means makes them of unequal size.
        number = math.ceil(2 * len(cell) / LARGEST_CELL)
        _, own = clustering.k_means(features[cell].div_(scale), number, rng)
        own = own.cpu().numpy()
        parts = [cell[own == part] for part in np.unique(own)]
        left += parts if len(parts) > 1 else np.array_split(cell, 2)  # copies of one example
    return cells


def _distances(features):
    """Euclidean distances in scipy's condensed form; copies are 0 apart and true ties are ties."""
    features = features.double()
    norms = features.square().sum(1)
    squared = torch.addmm(norms, features, features.T, alpha=-2).add_(norms[:, None])
    squared.masked_fill_(squared <= 1e-12 * norms, 0)
    return squareform(squared.sqrt_().float().cpu().numpy(), checks=False)
