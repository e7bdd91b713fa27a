import numpy as np

from references._coverage import squared_distances, unit
from references.probcover import pure_radius

SAME_PICKS = True


def select(view, budget, config, rng):
    everything = np.append(view.labelled, view.unlabelled)
    n, known = len(everything), len(view.labelled)
    x = unit(view.features[everything])
    d2 = squared_distances(x, x)
    p = np.sort(view.probabilities[everything], axis=1)
    u = 1 - (p[:, -1] - p[:, -2])
    labels = view.probabilities[everything].argmax(1)
    labels[:known] = view.labels

    def ball(i, radius):
        return d2[i] < radius**2 - 1e-9

    def share(radii):
        return sum(any(ball(i, radius)[j] for i, radius in enumerate(radii)) for j in range(n)) / n

    def radius_of(i, purity):
        low, high = 0.0, config.largest_delta
        while high - low > config.resolution + 1e-12:
            middle = (low + high) / 2
            inside = set(np.flatnonzero(ball(i, middle))) | {i}
            pure = np.mean([labels[j] == labels[i] for j in inside])
            low, high = (middle, high) if pure >= purity - 1e-9 / len(inside) else (low, middle)
        return (low + high) / 2

    delta = config.delta
    if delta is None:
        delta = min(pure_radius(x, view.num_classes, 0.95, rng), config.largest_delta)
    sizes = [known % budget] * (known % budget > 0) + [budget] * (known // budget)
    radii = []
    for size in sizes:
        purity = 0.4 + 0.2 * share(radii + [delta] * size)
        radii += [radius_of(i, purity) for i in range(len(radii), len(radii) + size)]
        delta = np.mean(radii)

    covered = {j for j in range(n) if any(ball(i, radius)[j] for i, radius in enumerate(radii))}
    a, k = config.centre, config.steepness
    competence = (1 + np.exp(-k * (1 - a))) / (1 + np.exp(-k * (len(covered) / n - a)))
    u = (u - u.min()) / (np.ptp(u) if np.ptp(u) > 0 else 1)
    u[:known] = 0
    picks = []
    while len(picks) < budget:
        r = np.array([len(set(np.flatnonzero(ball(i, delta))) - covered) for i in range(n)], dtype=float)
        r[:known] = r[picks] = 0
        scores = competence * u / (u.max() or 1) + (1 - competence) * r / (r.max() or 1)
        scores = np.round(scores * 2**30)
        if scores.max() <= 0:
            break
        picks.append(int(scores.argmax()))
        u[picks[-1]] = 0
        covered |= set(np.flatnonzero(ball(picks[-1], delta)))
    picks = everything[picks]
    rest = np.setdiff1d(view.unlabelled, picks)
    return np.append(picks, rng.choice(rest, budget - len(picks), replace=False)).astype(np.int64)
