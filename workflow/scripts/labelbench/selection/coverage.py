"""Greedy maximum coverage with a kernel: what one-at-a-time selection picks, from little more than one pass over pairs.

Picks S cover example i by m_i = max over s in S of k(i, s). Greedy adds, one at a time, the example x of the largest
gain Σ_i u_i max(k(i, x) − m_i, 0). Written as it stands, every pick costs a pass over all pairs. Two facts save it:

* Only the m_i of those examples rise that a new pick covers best, so that the gains of all need only these columns.
  They become fewer as the picks become more: about n/t of n at pick t.
* A gain never rises, so an old one is an upper bound. Greedy in a block of the largest bounds is greedy among all, as
  long as the best in the block beats the largest bound outside.

The passes over pairs are in float32, with kernels rounded up where a gain is added and down where it is taken away: the
bounds hold whatever float32 loses. Inside a block float64 decides.

Features are compared on the unit sphere; a zero vector stays zero.
"""

from dataclasses import dataclass

import numpy as np
import torch

from labelbench.common.progress import track
from labelbench.selection import temporaries
from labelbench.selection.pool import Pool

# What float32 may lose in a squared distance between unit vectors of a few thousand dimensions.
RESOLUTION = 2e-6

# And, relatively, in the exponential and in the sum of the entries of a temporary.
_ROUNDING = 5e-7

# Gains count in steps of this fraction of the sum of the weights: far above what float64 loses, so true ties are ties.
_GRID = 2.0**-34


@dataclass(frozen=True)
class Gaussian:
    """k(x, y) = exp(−‖x − y‖²/σ²). There is no 2 in it: σ is that of the experiments with herding."""

    sigma: float

    def of(self, squared, rounding=0.0, towards=0):
        """In place, of squared distances with an error of `rounding`; `towards` +1 rounds up, −1 down, 0 not at all."""
        scale = 1 / self.sigma**2
        bound = squared.sub_(towards * rounding).clamp_(min=0).mul_(-scale)
        return bound.add_(towards * _ROUNDING).exp_()


@dataclass(frozen=True)
class Ball:
    """k(x, y) = 1 where ‖x − y‖ < δ, else 0. The ball is open: δ can be a distance between two examples."""

    delta: float

    def of(self, squared, rounding=0.0, towards=0):
        """As `Gaussian.of`; at a distance of δ to nine digits float64 counts as outside."""
        limit = self.delta**2 - 1e-9 + towards * rounding
        return squared.copy_(squared < limit)


def unit(features):
    """(n, d) float64 rows of `features` divided by their Euclidean norms; zero rows stay zero."""
    features = features.double()
    norms = features.norm(dim=1, keepdim=True)
    return features / torch.where(norms > 0, norms, 1)


def squared_distances(x, y, y_norms=None):
    """(n, m) squared Euclidean distances between rows of x (n, d) and y (m, d), in their float type."""
    y_norms = y.square().sum(1) if y_norms is None else y_norms
    return torch.addmm(y_norms, x, y.T, alpha=-2).add_(x.square().sum(1)[:, None])


def nearest(x, centres):
    """Squared distance of each row of x (n, d) to its nearest of `centres` (m, d): float64 (n,), infinite if m is 0.

    Both float64. The nearest is found in float32 and its distance taken in float64. O(n·m·d) time.
    """
    if not len(centres):
        return torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    tile = int(temporaries.elements(x) ** 0.5)
    tiles = [(part, part.square().sum(1)) for part in centres.float().split(tile)]

    def nearest_of(rows):
        found = [torch.addmm(norms, rows, part.T, alpha=-2).min(1) for part, norms in tiles]
        values, at = torch.stack([f.values for f in found]).min(0)
        return at * tile + torch.stack([f.indices for f in found]).gather(0, at[None])[0]

    index = temporaries.joined(map(nearest_of, x.float().split(tile)), len(x))
    parts = zip(x.split(8192), index.split(8192), strict=True)
    return temporaries.joined(((rows - centres[at]).square().sum(1) for rows, at in parts), len(x))


def nearest_of_others(x, cluster):
    """Squared distance of each row of x (n, d) float64 to the nearest of another cluster: float64 (n,), in any order.

    cluster: (n,) int64; infinite where there is one alone. The nearest is found in float32 and its distance taken in
    float64. One product per pair of tiles serves both sides: half of O(n²·d) time; a float32 copy of x.
    """
    order = cluster.argsort(stable=True)
    y, cluster = x.float()[order], cluster[order]
    norms, tile = y.square().sum(1), int(temporaries.elements(x) ** 0.5)
    smallest = torch.full_like(norms, torch.inf)
    at = torch.zeros_like(cluster)
    ends = cluster.tolist()

    def keep(rows, columns, found):
        nearer = found.values < smallest[rows]
        smallest[rows] = torch.where(nearer, found.values, smallest[rows])
        at[rows] = torch.where(nearer, found.indices + columns.start, at[rows])

    tiles = [slice(start, min(start + tile, len(y))) for start in range(0, len(y), tile)]
    for i, rows in enumerate(tiles):
        for columns in tiles[i:]:
            squared = torch.addmm(norms[columns], y[rows], y[columns].T, alpha=-2).add_(norms[rows, None])
            if ends[rows.stop - 1] >= ends[columns.start]:  # rows are in the order of their clusters
                squared.masked_fill_(cluster[rows, None] == cluster[columns], torch.inf)
            keep(rows, columns, squared.min(1))
            if columns != rows:
                keep(columns, rows, squared.min(0))
    parts = zip(order.split(8192), order[at].split(8192), strict=True)
    exact = temporaries.joined(((x[rows] - x[others]).square().sum(1) for rows, others in parts), len(x))
    return torch.where(smallest < torch.inf, exact, torch.inf)


def _rows(x, columns):
    """How many rows of a temporary with that many columns."""
    return max(temporaries.elements(x) // columns, 64)


def select(pool: Pool, budget: int, kernel, rng: np.random.Generator, weigh=None, largest_part=50_000) -> np.ndarray:
    """Greedy picks among the unlabelled examples of `pool`, whose labelled ones cover already: (budget,) int64.

    The sum runs over the unlabelled examples: a labelled one is covered fully, by itself. weigh: callable from int64
    indices to their weights u, a float64 tensor (m,); 1 where None. Of equal gains the lower index comes first. Once
    nothing is left to gain, the rest is drawn uniformly.

    More than `largest_part` unlabelled examples are cut at random into equal parts, each with its share of the budget,
    and examples of different parts do not cover each other: the one approximation. With n the size of a part,
    O(U·(n + L)·d) time for bounds and labelled examples, and at most about ln((L + budget)/L) times O(U·n·d) for the
    picks; the memory of three copies in float32 of a part's features (n, d) and of the labelled ones, and 4n bytes for
    every block of picks.
    """
    labelled = unit(pool.features(pool.labelled))
    unlabelled = pool.unlabelled
    parts = [unlabelled]
    if len(unlabelled) > largest_part:
        parts = np.array_split(rng.permutation(unlabelled), -(-len(unlabelled) // largest_part))
    ends = np.cumsum([len(part) for part in parts]) * budget // len(unlabelled)
    picks = []
    with track(budget, "coverage") as counter:
        for part, share in zip(parts, np.diff(ends, prepend=0), strict=True):
            part = np.sort(part)
            x = unit(pool.features(part))
            covered = kernel.of(nearest(x, labelled))
            weights = torch.ones_like(covered) if weigh is None else weigh(part)
            picks.append(part[greedy(x, covered, kernel, int(share), weights, counter=counter)])
    picks = np.concatenate(picks)
    rest = np.setdiff1d(unlabelled, picks)
    return np.append(picks, rng.choice(rest, budget - len(picks), replace=False))


def greedy(x, covered, kernel, budget: int, weights, block: int = 64, counter=None) -> np.ndarray:
    """Positions of `budget` rows of x, each of the largest gain when it is picked: int64; fewer where no gain is left.

    x: (n, d) float64 unit or zero vectors; covered: (n,) float64, the m_i to begin with; weights: (n,) float64, the
    u_i. `block`, the number of candidates between two updates of the bounds, changes the speed only.
    """
    n = len(x)
    x32, weights32 = x.float(), weights.float()
    grid = _GRID * max(float(weights.sum()), 1e-30)
    covered = covered.clone()
    bounds = _gain_bounds(x32, covered.float(), kernel, weights32)
    # history[t]: the m_i after t blocks; known[x]: of which of them the bound of x is a bound.
    history, known = [covered.float()], torch.zeros(n, dtype=torch.int64, device=x.device)
    norms32 = x32.square().sum(1)
    picks = []
    while len(picks) < budget:
        largest, order = _largest((bounds / grid).round_(), min(block + 1, n - len(picks)))
        most, bound, bound_at = torch.stack([largest[0], largest[-1], order[-1].double()]).tolist()
        if most <= 0:  # nothing is left to gain
            break
        candidates = order[:block].sort().values
        outside = (bound, int(bound_at)) if len(order) > block else (-1.0, n)
        # Only the examples that some candidate may cover better than before count: few, once there are picks.
        upper = kernel.of(squared_distances(x32[candidates], x32, norms32), RESOLUTION, +1)
        columns = torch.nonzero((upper >= history[-1]).any(0))[:, 0]
        rows, u, m = kernel.of(squared_distances(x[candidates], x[columns])), weights[columns], covered[columns]
        gains = (rows - m).clamp_(min=0) @ u
        positions = candidates.tolist()
        taken, gone = [], torch.zeros(len(candidates), dtype=torch.bool, device=x.device)
        while True:
            rounded = (gains / grid).round_().masked_fill_(gone, -1)
            # In one piece: on a GPU the host waits once.
            best, gain = torch.stack([rounded.argmax().double(), rounded.amax()]).tolist()
            best = int(best)
            # A bound outside that equals the gain may be that of an equal gain, and the lower index comes first.
            certain = gain > outside[0] or (gain == outside[0] and positions[best] < outside[1])
            if gain <= 0 or not certain or len(picks) + len(taken) == budget:
                break
            taken.append(best)
            gone[best : best + 1].fill_(True)
            raised = torch.nonzero(rows[best] > m)[:, 0]
            there = rows[:, raised]
            # What each candidate would have gained at these examples, less what it still would.
            lost = (there - m[raised]).clamp_(min=0) - (there - there[best]).clamp_(min=0)
            gains -= lost @ u[raised]
            m[raised] = there[best]
        covered[columns] = m
        picks.extend(positions[at] for at in taken)
        history.append(covered.float())
        bounds[candidates], known[candidates] = rounded * grid, len(history) - 1  # below 0: taken
        # The next pick gains at least `gain`, so smaller bounds can stay as they are.
        stale = torch.nonzero(((bounds / grid).round_() >= gain) & (known < len(history) - 1))[:, 0]
        if gain > 0 and len(stale) > block:
            _lower_bounds(bounds, stale[known[stale].argsort()], x32, history, known, kernel, weights32, grid)
        if counter is not None:
            counter.update(len(taken))
    return np.array(picks, dtype=np.int64)


def _largest(values, count):
    """The `count` largest values, descending, and their positions; of equal values the lower position first."""
    smallest_kept = values.topk(count).values[-1]
    positions = torch.nonzero(values >= smallest_kept)[:, 0]
    order = torch.sort(values[positions], descending=True, stable=True).indices[:count]
    return values[positions[order]], positions[order]


def _gain_bounds(x, covered, kernel, weights):
    """Upper bounds of all gains: float64 (n,). One product per pair of tiles serves both its rows and its columns."""
    bounds = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    tile = int(temporaries.elements(x) ** 0.5)
    norms = x.square().sum(1)
    tiles = [slice(start, start + tile) for start in range(0, len(x), tile)]
    for at, rows in enumerate(tiles):
        for columns in tiles[at:]:
            squared = torch.addmm(norms[columns], x[rows], x[columns].T, alpha=-2).add_(norms[rows, None])
            similar = kernel.of(squared, RESOLUTION, +1)
            bounds[rows] += (similar - covered[columns]).clamp_(min=0) @ weights[columns]
            if columns != rows:
                bounds[columns] += weights[rows] @ similar.sub_(covered[rows, None]).clamp_(min=0)
    return bounds


def _lower_bounds(bounds, stale, x, history, known, kernel, weights, grid):
    """Takes from `bounds` at the positions `stale`, in place, what has been gained since they were `known`.

    `stale` is ordered by `known`, so that those looked at together lack much the same. One `grid` less is taken,
    because a bound may be a rounded gain.
    """
    now = history[-1]
    for rows in stale.split(1024):
        versions, version = known[rows].unique(return_inverse=True)
        raised = torch.nonzero(now > history[versions[0]])[:, 0]
        for columns in raised.split(_rows(x, len(rows))):
            before = torch.stack([history[t][columns] for t in versions.tolist()])[version] * (1 + _ROUNDING)
            similar = kernel.of(squared_distances(x[rows], x[columns]), RESOLUTION, -1)
            gained = similar.clamp_(before, now[columns] * (1 - _ROUNDING)).sub_(before) @ weights[columns]
            bounds[rows] -= gained.mul_(1 - _ROUNDING).sub_(grid).clamp_(min=0)
    known[stale] = len(history) - 1
