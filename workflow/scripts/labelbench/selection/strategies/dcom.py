"""DCoM: coverage by balls at first, small margins the more of the pool is covered (Mishal & Weinshall 2024)."""

import dataclasses
import itertools
import math
from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features", "probabilities", "labels")


@dataclass(frozen=True)
class Config:
    """delta: radius of the first balls, between features of unit length; None: that of `probcover`.
    largest_delta: no ball is larger. resolution: to which their radii are searched. centre, steepness: a and k of the
    logistic function that makes a competence of a coverage.
    largest_part: more unlabelled examples than this are cut at random into parts, each with its share of the batch."""

    delta: float | None = None
    largest_delta: float = 1.1
    resolution: float = 0.05
    centre: float = 0.8
    steepness: float = 50.0
    largest_part: int = 50_000

    def __post_init__(self):
        if self.delta is not None and self.delta <= 0:
            raise ValueError(f"delta is {self.delta}; it must be positive")
        for name in ("largest_delta", "resolution"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, not {getattr(self, name)}")
        if not 0 <= self.centre <= 1:
            raise ValueError(f"centre must be a coverage, from 0 to 1, not {self.centre}")
        if not 0 <= self.steepness < math.inf:
            raise ValueError(f"steepness must be finite and not negative, not {self.steepness}")
        if self.largest_part < 1:
            raise ValueError(f"largest_part is {self.largest_part}; it must be at least 1")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: of a part and what is labelled, as in a coverage."""
    part = min(sizes.unlabelled, config.largest_part) + sizes.labelled
    return 5 * sizes.features(part) + sizes.probabilities(part) + 32 * part


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples in dense uncovered regions or of small margin: (budget,) int64.

    Around each labelled example is a ball of a radius of its own, the largest that bisection finds for which a share
    0.4 + 0.2·c of what it holds has its label; predictions stand for labels that were not bought, and c is the share of
    the pool that the balls of earlier batches cover, those of the batch itself with the mean radius of all earlier.
    With c now the share that all balls cover, the competence is S = (1 + e^(−k(1 − a))) / (1 + e^(−k(c − a))). Each
    pick is the example with the largest S·u + (1 − S)·r, of equal ones the lower index: u is 1 − margin, r the number
    of uncovered examples closer than the mean radius, both scaled to [0, 1] again before each pick; then what is closer
    to the pick than the mean radius is covered. Where nothing is left to gain the rest is drawn uniformly.
    The authors fit the balls of a batch once, with the model of its round. Here all are fitted with the model there
    is, and batches are counted back from the newest label, as if each were as large as this one. Without labels the
    mean radius is that of `probcover`, as in its authors' experiments.
    With n examples in a part, O(n(n + L)d) time in float64 and memory for its features.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Mishal & Weinshall, "DCoM: active learning for all learners", 2024 (arXiv 2407.01804); a, k, the largest radius and
    the resolution are those of the authors' code.
    """
    pool.check_budget(budget)
    from labelbench.common.progress import track

    parts = [pool.unlabelled]
    if len(pool.unlabelled) > config.largest_part:
        number = -(-len(pool.unlabelled) // config.largest_part)
        parts = [np.sort(part) for part in np.array_split(rng.permutation(pool.unlabelled), number)]
    ends = np.cumsum([len(part) for part in parts]) * budget // len(pool.unlabelled)
    with track(budget, "dcom") as counter:
        picks = [
            part[_picks(dataclasses.replace(pool, unlabelled=part), int(share), budget, config, rng, counter)]
            for part, share in zip(parts, np.diff(ends, prepend=0), strict=True)
            if share
        ]
    picks = np.concatenate(picks)
    return np.append(picks, rng.choice(np.setdiff1d(pool.unlabelled, picks), budget - len(picks), replace=False))


def _picks(pool, count, batch, config, rng, counter):
    """Positions of up to `count` picks among the unlabelled examples: int64, fewer where nothing is left to gain."""
    import torch

    from labelbench.selection import coverage

    known = len(pool.labelled)
    features, probabilities = pool.features_and_probabilities(np.append(pool.labelled, pool.unlabelled))
    x = coverage.unit(features)
    del features
    first, second = probabilities.topk(2, dim=1).values.double().unbind(1)
    uncertainty = 1 - (first - second)
    labels = probabilities.argmax(1)
    labels[:known] = torch.tensor(pool.labels, device=labels.device)

    covered, radius = _balls(pool, x, labels, batch, config, rng)
    competence = _competence(float(covered.double().mean()), config)
    low, high = uncertainty.aminmax()
    uncertainty = ((uncertainty - low) / (high - low if high > low else 1))[known:]
    density = torch.zeros(len(pool.unlabelled), dtype=torch.float64, device=x.device)
    _count(density, x[known:], x[~covered], radius, +1)
    picks = []
    while len(picks) < count:
        scores = competence * _scaled(uncertainty) + (1 - competence) * _scaled(density)
        # Rounded, so that equal scores tie; a pick's own are 0.
        best, at = scores.mul_(2.0**30).round_().max(0)
        best, at = (int(value) for value in torch.stack([best, at.double()]).tolist())
        if best <= 0:
            break
        picks.append(at)
        near = (coverage.squared_distances(x[known + at][None], x)[0] < radius**2 - 1e-9) & ~covered
        covered |= near
        _count(density, x[known:], x[near], radius, -1)
        # Nothing can be closer to a pick and uncovered: exactly 0, unless the radius is tiny.
        uncertainty[at : at + 1] = density[at : at + 1] = 0
        counter.update(1)
    return np.array(picks, dtype=np.int64)


def _balls(pool, x, labels, batch, config, rng):
    """Which examples the balls of labelled ones cover, (n,) bool, and the mean radius; x (n, d) begins with these."""
    import torch

    from labelbench.selection.strategies import probcover

    known = len(pool.labelled)
    covered = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    radius = config.delta
    if radius is None:
        some = x
        if len(x) > config.largest_part:
            some = x[torch.as_tensor(np.sort(rng.choice(len(x), config.largest_part, replace=False)), device=x.device)]
        radius = min(
            probcover.pure_radius(some, pool.num_classes, probcover.Config().purity, rng), config.largest_delta
        )
    radii = []
    ends = range(known % batch or batch, known + 1, batch)
    for start, end in itertools.pairwise([0, *ends]):
        provisional = covered | _covered(x, x[start:end], np.full(end - start, radius))
        purity = 0.4 + 0.2 * float(provisional.double().mean())
        found = _radii(x, labels, range(start, end), purity, config)
        covered |= _covered(x, x[start:end], found)
        radii.extend(found)
        radius = float(np.mean(radii))
    return covered, radius


def _radii(x, labels, centres, purity, config):
    """For each position in `centres` the radius, found by bisection, of a ball with enough of its label: (m,)."""
    import torch

    from labelbench.selection import coverage, temporaries

    radii = []
    at = torch.as_tensor(list(centres), device=x.device)
    for some in at.split(max(temporaries.elements(x) // len(x), 1)):
        squared = coverage.squared_distances(x[some], x)
        same = labels[some][:, None] == labels
        low = torch.zeros(len(some), dtype=torch.float64, device=x.device)
        high = torch.full_like(low, config.largest_delta)
        width = config.largest_delta
        while width > config.resolution:
            middle = (low + high) / 2
            inside = squared < (middle.square() - 1e-9)[:, None]
            # The centre is inside, so that a ball is never empty.
            inside[torch.arange(len(some), device=x.device), some] = True
            pure = (inside & same).sum(1) >= purity * inside.sum(1) - 1e-9
            low, high = torch.where(pure, middle, low), torch.where(pure, high, middle)
            width /= 2
        radii.append((low + high) / 2)
    return torch.cat(radii).cpu().numpy()


def _covered(x, centres, radii):
    """Which rows of x are closer to one of `centres` than its radius: (n,) bool."""
    import torch

    from labelbench.selection import coverage, temporaries

    found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    limits = torch.as_tensor(np.square(radii) - 1e-9, device=x.device)
    rows = max(temporaries.elements(x) // len(x), 1)
    for some, limit in zip(centres.split(rows), limits.split(rows), strict=True):
        found |= (coverage.squared_distances(some, x) < limit[:, None]).any(0)
    return found


def _count(density, x, others, radius, sign):
    """Adds to `density`, in place, `sign` for each of `others` that is closer to a row of x than the radius."""
    from labelbench.selection import coverage, temporaries

    if not len(others):
        return
    norms = others.square().sum(1)
    rows = max(temporaries.elements(x) // len(others), 16)
    for part, of in zip(x.split(rows), density.split(rows), strict=True):
        inside = coverage.squared_distances(part, others, norms) < radius**2 - 1e-9
        of.add_(inside.sum(1), alpha=sign)


def _scaled(values):
    """Divided by the largest, where that is not zero."""
    import torch

    largest = values.max()
    return values / torch.where(largest > 0, largest, 1)


def _competence(covered, config):
    """From nearly 0 at no coverage to 1 at a coverage of 1."""

    def growth(at):
        return 1 + math.exp(min(-config.steepness * (at - config.centre), 700))

    return growth(1) / growth(covered)
