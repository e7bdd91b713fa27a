"""What the strategies share that look for the boundary of each class along its one-vs-rest order."""

import numpy as np

from labelbench.common.progress import track
from labelbench.selection.pool import Pool


def orders(pool: Pool, indices: np.ndarray) -> np.ndarray:
    """The order of the examples for each class, most confident first: (K, N) int32, positions in `indices`.

    indices: (N,) int64 into the pool. Class k sorts by the margin p_k − max_j p_j, descending (in float32); of equal
    margins, as all that are predicted k have, the more confident (max_j p_j) comes first, then the earlier position.
    O(KN log N) time; 4·K·N bytes and one chunk of the pool in memory.
    Zhang, Katz-Samuels & Nowak, "GALAXY: graph-based active learning at the extreme", ICML 2022.
    """
    import torch

    shortfalls = torch.empty((pool.num_classes, len(indices)))
    confidences = torch.empty(len(indices), device=pool.device)
    for rows, _, probabilities in pool.chunks(indices):
        confidences[rows] = probabilities.amax(1)
        shortfalls[:, rows] = (confidences[rows, None] - probabilities).T.contiguous().cpu()

    by_confidence = confidences.sort(descending=True, stable=True).indices
    # Floats that are not negative sort as their bits do, and integers sort faster. A row is needed no more once it is
    # sorted, so its order takes its place: K·N numbers fit in memory only once.
    result = shortfalls.view(torch.int32)
    with track(pool.num_classes, "orders", unit="classes") as progress:
        for row in result:
            bits = row.to(pool.device).index_select(0, by_confidence)
            # Narrow before it crosses: a copy that waits is converted by the host.
            row.copy_(by_confidence.index_select(0, bits.sort(stable=True).indices).int())
            progress.update()
    return result.numpy()
