"""The device that the tests of this folder compute on: the second of two, as a job beside another one is given it."""

from types import SimpleNamespace

import torch

from labelbench.common import jobs

torch.set_num_threads(1)
OF_ANOTHER_JOB, DEVICE = (jobs.device(SimpleNamespace(resources={"gpu": 1})) for _ in range(2))
assert (OF_ANOTHER_JOB, DEVICE) == ("cuda:0", "cuda:1")
