"""Digits drawn with a simulated pen.

Each digit has a few skeletons, written down by hand: strokes through control points on a 10 x 10 grid, x to the right
and y downwards. A drawing picks a skeleton, moves its control points, runs a Catmull-Rom spline through them
(Catmull & Rom 1974), shears, rotates and stretches the curve and inks it with a round pen. What it owes to real
digits says `resources/glyphclip/MODEL_CARD.md`.
"""

import functools
import math

import torch

SKELETONS = {
    0: (
        ("5 0, 2 1.5, 1 5, 2 8.5, 5 10, 8 8.5, 9 5, 8 1.5, 5 0",),
        ("7 1, 4 0, 1.5 3, 1 7, 4 10, 8 8, 9 4, 7.5 1.5, 5 0.5",),
        ("6 0, 3 2, 2 6, 3.5 9.5, 6 9, 8 5, 8 1.5, 6 0",),
    ),
    1: (
        ("5 0, 5 3.3, 5 6.7, 5 10",),
        ("7 0, 5.7 3.3, 4.3 6.7, 3 10",),
        ("2.5 3, 5.5 0", "5.5 0, 5.4 5, 5.2 10"),
        ("1 4.5, 6 0", "6 0, 6 5, 6 10"),
        ("2.5 2.5, 5.5 0", "5.5 0, 5.5 5, 5.5 10", "2 10, 9 10"),
        ("3.5 1.5, 5.5 0", "5.5 0, 5.2 5, 5 10", "3 10, 7.5 10"),
        ("5 0, 5 5, 5 10", "2 10, 8 10"),
    ),
    2: (
        ("1.5 2.5, 3 0.5, 6 0, 8.5 2, 7.5 4.5, 4 7.5, 1 10", "1 10, 5 9.8, 9.5 10"),
        ("1.5 2, 4.5 0, 8 1.5, 7 4.5, 3 8.8, 1.3 9.3, 1.6 7.8, 4 8, 6.5 9.6, 9.5 9.3",),
        ("1 1.5, 5 0, 8.3 1.8, 6.5 5, 1.5 9.8", "1.5 9.8, 5.5 9, 9 9.6"),
        ("2.2 3, 3 0.6, 6.5 0.3, 7.5 3, 5 6.5, 2 10", "2 10, 8 10"),
    ),
    3: (
        ("1.5 1, 5 0, 8 1.8, 6.5 4.2, 4 4.8", "4 4.8, 7.5 5.5, 8.5 7.8, 5.5 10, 1.5 9"),
        ("1.5 0, 8.5 0", "8.5 0, 4.5 4", "4.5 4, 8 5.5, 8 8.5, 5 10, 1.5 9"),
        ("1.5 1.5, 4.5 0, 8 1.5, 6 4.5, 8.5 7, 6.5 9.7, 1 9.5",),
        ("2 0.5, 6 0, 8 2, 6 4.3, 3.5 4.8", "3.5 4.8, 7 5, 8.5 7, 7 9.3, 3.5 10, 1.2 8.5"),
    ),
    4: (
        ("2.5 0, 1.5 5.5", "1.5 5.5, 9 5.5", "7 2, 6.8 6, 6.5 10"),
        ("7 0, 1 6.5", "1 6.5, 9.5 6.5", "7 0, 7 5, 7 10"),
        ("1.5 0, 1.7 3.5, 4 5.5, 8 4.2", "8.5 0, 8 5, 7.5 10"),
        ("4.5 0, 1 6.3", "1 6.3, 9 6", "6 3.5, 5.5 7, 5 10"),
        ("2 0, 1.2 3, 1.5 5.8, 5 6.2, 9.5 5.5", "7.5 1, 7 6, 6 10"),
    ),
    5: (
        ("8.5 0, 2.5 0", "2.5 0, 2 4.5", "2 4.5, 5.5 3.8, 8.5 6, 7.5 9, 4.5 10, 1.5 9"),
        ("8.5 0.5, 4 0.5, 2.5 3, 5.5 4.8, 8 7, 6 9.8, 1.5 9.5",),
        ("9 0, 4 0.5", "4 0.5, 2 5", "2 5, 6 4.2, 8 6.5, 6 9.3, 2 10"),
        ("2.5 0.3, 2.2 4.6", "2.2 4.6, 6.5 4.4, 8.3 7, 6 10, 1.8 9.3", "2.5 0.3, 8.8 0.3"),
    ),
    6: (
        ("7.5 0, 4 2, 1.8 6, 3 9.5, 6 10, 8.3 8, 7 5.5, 4 5.5, 2 7.5",),
        ("5 0, 2.5 3.5, 2 8, 5 10, 8 8, 6 5.8, 2.5 7",),
        ("4 0, 1.5 5, 2.5 9.3, 6 10, 9 7, 6 4.5, 2 6.5",),
        ("6.5 0, 3 4, 2 8, 4.5 10, 7 8.8, 6 6.5, 2.5 7.8",),
    ),
    7: (
        ("1 0.2, 9 0", "9 0, 6.2 5, 4 10"),
        ("1.5 0.3, 9 0", "9 0, 6.5 5, 5 10", "3.5 5.2, 9 5"),
        ("1 2, 1.3 0.3", "1.3 0.3, 9 0.3", "9 0.3, 6 5, 4.5 10"),
        ("0.8 1.5, 4 0.2, 8.8 0.6", "8.8 0.6, 7 5, 6 10"),
        ("1 1, 5 0, 8.5 0.5, 7.5 4, 5.5 10", "4 5, 9.5 4.6"),
    ),
    8: (
        ("5 4.8, 2 2.5, 5 0, 8 2.5, 5 4.8, 1.5 7.5, 5 10, 8.5 7.5, 5 4.8",),
        ("5 0, 2 2.3, 5 4.6, 8 2.3, 5 0", "5 4.6, 1.5 7.3, 5 10, 8.5 7.3, 5 4.6"),
        ("8 1.5, 5 0, 2.2 2, 5 4.8, 8.2 7.5, 5 10, 1.8 7.8, 4.8 5, 8 1.5",),
        ("6 4.6, 3.8 2.4, 5.8 0, 7.6 2, 5.4 4.8, 3 7.8, 4.6 10, 6.8 8, 5.6 4.8",),
    ),
    9: (
        ("8 2, 5.5 0, 2 2, 3 4.8, 6.5 4.5, 8 2", "8 2, 8 6, 7 10"),
        ("8.2 2.5, 5 0, 1.8 2.5, 4.5 5, 8.2 2.5", "8.2 2.5, 8.3 7, 6 10, 2 9.3"),
        ("7.5 1, 4 0.3, 2 2.8, 4 5, 7.5 4", "8 0.3, 7.5 5, 5.5 10"),
        ("7.6 2, 5 0.2, 2.4 2.2, 4.6 4.6, 7.6 2", "7.6 2, 7.2 6, 4.5 10"),
    ),
}
CURVE_POINTS = 64


def _catmull_rom(num_points, t):
    """Weights (num_points,) of the control points at parameter `t` in [0, num_points − 1]; the ends are doubled."""
    segment = min(int(t), num_points - 2)
    u = t - segment
    weights = torch.zeros(num_points)
    basis = (-u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, -(u**2) + u**3)
    for offset, weight in zip(range(-1, 3), basis, strict=True):
        weights[min(max(segment + offset, 0), num_points - 1)] += weight / 2
    return weights


@functools.cache
def _skeleton_tensors():
    """(control points (V, C, 2) in [−½, ½], spline weights (V, CURVE_POINTS, C), digit (V,)).

    Strokes that meet share a control point, so that they still meet after the points have been moved. The curve's
    points are dealt to the strokes by their length: the pen moves at an even pace.
    """
    drawings = [
        (digit, [[tuple(map(float, p.split())) for p in stroke.split(",")] for stroke in skeleton])
        for digit, skeletons in SKELETONS.items()
        for skeleton in skeletons
    ]
    most = max(len({point for stroke in strokes for point in stroke}) for _, strokes in drawings)
    control = torch.zeros(len(drawings), most, 2)
    weights = torch.zeros(len(drawings), CURVE_POINTS, most)
    for v, (_, strokes) in enumerate(drawings):
        slot = {point: i for i, point in enumerate(dict.fromkeys(p for stroke in strokes for p in stroke))}
        control[v, : len(slot)] = torch.tensor(list(slot)) / 10 - 0.5
        lengths = torch.tensor([sum(map(math.dist, s, s[1:])) for s in strokes])
        ends = (lengths.cumsum(0) / lengths.sum() * CURVE_POINTS).round().int().tolist()
        for stroke, start, end in zip(strokes, [0, *ends[:-1]], ends, strict=True):
            slots = torch.tensor([slot[p] for p in stroke])
            for row, t in zip(range(start, end), torch.linspace(0, len(stroke) - 1, end - start), strict=True):
                weights[v, row].index_add_(0, slots, _catmull_rom(len(stroke), float(t)))
    return control, weights, torch.tensor([digit for digit, _ in drawings])


def draw(digits, size, generator):
    """Pen drawings (B, 1, size, size) float32 in [0, 1], white on black, of `digits` (B,) int64.

    Every random number comes from `generator`.
    """
    control, weights, of_digit = _skeleton_tensors()
    batch = len(digits)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    # A skeleton of the wanted digit, all equally likely: the largest of random keys among those that qualify.
    keys = torch.rand(batch, len(of_digit), generator=generator)
    chosen = keys.masked_fill(of_digit != digits[:, None], -1).argmax(1)

    unsteadiness = uniform(0.015, 0.065, 1, 1)
    moved = control[chosen] + unsteadiness * torch.randn(batch, *control.shape[1:], generator=generator)
    curve = weights[chosen] @ moved
    x, y = curve.unbind(-1)
    x = x * uniform(0.5, 0.95, 1) - uniform(-0.15, 0.45, 1) * y  # narrower, and leaning to the right more often
    angle = uniform(-0.2, 0.2, 1)
    x, y = x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()
    x, y = (c - (c.amin(1, keepdim=True) + c.amax(1, keepdim=True)) / 2 for c in (x, y))
    # Scanned digits are cut out and scaled to fill the height.
    zoom = uniform(0.78, 0.95, 1) / y.abs().amax(1, keepdim=True).mul(2)
    zoom = torch.minimum(zoom, 0.95 / x.abs().amax(1, keepdim=True).mul(2).clamp_min(1e-3))
    x, y = x * zoom + uniform(-0.04, 0.04, 1), y * zoom + uniform(-0.03, 0.03, 1)

    pixel = (torch.arange(size) + 0.5) / size - 0.5
    dx = (pixel - x[..., None]).square()
    dy = (pixel - y[..., None]).square()
    nearest = torch.full((batch, size, size), 4.0)
    for k in range(CURVE_POINTS):
        nearest = torch.minimum(nearest, dy[:, k, :, None] + dx[:, k, None, :])
    # The pen is as thick as it takes to ink a given share of the page, within what is still legible.
    distance = nearest.sqrt()
    ranked = distance.flatten(1).sort(1).values
    rank = (uniform(0.15, 0.36, 1) * size**2).long()
    radius = ranked.gather(1, rank).clamp(0.035, 0.13)[..., None]
    ink = (radius - distance) * size + 0.5  # a pixel is inked by the part of it that the pen covers
    return ink.clamp(0, 1)[:, None]
