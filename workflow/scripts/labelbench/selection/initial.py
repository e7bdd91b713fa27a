"""The published first batch, for studies that have to begin where LabelBench's did."""

import numpy as np

# Of the published runs, whose first batches are drawn with seed + 42. ImageNet has two runs, of the first two seeds.
SEEDS = (1234, 9999999, 3334155, 6667077)


def labelbench(trial, pool_size, budget):
    """Pool positions (budget,) int64 of the first batch of the authors' run number `trial` (0 to 3), in their order.

    A fact of the authors' code and result files: `RandomState(seed + 42).choice(N, b, replace=False)`.
    """
    return np.random.RandomState(SEEDS[trial] + 42).choice(pool_size, budget, replace=False)  # noqa: NPY002
