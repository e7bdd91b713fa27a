"""Many small multinomial logistic regressions at once."""

import torch

# Values of a block of rows: its scores and its features in float64 are 128 MB each at most.
BLOCK = 1 << 24


def fit_heads(features, labels, num_classes: int, iterations: int = 50, penalty: float = 1.0) -> torch.Tensor:
    """The last layers W (C, d, K) float64 that minimise Σ cross-entropy + λ ‖W‖²/2 on C training sets of the same size.

    features: (C, n, d) float32 or float64; give them a column of ones for an intercept, which is penalised as well: the
    minimum is unique even where classes have no example. labels: (C, n) int64; penalty: λ > 0.

    Steps are those of Newton's method with the Hessian's bound XᵀX/2 + λ in its place (Böhning, "Multinomial logistic
    regression algorithm", 1992), which needs one factorisation for all steps and classes, with Nesterov's momentum,
    restarted where it points uphill (O'Donoghue & Candès, 2015). O(C(nd² + d³ + iterations·ndK)) time; all computations
    are in float64, by blocks of rows, so beyond the features memory is O(C(d² + dK)) and a block.
    """
    count, _, width = features.shape
    rows = max(BLOCK // (count * max(num_classes, width)), 1)
    parts = list(zip(features.split(rows, 1), labels.split(rows, 1), strict=True))
    bound = 0
    for x, _ in parts:
        x = x.double()
        bound = bound + x.mT @ x / 2
    bound.diagonal(dim1=1, dim2=2).add_(penalty)
    factor = torch.linalg.cholesky(bound)

    def slope(heads):
        """The gradient at these heads."""
        total = penalty * heads
        for x, own in parts:
            x = x.double()
            wrong = (x @ heads).softmax(2)
            wrong.scatter_add_(2, own[:, :, None], wrong.new_full((), -1.0).expand(*own.shape, 1))
            total = torch.baddbmm(total, x.mT, wrong)
        return total

    heads = bound.new_zeros(count, width, num_classes)
    ahead, speed = heads, bound.new_ones(count, 1, 1)
    for _ in range(iterations):
        gradient = slope(ahead)
        stepped = ahead - torch.cholesky_solve(gradient, factor)
        change = stepped - heads
        uphill = (gradient * change).sum((1, 2), keepdim=True) > 0
        speed = speed.masked_fill(uphill, 1)
        faster = (1 + (1 + 4 * speed.square()).sqrt()) / 2
        heads, ahead = stepped, stepped + (speed - 1) / faster * change
        speed = faster
    return heads
