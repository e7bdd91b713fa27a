"""BAIT by swaps, as LabelBench has it (Ash et al. 2021; Zhang et al. 2024)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features", "probabilities")


@dataclass(frozen=True)
class Config:
    """pca_dim: principal components of the features that are kept, all if there are fewer.
    num_proposals: random examples that may take the place of a member of the batch, each time it is a member's turn.
    swaps: how often each member has its turn.
    ridge: what is added to the diagonal of the information of labelled and batch, as a part of the mean of the diagonal
        that as many random examples would have.
    """

    pca_dim: int = 30
    num_proposals: int = 10
    swaps: int = 1
    ridge: float = 1e-3

    def __post_init__(self):
        if min(self.pca_dim, self.num_proposals, self.swaps) < 1:
            raise ValueError("pca_dim, num_proposals and swaps must be at least 1")
        if not self.ridge > 0:
            raise ValueError("ridge must be positive")


# Swaps after which the inverse is computed anew, so that rounding cannot build up.
_REFRESH = 256

# Turns that share one pass over the inverse: more save memory traffic and cost arithmetic.
_TURNS = 2


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: of all features, or later of 6 matrices, or as these are made."""
    dim = min(sizes.dim, config.pca_dim)
    reduced = 8 * sizes.examples * dim
    matrices = 6 * sizes.matrix(dim)
    at_first = sizes.features(sizes.examples) + reduced
    return sizes.probabilities(sizes.examples) + reduced + max(at_first, matrices, sizes.products(dim, sizes.classes))


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples that inform the last layer about the whole pool: (budget,) int64.

    Features are centred and reduced to `pca_dim` principal components x. The Fisher information of an example is
    I = P ⊗ xxᵀ with P = Qᵀ(diag p − ppᵀ)Q, where the columns of Q are an orthonormal basis of what is orthogonal to the
    vector of ones: along that vector the information is singular. Minimises tr(M⁻¹F), F = Σ I over the pool and M that
    over labelled and batch plus a ridge: LabelBench has none, but with few labels M alone is singular. The batch is
    random at first. In turn each member is taken out, and the best of itself and `num_proposals` random others is put
    in; of equal ones the member, then the one that was drawn first. The order of the batch is that of its positions.

    With D = (K − 1)·pca_dim: O(N K² pca_dim²/4) time for F and O(budget·swaps·K·D²) for the swaps; 4 matrices of D²
    float64, for a moment 8, 4·(num_proposals + 1)·K·D and N·pca_dim float64 values and N·(K + d) float32 of memory.
    Raises UserError if fewer than `budget` examples are unlabelled or D is too large.
    Ash et al., "Gone fishing: neural active learning with Fisher embeddings", NeurIPS 2021 (the objective); Zhang et
    al., "LabelBench", DMLR 2024, appendix G, eq. 5–9 (Q, PCA and swaps).
    """
    pool.check_budget(budget)
    import torch

    from labelbench.common.progress import track
    from labelbench.selection import fisher

    everything = np.sort(np.append(pool.labelled, pool.unlabelled))
    features, probabilities = pool.features_and_probabilities(everything)
    fisher.check_size(pool.num_classes, features.shape[1], config.pca_dim)
    examples = fisher.Softmax(fisher.principal(features, config.pca_dim), probabilities, pool.num_classes)
    del features

    order = rng.permutation(np.searchsorted(everything, pool.unlabelled))
    batch, rest = order[:budget], order[budget:]
    total = examples.information()
    scale = total.diagonal().mean() if len(total) else torch.zeros(())
    if len(rest) == 0 or scale == 0:  # nothing to swap, or nothing to gain from it
        return everything[batch]
    ridge = config.ridge * scale * (len(pool.labelled) + budget) / len(everything)
    labelled = examples.take(np.searchsorted(everything, pool.labelled)).information()
    labelled.diagonal().add_(ridge)

    state = fisher.Inverse(labelled + examples.take(batch).information(), total)
    room = total.new_empty((2, _TURNS * (1 + config.num_proposals) * (pool.num_classes - 1) * len(total)))
    swapped = 0
    with track(config.swaps * budget, "bait", unit="turns") as progress:
        for start in range(0, config.swaps * budget, _TURNS):
            turns = [turn % budget for turn in range(start, min(start + _TURNS, config.swaps * budget))]
            draws = [rng.choice(len(rest), min(config.num_proposals, len(rest)), replace=False) for _ in turns]
            seen = np.concatenate([batch[turns], rest[np.concatenate(draws)]])
            row_of = {index: row for row, index in enumerate(seen)}
            ahead = fisher.Lookahead(examples.take(seen), state, room)
            for at, drawn in zip(turns, draws, strict=True):
                rows = [row_of[index] for index in (batch[at], *rest[drawn])]
                ahead.note(rows[0], -1)
                _, best = fisher.first_best(ahead.scores(rows, 1))
                if best > 0:
                    ahead.note(rows[best], 1)
                    batch[at], rest[drawn[best - 1]] = rest[drawn[best - 1]], batch[at]
                    swapped += 1
                else:
                    ahead.changes.pop()
            state.apply(*ahead.changes)
            if swapped >= _REFRESH:
                state, swapped = fisher.Inverse(labelled + examples.take(batch).information(), total), 0
            progress.update(len(turns))
    return everything[batch]
