"""The published first batch, for studies that have to begin where LabelBench's did."""

import numpy as np

from labelbench.errors import UserError

SEEDS = (1234, 3334155, 6667077, 9999999)  # of the published runs; their first batches are drawn with seed + 42


def labelbench(trial, pool_size, budget):
    """Pool positions (budget,) int64 of the first batch of the authors' run number `trial`, in their order.

    Facts from the authors' code and result files: `RandomState(seed + 42).choice(N, b, replace=False)`.
    Raises UserError for a trial without a published run.
    """
    if trial >= len(SEEDS):
        raise UserError(
            f"`initial: labelbench` knows the first batches of {len(SEEDS)} published runs; trial {trial} has none. "
            f"Set trials to at most {len(SEEDS)} under `run`, or choose another `initial`."
        )
    return np.random.RandomState(SEEDS[trial] + 42).choice(pool_size, budget, replace=False)  # noqa: NPY002
