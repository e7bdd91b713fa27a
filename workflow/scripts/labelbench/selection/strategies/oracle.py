"""Oracle: the best of many candidate batches, judged with the true labels (BoSS; Huseljic et al. 2026)."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool
from labelbench.selection.strategies import (
    alfamix,
    badge,
    bait_binary,
    base,
    class_balanced,
    cluster_margin,
    coreset,
    dropquery,
    dropquery_class,
    margin,
    maxherding,
    power_margin,
    random,
    typiclass,
    typiclust,
    uherding,
)

USES = ("features", "probabilities", "head", "labels")
UPPER_BOUND = True

# Who can propose batches: all of the authors', and more. Imported by name, as the digest of this file's code follows
# such imports only.
PROPOSERS = {
    "random": random,
    "class_balanced": class_balanced,
    "power_margin": power_margin,
    "margin": margin,
    "badge": badge,
    "coreset": coreset,
    "typiclust": typiclust,
    "maxherding": maxherding,
    "dropquery": dropquery,
    "alfamix": alfamix,
    "cluster_margin": cluster_margin,
    "base": base,
    "bait_binary": bait_binary,
    "uherding": uherding,
    "typiclass": typiclass,
    "dropquery_class": dropquery_class,
}

# Features of the training sets that are refitted at a time, at most: 128 MiB in float64.
LARGEST_FIT = 1 << 24


@dataclass(frozen=True)
class Config:
    """candidates: batches to choose from. strategies: who proposes them, in turn, each with its default settings.

    subset: examples that a proposal is chosen from, drawn anew for each; at most half of the pool (but never fewer than
    the budget), as else most strategies would propose one batch again and again. evaluated: examples that the refits
    are judged by, at most.
    """

    candidates: int = 100
    strategies: tuple[str, ...] = tuple(PROPOSERS)
    subset: int = 5000
    evaluated: int = 5000

    def __post_init__(self):
        for name in ("candidates", "subset", "evaluated"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.strategies:
            raise ValueError("strategies must name at least one strategy")
        if unable := [name for name in self.strategies if name not in PROPOSERS]:
            raise ValueError(f"strategies must be among {', '.join(PROPOSERS)}, and not {', '.join(unable)}")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: of the refits, or of a proposal."""
    subset = max(sizes.budget, min(config.subset, sizes.unlabelled // 2))
    part = dataclasses.replace(sizes, unlabelled=subset)
    proposals = [PROPOSERS[name].memory(PROPOSERS[name].Config(), part) for name in config.strategies]
    known = sizes.labelled + min(config.evaluated, sizes.unlabelled)
    refits = 6 * sizes.features(known) + 3 * 8 * LARGEST_FIT
    return 170_000_000 + max(*proposals, refits)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator, true_labels: np.ndarray) -> np.ndarray:
    """Indices of the candidate batch that a model would learn most from: (budget,) int64, as its strategy ordered them.

    true_labels: (N,) int64, of the whole pool. No annotator could choose so: this is a bound for other strategies, and
    only an approximate one, since it is the best of `candidates` batches and not of all.

    For each candidate a multinomial logistic regression (`common.refit`) on the model's features, standardised, is
    fitted to the labelled examples and the candidate with its true labels. The one of highest accuracy wins, of equal
    ones the first. The accuracy is that on the rest of the pool, or on `evaluated` random examples of it, without the
    candidate; validation and test data play no part, so that accuracy on them stays a fair measure.
    O(candidates·(L + budget)·d·(d + K)) time and what the strategies need for a pool of `subset` examples; memory for
    the features of the labelled and the evaluated examples. Raises UserError if fewer than `budget` examples are
    unlabelled.
    Huseljic et al., "BoSS: a best-of-strategies selector as an oracle for deep active learning", 2026 (arXiv
    2603.13109), which retrains the last layer for 50 epochs.
    """
    pool.check_budget(budget)
    size = len(pool.unlabelled)
    evaluated = rng.choice(pool.unlabelled, min(config.evaluated, size), replace=False)
    batches = []
    for proposal in range(config.candidates):
        strategy = PROPOSERS[config.strategies[proposal % len(config.strategies)]]
        subset = rng.choice(pool.unlabelled, max(budget, min(config.subset, size // 2)), replace=False)
        part = dataclasses.replace(pool, unlabelled=np.sort(subset))
        # Two of them know the true labels, as their authors have it.
        extra = {"true_labels": true_labels} if getattr(strategy, "UPPER_BOUND", False) else {}
        batches.append(strategy.select(part, budget, strategy.Config(), rng, **extra))
    return batches[int(np.argmax(_accuracies(pool, batches, np.sort(evaluated), true_labels)))]


def _accuracies(pool, batches, evaluated, true_labels):
    """Accuracy on `evaluated`, less the batch itself, of the refit for each batch; 0 where nothing is left."""
    import torch

    from labelbench.common.progress import track
    from labelbench.common.refit import fit_heads

    known, judged = pool.features(pool.labelled).double(), pool.features(evaluated).double()
    both = torch.cat([known, judged])
    mean, deviation = both.mean(0), both.std(0, correction=0)
    deviation[deviation == 0] = 1

    def standardised(features):
        return torch.nn.functional.pad((features - mean) / deviation, (0, 1), value=1)

    known, judged = standardised(known), standardised(judged)
    truth = torch.as_tensor(true_labels[evaluated], device=judged.device)
    together = max(LARGEST_FIT // ((len(known) + len(batches[0])) * known.shape[1]), 1)
    accuracies = []
    with track(len(batches), "oracle", unit="candidates") as done:
        for start in range(0, len(batches), together):
            part = batches[start : start + together]
            features = torch.stack([torch.cat([known, standardised(pool.features(b).double())]) for b in part])
            labels = np.stack([np.append(pool.labels, true_labels[b]) for b in part])
            heads = fit_heads(features, torch.as_tensor(labels, device=features.device), pool.num_classes)
            for batch, head in zip(part, heads, strict=True):
                # Rounded, so that classes that are as likely tie and the first of them is predicted.
                right = ((judged @ head).mul_(1e6).round_().argmax(1) == truth).cpu().numpy()
                left = ~np.isin(evaluated, batch)
                accuracies.append(right[left].mean() if left.any() else 0.0)
            done.update(len(part))
    return accuracies
