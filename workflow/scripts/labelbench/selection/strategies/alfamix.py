"""ALFA-Mix: examples whose prediction changes when class features are mixed in (Parvaneh et al. 2022)."""

import math
from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features", "head", "labels")


@dataclass(frozen=True)
class Config:
    """epsilon: bound of the mixing ratio α in units of 1/√d, at most 1; it is raised in steps of itself up to 1."""

    epsilon: float = 0.2

    def __post_init__(self):
        if not 0 < self.epsilon <= 1:
            raise ValueError(f"epsilon must be above 0 and at most 1, not {self.epsilon}")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`, at most: where all examples are candidates."""
    return sizes.features(sizes.examples) + sizes.k_means(sizes.unlabelled, sizes.budget)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples, with features the head has not learnt and diverse: (budget,) int64.

    The anchor z* of a class is the mean feature of its labelled examples. Mixing it into the features z of an example
    with the ratio α* = ε‖z* − z‖ (g/‖g‖) ⊘ (z* − z), the closed form that raises the loss most, g being the gradient of
    the cross-entropy at the predicted class, gives z + α* ⊙ (z* − z) = z + ε‖z* − z‖ g/‖g‖: the anchor decides only how
    far to go. As the region of a class is convex under a linear head, some anchor changes the prediction if the
    farthest one does, so only that one is tried. Candidates are the examples whose prediction changes for the smallest
    multiple of ε = `epsilon`/√d (up to 1/√d) at which there are as many as the budget. Their features, scaled to unit
    length, are clustered by k-means into as many clusters, and the candidate nearest to each centre is picked. Should
    there be fewer candidates than the budget, all are picked and the rest is uniform.
    O(UKd) time and k-means of the candidates; memory for their features and O((L + K)d). Raises UserError if fewer
    than `budget` examples are unlabelled.
    Parvaneh et al., "Active learning by feature mixing", CVPR 2022 (arXiv 2203.07034); the growing ε, the scaling and
    the uniform rest are those of the authors' code.
    """
    pool.check_budget(budget)
    from labelbench.selection.representatives import representatives

    levels = math.ceil(1 / config.epsilon)
    level = _level_of_change(pool, config.epsilon, levels)
    enough = next((x for x in range(1, levels) if (level <= x).sum() >= budget), levels)
    candidates = pool.unlabelled[level <= enough]
    if len(candidates) < budget:
        others = pool.unlabelled[level > enough]
        return np.append(candidates, rng.choice(others, budget - len(candidates), replace=False))
    return candidates[representatives(pool.features(candidates), budget, rng)]


def _level_of_change(pool, epsilon, levels):
    """The least multiple of ε that changes each unlabelled example's prediction, levels + 1 if none: (U,) int64."""
    import torch

    level = np.full(len(pool.unlabelled), levels + 1)
    if len(pool.labelled) == 0:
        return level
    anchors = _class_means(pool)
    weight, bias = pool.head.weight.double(), pool.head.bias.double()
    for rows, features in pool.feature_chunks(pool.unlabelled):
        features = features.double()
        logits = torch.addmm(bias, features, weight.T)
        predicted = logits.argmax(1, keepdim=True)
        # g up to its length: p − onehot with the other classes' probabilities scaled to sum to 1, never to vanish.
        residuals = logits.scatter(1, predicted, -torch.inf).softmax(1).scatter_(1, predicted, -1)
        direction = torch.nn.functional.normalize(residuals @ weight, dim=1)
        ahead = logits - logits.gather(1, predicted)
        slope = direction @ weight.T
        slope -= slope.gather(1, predicted)
        ahead.scatter_(1, predicted, -torch.inf)
        reach = epsilon / features.shape[1] ** 0.5 * torch.cdist(features, anchors).amax(1, keepdim=True)
        for multiple in range(levels, 0, -1):
            changes = (ahead + min(multiple, 1 / epsilon) * reach * slope).amax(1) > 1e-9  # not by rounding
            level[rows][changes.cpu().numpy()] = multiple
    return level


def _class_means(pool):
    """Mean features of every labelled class: (classes, d) float64 tensor."""
    import torch

    order = np.argsort(pool.labels, kind="stable")
    _, start = np.unique(pool.labels[order], return_index=True)
    classes = pool.features(pool.labelled[order]).double().tensor_split(torch.as_tensor(start[1:]))
    return torch.stack([features.mean(0) for features in classes])
