"""What the strategies that sort by a score share."""

import numpy as np

from labelbench.selection.pool import Pool


def smallest(pool: Pool, budget: int, score) -> np.ndarray:
    """Indices of the `budget` unlabelled examples of smallest score, smallest first, of equal ones the lower index.

    score: callable from probabilities (m, K), a float32 tensor, to a float32 tensor (m,).
    Raises UserError if fewer than `budget` examples are unlabelled.
    """
    pool.check_budget(budget)
    scores = np.empty(len(pool.unlabelled), dtype=np.float32)
    for rows, _, probabilities in pool.chunks(pool.unlabelled):
        scores[rows] = score(probabilities).cpu().numpy()
    return pool.unlabelled[np.argsort(scores, kind="stable")[:budget]]
