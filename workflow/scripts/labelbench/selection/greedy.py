"""Greedy k-centre and D² sampling in blocks: what one-at-a-time algorithms pick, in matrix products.

Both algorithms keep for every point its squared distance D² to the nearest centre and, one at a time, spend a whole
pass over the pool on each new centre: a matrix-vector product, bound by memory. D² only ever falls, so a stale D² is an
upper bound. That is enough to choose many centres before the pool has to be read again:

* k-centre: greedy among the points with the largest stale D² is greedy among all, as long as the best of them still
  beats the largest stale D² outside the block.
* D² sampling: proposals from the stale distribution, each accepted with probability D²/stale D², follow the exact one.
  Inside a block both need only the distances between its own members.

The passes over the pool are in float32, where a D² below the resolution of the squared norms counts as 0: copies of a
centre are copies of it on any hardware.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from labelbench.common import progress
from labelbench.selection import temporaries

# A dot product of a few hundred float32 terms is good to a few units in the last place (6e-8) of the norms.
RESOLUTION = 2e-6

# Points that k-centre compares with each other at a time, at most: 4096² float64 distances are 128 MiB.
LARGEST_BLOCK = 4096


@dataclass(frozen=True)
class Points:
    """n vectors, plain or as outer products of two factors that are never multiplied out.

    vectors: (n, d) float32; point i is vectors[i], or residuals[i] ⊗ vectors[i] where there are residuals.
    residuals: (n, K) float32 or None.
    norms: (n,) float32, squared Euclidean norms of the points.
    """

    vectors: torch.Tensor
    residuals: torch.Tensor | None
    norms: torch.Tensor

    def take(self, rows) -> "Points":
        """The points at `rows` (a slice, or int64 positions)."""
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, device=self.vectors.device)
        return Points(self.vectors[rows], None if self.residuals is None else self.residuals[rows], self.norms[rows])


def points(vectors, residuals=None) -> Points:
    """`Points` from (n, d) vectors and, for outer products, (n, K) residuals."""
    norms = _squared_norms(vectors)
    return Points(vectors, residuals, norms if residuals is None else norms * _squared_norms(residuals))


def _squared_norms(x):
    return temporaries.joined((part.square().sum(1) for part in x.split(4096)), len(x))


def _distances_less_own_norm(rows: Points, centres: Points, minus_twice: torch.Tensor) -> torch.Tensor:
    """‖c‖² − 2⟨x, c⟩ for all x in `rows`, c in `centres`: (r, c); `minus_twice` is −2·centres.vectors.

    ⟨p⊗x, q⊗y⟩ = ⟨p, q⟩⟨x, y⟩ (LabelBench, Appendix G), so outer products cost d + K, not d·K.
    """
    if rows.residuals is None:
        return torch.addmm(centres.norms, rows.vectors, minus_twice.T)
    products = rows.vectors @ minus_twice.T
    return torch.addcmul(centres.norms, products, rows.residuals @ centres.residuals.T, out=products)


def _snap(distances, norms):
    """Squared distances below the resolution of `norms` (same shape, or broadcast) become 0, in place."""
    return distances.masked_fill_(distances <= RESOLUTION * norms, 0)


def distances(rows: Points, centres: Points) -> torch.Tensor:
    """Squared Euclidean distances (r, c) float32 between all `rows` and all `centres`."""
    result = _distances_less_own_norm(rows, centres, -2 * centres.vectors)
    return _snap(result.add_(rows.norms[:, None]), rows.norms[:, None])


def lower(nearest: torch.Tensor, pool: Points, centres: Points, block: int = 512) -> None:
    """Lowers `nearest` (n,), in place, to the squared distance of each point of `pool` to its nearest of `centres`."""
    for start in range(0, len(centres.norms), block):
        part = centres.take(slice(start, start + block))
        minus_twice = -2 * part.vectors
        step = max(temporaries.elements(nearest) // len(part.norms), 256)
        for first in range(0, len(nearest), step):
            rows = pool.take(slice(first, first + step))
            found = _distances_less_own_norm(rows, part, minus_twice).amin(1).add_(rows.norms)
            current = nearest[first : first + step]
            torch.minimum(current, _snap(found, rows.norms), out=current)


def k_centre(pool: Points, centres: torch.Tensor, budget: int, block: int = 512) -> np.ndarray:
    """Greedy k-centre (Gonzalez 1985): `budget` times the point farthest from all centres; positions, in pick order.

    pool: plain vectors (n, d). centres: (L, d) float32, the centres there are already; with none, the first pick is
    position 0. Of equally distant points the first is picked. `block` changes the speed only: candidates come from
    float32 distances and their error bound, the decision between them from float64, so the picks are those of greedy in
    float64 (unless more than `LARGEST_BLOCK` points are closer to a tie than float32 can tell, which then decides).
    """
    norms = pool.norms.cpu().numpy()
    grid = 2.0 ** (math.frexp(max(norms.max(), 1e-30))[1] - 36)
    nearest = torch.full_like(pool.norms, torch.inf)
    with progress.track(len(centres), "k-centre, distances to the labelled", "centres") as done:
        for part in centres.split(512):
            lower(nearest, pool, points(part))
            done.update(len(part))
    picks = np.empty(0, dtype=np.int64)
    batch = []
    done = progress.track(budget, "k-centre")
    while len(picks) < budget:
        if batch:
            lower(nearest, pool, pool.take(batch))
        stale = nearest.cpu().numpy()
        # The error of a squared distance goes with ‖x‖² + ‖c‖², and ‖c‖² <= 2‖x‖² + 2D². Copies (0) are exact.
        error = np.where(stale > 0, RESOLUTION * (3 * norms + 2 * np.minimum(stale, np.finfo(np.float32).max / 4)), 0)
        upper = stale + error
        upper[picks] = -1  # below every distance: nothing is picked twice, not even among copies
        largest = _largest(upper, block + 1)
        candidates = np.sort(largest[:block])
        # No point outside the block is farther away than this, now or later.
        bound, bound_at = (upper[largest[-1]], largest[-1]) if len(largest) > block else (-1, -1)
        if block >= LARGEST_BLOCK:
            bound -= 2 * error[bound_at]

        x = pool.take(candidates).vectors.double()
        between = _rounded_distances(x, x, grid).cpu().numpy()
        now = np.minimum(_rounded_nearest(x, centres, grid), _rounded_nearest(x, pool.take(picks).vectors, grid))
        now[upper[candidates] < 0] = -1
        batch = []
        while len(picks) + len(batch) < budget:
            best = int(now.argmax())
            certain = now[best] > bound or (now[best] == bound and candidates[best] < bound_at)
            if now[best] < 0 or not (certain or (block >= LARGEST_BLOCK and not batch)):
                break
            batch.append(candidates[best])
            np.minimum(now, between[best], out=now)
            now[best] = -1
        picks = np.append(picks, batch).astype(np.int64)
        done.update(len(batch))
        if not batch:
            block *= 2
    done.close()
    return picks


def _rounded_nearest(x, centres, grid):
    """Squared distance of each float64 point to its nearest centre: float64 array, infinite where there are none."""
    nearest = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    for start in range(0, len(centres), 2048):
        part = centres[start : start + 2048].double()
        nearest = torch.minimum(nearest, _rounded_distances(x, part, grid).amin(1))
    return nearest.cpu().numpy()


def _rounded_distances(x, y, grid):
    """Squared distances (r, c) of float64 points, rounded to multiples of `grid` so that true ties are ties."""
    norms = x.square().sum(1)[:, None]
    squared = torch.addmm(y.square().sum(1), x, y.T, alpha=-2).add_(norms)
    return _snap(squared.div_(grid).round_().mul_(grid), norms)


def _largest(values, count):
    """Positions of the `count` largest values; of equal ones the first; the last position is that of the smallest."""
    count = min(count, len(values))
    threshold = np.partition(values, -count)[-count]
    above = np.flatnonzero(values > threshold)
    return np.append(above, np.flatnonzero(values == threshold)[: count - len(above)])


def d2_sampling(pool: Points, budget: int, rng: np.random.Generator, first=None, block: int = 512) -> np.ndarray:
    """k-means++ seeding (Arthur & Vassilvitskii 2007): `budget` positions, in pick order.

    first: the position to begin with; None: the point of largest norm (of equal ones the first), as in BADGE. Each
    further one is drawn with probability proportional to D², or uniformly among the rest once every D² is 0. `block`,
    the number of proposals between two passes over the pool, changes the draws but not their distribution.
    """
    picks = np.array([pool.norms.cpu().numpy().argmax() if first is None else first])
    accepted = picks
    nearest = torch.full_like(pool.norms, torch.inf)
    done = progress.track(budget, "D² sampling")
    while len(picks) < budget:
        lower(nearest, pool, pool.take(accepted))
        stale = nearest.cpu().double().numpy()
        stale[picks] = 0
        cumulative = stale.cumsum()
        if cumulative[-1] == 0:
            rest = np.setdiff1d(np.arange(len(stale)), picks)
            return np.append(picks, rng.choice(rest, budget - len(picks), replace=False))
        proposals = np.searchsorted(cumulative, rng.random(block) * cumulative[-1], side="right")
        proposals = np.minimum(proposals, len(stale) - 1)
        members = pool.take(proposals)
        between = distances(members, members).cpu().numpy()
        between[proposals[:, None] == proposals] = 0  # exactly, whatever the rounding
        now = stale[proposals]
        threshold = rng.random(block) * now
        accepted = []
        for at in range(block):
            if threshold[at] < now[at]:
                accepted.append(proposals[at])
                if len(picks) + len(accepted) == budget:
                    break
                np.minimum(now, between[at], out=now)
        accepted = np.array(accepted, dtype=np.int64)
        picks = np.append(picks, accepted)
        done.update(len(accepted))
    done.close()
    return picks
