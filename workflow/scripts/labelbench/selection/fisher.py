"""Greedy selection by Fisher information: min tr(M⁻¹F), M the information of what is labelled, F that of the pool.

Rank one. `trade` takes or gives back examples whose information is x xᵀ. With A = M⁻¹, C = M⁻¹FM⁻¹, a = xᵀAx and
b = xᵀCx, adding (s = 1) or removing (s = −1) an example lowers the trace by s·b/(1 + s·a) (Sherman–Morrison). Done one
at a time, every change of M costs a pass over the pool, bound by memory. Here a and b of the whole pool are computed in
one matrix product and then followed, from pick to pick, for a block of the most promising examples alone. An example
outside, where they were a₀ and b₀ with the matrices A₀ and C₀, scores at most v now if

    s(C − vA) <= s(C₀ − vA₀) + σA₀  as matrices, and  (s·b₀ + σa₀)/(1 + s·a₀) <= v,

so a Cholesky factorisation at each pick proves that the best of the block is the best of all.

Higher rank. The information of an example in multinomial logistic regression is P ⊗ xxᵀ, P = RRᵀ. Its products with a
matrix on pairs (class, feature) take the features first, so that nothing of size Kd is formed per example.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

from labelbench.common.errors import UserError
from labelbench.common.progress import track
from labelbench.selection import temporaries

# Scores that differ by less than this part are equal: of those the first is taken.
TIE = 1e-9

# Examples followed from pick to pick: 4096 × 512 float64 values are 16 MiB.
BLOCK = 4096

# More are followed, up to so many float64 values (1 GiB), once the whole pool is refreshed after fewer picks than this.
_LARGEST_BLOCK = 1 << 27
_SHORT_RUN = 32

# Each level of the pool that is refreshed by itself is about this part of the one before.
_NARROWING = 16

# Picks after which A and C are computed anew, so that rounding cannot build up.
_LONGEST_RUN = 2048

# A float32 dot product of a few hundred terms is good to this part of the product of the norms.
_RESOLUTION = 1e-6


def first_best(scores) -> tuple[float, int]:
    """(largest of the float64 `scores`, position of the first that ties with it)."""
    best = scores.max()
    first = (scores >= best - TIE * best.abs()).int().argmax()
    # In one piece: on a GPU the host waits once.
    best, first = torch.stack([best, first.double()]).tolist()
    return best, int(first)


def on_device(rows, x):
    """A slice as it is; int64 positions as a tensor beside `x`, so that all that is taken there crosses once."""
    return rows if isinstance(rows, slice) else torch.as_tensor(rows, device=x.device)


@dataclass(frozen=True)
class RankOne:
    """n examples of information weights[i]·z zᵀ.

    vectors: (n, d) float32; weights: (n,) float64, positive.
    """

    vectors: torch.Tensor
    weights: torch.Tensor

    def take(self, rows) -> "RankOne":
        """The examples at `rows` (int64 positions or mask)."""
        return RankOne(self.vectors[rows], self.weights[rows])

    def scaled(self, rows) -> torch.Tensor:
        """x = √w·z in float64 at `rows`."""
        return self.vectors[rows].double() * self.weights[rows].sqrt()[:, None]

    def information(self) -> torch.Tensor:
        """(d, d) float64, the sum over the examples."""
        d = self.vectors.shape[1]
        result = torch.zeros((d, d), dtype=torch.float64, device=self.vectors.device)
        for start in range(0, len(self.weights), 8192):
            x = self.scaled(slice(start, start + 8192))
            result.addmm_(x.T, x)
        return result


def trade(examples: RankOne, information, total, count: int, sign: int, what: str, block: int = BLOCK) -> np.ndarray:
    """Positions of `count` examples, each the best to add to `information` (`sign` 1) or to take from it (−1).

    information: (d, d) float64, M, positive definite before and after; updated in place. total: (d, d) float64, F.
    `what` names the work in the log. Of examples whose scores tie (`TIE`) the first is taken. Candidates come from
    float32 and its error bound, the decision between them from float64, so `block`, where it begins, changes the speed
    only: the picks are those of greedy in float64, unless more than `block` examples are closer to a tie than the bound
    can tell, when the block decides. O(nd²) for a refresh of all and O(block·d + d³) per pick; O(n + block·d + d²)
    memory besides the arguments. Returns (count,) int64, in pick order.
    """
    free = torch.ones(len(examples.weights), dtype=torch.bool, device=information.device)
    most = max(block, temporaries.share(_LARGEST_BLOCK) // len(total))
    sizes, levels, outside = _levels(free, block)
    fresh, picks, whole = 0, [], 0
    with track(count, what) as progress:
        while len(picks) < count:
            if fresh == 0:
                # With few labels each pick changes all scores: following more is cheaper than beginning anew.
                if picks and len(picks) - whole < _SHORT_RUN and block < most:
                    block = min(4 * block, most)
                    sizes, levels, outside = _levels(free, block)
                whole = len(picks)
            state = _State.of(information, total, sign)
            for at in range(fresh, len(outside)):
                rows = levels[at][free[levels[at]]]
                levels[at + 1], outside[at] = _split(examples, rows, sizes[at + 1], state)
            rows = levels[-1][free[levels[-1]]]
            taken, failed = _follow(examples.scaled(rows), state, outside, min(count - len(picks), _LONGEST_RUN), fresh)
            if taken:
                chosen = rows[taken]
                x = examples.scaled(chosen)
                information.addmm_(x.T, x, alpha=sign)
                free[chosen] = False
                picks += chosen.tolist()
                progress.update(len(taken))
                fresh = failed
            else:
                # What is left of the pool beats a level that was refreshed just now: widen to the level above.
                fresh = min(failed, fresh - 1)
    return np.array(picks, dtype=np.int64)


def _levels(free, block):
    """Levels within levels: the whole pool, the promising part of it, of that the `block`. Most of the time only the
    inner ones have to be refreshed.

    Returns (sizes, rows, outside): `rows[k]` are the examples of level k, of which only the first is filled,
    `outside[k]` those in it, but not in the next.
    """
    n = len(free)
    steps = max(round(math.log(n / block, _NARROWING)), 1) if n > block else 0
    sizes = [n, *(round(n * (block / n) ** (step / steps)) for step in range(1, steps + 1))]
    return sizes, [torch.arange(n, device=free.device)] + [None] * steps, [None] * steps


@dataclass
class _State:
    """A = M⁻¹ and C = M⁻¹FM⁻¹ as M changes, and (T, Λ) with A = TTᵀ, C = TΛTᵀ for the M of the beginning."""

    sign: int
    inverse: torch.Tensor
    product: torch.Tensor
    basis: torch.Tensor
    spectrum: torch.Tensor

    @classmethod
    def of(cls, information, total, sign):
        lower = torch.linalg.cholesky(information)
        half = torch.linalg.solve_triangular(lower, total, upper=False)
        spectrum, rotation = torch.linalg.eigh(torch.linalg.solve_triangular(lower, half.T, upper=False))
        basis = torch.linalg.solve_triangular(lower.T, rotation, upper=True)
        spectrum.clamp_(min=0)
        return cls(sign, basis @ basis.T, (basis * spectrum) @ basis.T, basis, spectrum)

    def change(self, x):
        """Adds or removes x xᵀ; returns (u, v, c) with A' = A − c·uuᵀ, u = Ax and v = Cx."""
        u, v = self.inverse @ x, self.product @ x
        c = self.sign / (1 + self.sign * (x @ u))
        e = c * (v - c / 2 * (x @ v) * u)
        self.inverse.addr_(u, u * c, alpha=-1)
        self.product.addr_(u, e, alpha=-1).addr_(e, u, alpha=-1)
        return u, v, c


@dataclass
class _Outside:
    """The examples that are not followed: what they can score at most."""

    sign: int
    inverse: torch.Tensor
    product: torch.Tensor
    numerator: torch.Tensor  # s·b₀, at most
    a: torch.Tensor  # a₀, at most
    denominator: torch.Tensor  # 1 + s·a₀, the one of the two ends that gives the larger bound
    sigma: float = 0.0
    limit: float | None = None

    def below(self, best, state):
        """Whether all of them are proven to score less than `best`, and not to tie with it either."""
        if self.limit is None:
            self._allow(max(1e-3 * abs(best), 1e-300))
        less = best - TIE * abs(best)
        while self.limit < less:
            excess = (self.product - state.product).sub_(self.inverse - state.inverse, alpha=less)
            excess.mul_(self.sign).add_(self.inverse, alpha=self.sigma)
            if torch.linalg.cholesky_ex(excess).info == 0:
                return True
            self._allow(1.5 * self.sigma)
        return False

    def _allow(self, sigma):
        self.sigma = sigma
        self.limit = ((self.numerator + sigma * self.a) / self.denominator).max().item()


def _split(examples, rows, size, state):
    """The `size` most promising of `rows`, ascending, and the others as `_Outside` (None if there are none)."""
    n = len(rows)
    if n <= size:
        return rows, None
    basis, spectrum = state.basis.float(), state.spectrum.float()
    root_a, root_b, norms = (torch.empty(n, dtype=torch.float64, device=rows.device) for _ in range(3))
    for start in range(0, n, 8192):
        part = slice(start, start + 8192)
        z = examples.vectors[rows[part]]
        squared = (z @ basis).square_()
        norms[part] = z.norm(dim=1)
        root_a[part] = squared.sum(1).sqrt_().double()
        root_b[part] = (squared @ spectrum).sqrt_().double()
    roots = examples.weights[rows].sqrt()
    error_a = _RESOLUTION * torch.linalg.norm(state.basis) * norms
    error_b = _RESOLUTION * torch.linalg.norm(state.basis * state.spectrum.sqrt()) * norms
    high = (roots * (root_a + error_a)).square_()
    low = (roots * (root_a - error_a).clamp_(min=0)).square_()
    numerator = state.sign * (roots * (root_b + state.sign * error_b).clamp_(min=0)).square_()
    denominator = 1 + state.sign * low
    score = numerator / denominator
    inside = torch.zeros(n, dtype=torch.bool, device=rows.device)
    inside[score.topk(size).indices] = True
    others = ~inside
    bounds = numerator[others], high[others], denominator[others]
    return rows[inside], _Outside(state.sign, state.inverse.clone(), state.product.clone(), *bounds)


def _follow(x, state, outside, count, fresh):
    """Greedy picks (positions in x (m, d) float64) while they are proven the best of all; at most `count`.

    Also returns the lowest level that has to be refreshed before the next. With `fresh` 0, all levels are as good as
    they get, and the first pick is made in any case.
    """
    a = ((x @ state.inverse) * x).sum(1)
    b = ((x @ state.product) * x).sum(1)
    taken, gone = [], torch.zeros(len(x), dtype=torch.bool, device=x.device)
    while len(taken) < min(count, len(x)):
        best, at = first_best((state.sign * b / (1 + state.sign * a)).masked_fill_(gone, -torch.inf))
        for level, others in enumerate(outside):
            if others is not None and not others.below(best, state) and (taken or fresh):
                return taken, level
        u, v, c = state.change(x[at])
        along, across = (x @ torch.stack([u, v], 1)).unbind(1)
        a -= c * along.square()
        b -= c * along * (2 * across - c * b[at] * along)
        taken.append(at)
        gone[at : at + 1].fill_(True)  # a slice: a number as index makes a GPU wait for the host
    return taken, len(outside)


@dataclass(frozen=True)
class Softmax:
    """n examples of information P ⊗ xxᵀ in multinomial logistic regression, on K − 1 coordinates of the classes.

    The classes' logits matter up to a constant only, so P is singular along the vector of ones. A basis of what is
    orthogonal to that vector takes the direction out. Pair (k, j) of coordinate and feature is at k·d + j.

    features: (n, d) float64; probabilities: (n, K) float32.
    classes: c; the expectation over the labels is taken over the c most probable classes, at most K.
    """

    features: torch.Tensor
    probabilities: torch.Tensor
    classes: int

    def take(self, rows) -> "Softmax":
        """The examples at `rows` (slice or int64 positions)."""
        rows = on_device(rows, self.features)
        return Softmax(self.features[rows], self.probabilities[rows], self.classes)

    def _expectation(self):
        """(p (n, K), the c most probable classes (n, c), their probabilities made to sum to 1 (n, c)), in float64."""
        p = self.probabilities.double()
        p = p / p.sum(1, keepdim=True)
        # Of equally probable classes the first, on any hardware.
        top = torch.sort(p, dim=1, descending=True, stable=True).indices[:, : self.classes]
        q = p.gather(1, top)
        return p, top, q / q.sum(1, keepdim=True)

    def factors(self) -> "Factors":
        """The examples' Gᵢ: the gradients by the logits, each times the root of its probability, and the features."""
        p, top, q = self._expectation()
        basis = class_basis(p.shape[1], p.device)
        gradients = basis[top] - (p @ basis)[:, None]
        return Factors(self.features, (q.sqrt()[:, :, None] * gradients).mT)

    def information(self) -> torch.Tensor:
        """((K − 1)d, (K − 1)d) float64, the sum over the examples, in one matrix product of all pairs of classes with
        all pairs of features; O(n K²d²/4)."""
        n, d = self.features.shape
        k = self.probabilities.shape[1]
        class_pairs, feature_pairs = (torch.triu_indices(m, m, device=self.features.device) for m in (k, d))
        folded = self.features.new_zeros((class_pairs.shape[1], feature_pairs.shape[1]))
        step = max((1 << 22) // max(folded.shape), 1)
        for start in range(0, n, step):
            part = self.take(slice(start, start + step))
            p, top, q = part._expectation()
            q = torch.zeros_like(p).scatter_(1, top, q)
            # Σ q_k (e_k − p)(e_k − p)ᵀ = diag(q) − qqᵀ + (p − q)(p − q)ᵀ
            i, j = class_pairs
            pairs = (p - q)[:, i] * (p - q)[:, j] - q[:, i] * q[:, j]
            pairs[:, i == j] += q
            i, j = feature_pairs
            folded.addmm_(pairs.T, part.features[:, i] * part.features[:, j])
        unfolded = self.features.new_empty((k, k, feature_pairs.shape[1]))
        unfolded[class_pairs[0], class_pairs[1]] = unfolded[class_pairs[1], class_pairs[0]] = folded
        basis = class_basis(k, self.features.device)
        unfolded = torch.einsum("ki,klf,lj->fij", basis, unfolded, basis)
        result = self.features.new_empty((d, d, k - 1, k - 1))
        result[feature_pairs[0], feature_pairs[1]] = result[feature_pairs[1], feature_pairs[0]] = unfolded
        return result.permute(2, 0, 3, 1).reshape((k - 1) * d, (k - 1) * d)

    def times(self, columns) -> torch.Tensor:
        """GᵢᵀV for all examples i, (n, c, r), with V `columns` ((K − 1)d, r)."""
        n, d = self.features.shape
        result = self.features.new_empty((n, self.classes, columns.shape[1]))
        step = max((1 << 22) * d // columns.numel(), 1)
        for start in range(0, n, step):
            result[start : start + step] = self.take(slice(start, start + step)).factors().times(columns)
        return result

    def between(self, matrix) -> torch.Tensor:
        """GᵢᵀSGᵢ for all examples i, (n, c, c), with S the symmetric `matrix` (D, D), D = (K − 1)d."""
        n, d = self.features.shape
        result = self.features.new_empty((n, self.classes, self.classes))
        step = max((1 << 22) * d // matrix.numel(), 1)
        for start in range(0, n, step):
            part = self.take(slice(start, start + step)).factors()
            result[start : start + step] = part.within(part.contracted(matrix))
        return result


@dataclass(frozen=True)
class Factors:
    """Gᵢ = Rᵢ ⊗ xᵢ of a few examples, whose information is GᵢGᵢᵀ; float64.

    features: (n, d), the xᵢ; roots: (n, K − 1, c), the Rᵢ.
    """

    features: torch.Tensor
    roots: torch.Tensor

    def take(self, rows) -> "Factors":
        """The examples at `rows` (slice or int64 positions)."""
        rows = on_device(rows, self.features)
        return Factors(self.features[rows], self.roots[rows])

    def times(self, columns) -> torch.Tensor:
        """GᵢᵀV for all i, (n, c, r), with V `columns` (D, r), D = (K − 1)d."""
        blocks = columns.reshape(self.roots.shape[1], -1, columns.shape[1])
        contracted = torch.bmm(self.features.expand(len(blocks), -1, -1), blocks)
        return torch.bmm(self.roots.mT, contracted.transpose(0, 1))

    def contracted(self, matrix, out=None) -> torch.Tensor:
        """Σ_j xᵢⱼ S[(k, j)] for all coordinates k and examples i, (K − 1, n, D), with S `matrix` (D, D)."""
        blocks = matrix.view(self.roots.shape[1], -1, len(matrix))
        return torch.bmm(self.features.expand(len(blocks), -1, -1), blocks, out=out)

    def within(self, contracted) -> torch.Tensor:
        """GᵢᵀSGᵢ for all i, (n, c, c), from what `contracted` returns for the symmetric S."""
        product = contracted.unflatten(2, (len(contracted), -1)) @ self.features[:, :, None]
        return self.roots.mT @ product[..., 0].transpose(0, 1) @ self.roots

    def multiply(self, matrix) -> torch.Tensor:
        """SG of the only example, (D, c), with S the symmetric `matrix` (D, D); O(D²), not O(cD²)."""
        return self.contracted(matrix)[:, 0].T @ self.roots[0]


@functools.cache
def class_basis(classes: int, device) -> torch.Tensor:
    """(K, K − 1) float64 orthonormal columns, orthogonal to the vector of ones."""
    from scipy.linalg import helmert

    return torch.as_tensor(helmert(classes).T.copy(), device=device)


class Inverse:
    """A = M⁻¹ and C = M⁻¹FM⁻¹ under additions to M and removals, by Woodbury's identity; (D, D) float64 each."""

    def __init__(self, information, total):
        """information: M, positive definite; total: F."""
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(information)).contiguous()
        self.product = self.inverse @ total @ self.inverse

    def effect(self, examples: Softmax, at: int, sign: int) -> "Change":
        """What adding the information of an example to M (`sign` 1) or taking it from M (−1) does to A and C."""
        example = examples.take(slice(at, at + 1)).factors()
        return Change.of(example, example.multiply(self.inverse), example.multiply(self.product), sign)

    def apply(self, *changes) -> None:
        """Makes changes, each of them after the one before; O(cD²), less in one go than one by one."""
        if not changes:
            return
        subtract_symmetric(self.inverse, [(c.v @ c.s, c.v) for c in changes])
        subtract_symmetric(self.product, [pair for c in changes for pair in ((c.v, c.e), (c.e, c.v))])


@dataclass(frozen=True)
class Change:
    """A − VSVᵀ and C − VEᵀ − EVᵀ are what A and C become; V and E (D, c), S (c, c) float64."""

    v: torch.Tensor
    s: torch.Tensor
    e: torch.Tensor

    @classmethod
    def of(cls, example: Factors, v, w, sign: int) -> "Change":
        """For an example whose products AG and CG are v and w."""
        own_v, own_w = example.times(torch.cat([v, w], 1))[0].chunk(2, dim=1)
        s = torch.linalg.inv(own_v + sign * torch.eye(len(own_v), dtype=v.dtype, device=v.device))
        return cls(v, s, w @ s - v @ (s @ own_w @ s / 2))

    def along(self, examples: "Softmax | Factors"):
        """GᵀV and GᵀE of all examples, (n, c, c) each."""
        return examples.times(torch.cat([self.v, self.e], 1)).chunk(2, dim=2)


class Gains:
    """By how much tr(M⁻¹F) would fall for each of `examples`, were it added to M or (`sign` −1) taken from it."""

    def __init__(self, examples: "Softmax | Factors", inner, outer):
        """inner, outer: GᵀAG and GᵀCG of all examples, (n, c, c) each; changed in place."""
        self.examples, self.inner, self.outer = examples, inner, outer

    @classmethod
    def of(cls, examples: Softmax, state: Inverse) -> "Gains":
        return cls(examples, examples.between(state.inverse), examples.between(state.product))

    def follow(self, change: Change) -> None:
        """Takes note of a change of M."""
        along, across = change.along(self.examples)
        self.inner -= along @ change.s @ along.mT
        crossed = along @ across.mT
        self.outer -= crossed + crossed.mT

    def scores(self, sign: int) -> torch.Tensor:
        """tr((I + s·GᵀAG)⁻¹ s·GᵀCG) of each example, (n,)."""
        eye = torch.eye(self.inner.shape[1], dtype=self.inner.dtype, device=self.inner.device)
        solved = torch.linalg.solve(eye + sign * self.inner, sign * self.outer)
        return solved.diagonal(dim1=1, dim2=2).sum(1)


class Lookahead:
    """A few examples, and changes of M that are noted, but not made yet.

    Making each change at once, and looking at the next examples after it, takes passes over A and C that are bound by
    memory. Here one pass serves examples of several turns.
    """

    def __init__(self, examples: Softmax, state: Inverse, room):
        """room: (2, at least (K − 1)·n·D) float64, overwritten."""
        self.examples, self.changes = examples.factors(), []
        n, coordinates, _ = self.examples.roots.shape
        shape = (coordinates, n, len(state.inverse))
        self.products = [
            self.examples.contracted(matrix, out=space[: math.prod(shape)].view(shape))
            for matrix, space in zip((state.inverse, state.product), room, strict=True)
        ]
        self.inner, self.outer = (self.examples.within(product) for product in self.products)

    def scores(self, rows, sign: int) -> torch.Tensor:
        """`Gains.scores` of the examples at `rows`, once the noted changes are made."""
        rows = on_device(rows, self.inner)
        gains = Gains(self.examples.take(rows), self.inner[rows], self.outer[rows])
        for change in self.changes:
            gains.follow(change)
        return gains.scores(sign)

    def note(self, row: int, sign: int) -> None:
        """Notes that the example at `row` is added to M or taken from it, after the changes noted before."""
        example = self.examples.take(slice(row, row + 1))
        v, w = (product[:, row].T @ example.roots[0] for product in self.products)
        for change in self.changes:
            along, across = (product[0].T for product in change.along(example))
            v -= change.v @ (change.s @ along)
            w.addmm_(change.v, across, alpha=-1).addmm_(change.e, along, alpha=-1)
        self.changes.append(Change.of(example, v, w, sign))


def subtract_symmetric(matrix, products) -> None:
    """matrix −= Σ left·rightᵀ over pairs in `products`, in place, for a symmetric `matrix` and sum: half the work,
    exactly symmetric."""
    left, right = (torch.cat(factors, 1) for factors in zip(*products, strict=True))
    # In panels as wide as the product is fast in; tiles of their size are transposed within the cache.
    size = max(-(-len(matrix) // 8), 128)
    panels = [slice(start, start + size) for start in range(0, len(matrix), size)]
    for at, columns in enumerate(panels):
        matrix[columns.start :, columns].addmm_(left[columns.start :], right[columns].T, alpha=-1)
        square = matrix[columns, columns]
        square.copy_((square + square.T) / 2)
        for rows in panels[at + 1 :]:
            matrix[columns, rows] = matrix[rows, columns].T


# Four matrices of this many rows, and for a moment as much again to make them, are below 10 GB.
LARGEST_MATRIX = 12_000


def check_size(classes: int, features: int, pca_dim: int | None) -> None:
    """Raises UserError if information matrices for `classes` classes and `features` features would not fit."""
    features = min(features, pca_dim or features)
    size = (classes - 1) * features
    if size > LARGEST_MATRIX:
        raise UserError(
            f"BAIT on {classes} classes and {features} features needs several matrices of {8 * size**2 / 1e9:.0f} GB "
            f"each. Set pca_dim to at most {LARGEST_MATRIX // (classes - 1)}, or use bait_binary."
        )


def principal(features, dimensions: int) -> torch.Tensor:
    """Centred features (n, d) in their first principal components, (n, at most `dimensions`) float64.

    Components whose spread is only that of rounding are left out, so copies of one image have none at all.
    """
    n, d = features.shape
    mean = sum(part.double().sum(0) for part in features.split(8192)) / n
    covariance = torch.zeros((d, d), dtype=torch.float64, device=features.device)
    for part in features.split(8192):
        centred = part.double() - mean
        covariance.addmm_(centred.T, centred)
    variances, directions = torch.linalg.eigh(covariance / n)
    kept = variances > 1e-18 + 1e-14 * (variances.sum() + mean.square().sum())
    directions = directions[:, kept][:, -dimensions:]
    return temporaries.joined(((part.double() - mean) @ directions for part in features.split(8192)), n)
