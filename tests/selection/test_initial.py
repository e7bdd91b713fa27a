"""The first batches of the published runs."""

import numpy as np

from labelbench.selection import initial


def test_published_first_batches():
    # Two trials, as of ImageNet, begin where its two runs began.
    for trial, seed in enumerate((1234, 9999999)):
        drawn = np.random.RandomState(seed + 42).choice(50000, 1000, replace=False)  # noqa: NPY002
        assert np.array_equal(initial.labelbench(trial, 50000, 1000), drawn)
    batches = [initial.labelbench(trial, 50000, 1000) for trial in range(4)]
    assert len({tuple(batch) for batch in batches}) == 4
    assert all(len(set(batch)) == 1000 for batch in batches)
