"""Memory and precision of the pretended GPU: what a job does where one is short and the other is not kept."""

import numpy as np
import pytest
import torch
from gpu import DEVICE
from gpu_selection import select

import pools
from fakegpu import GPU
from labelbench.common import gpu_memory as memory
from labelbench.common import jobs
from labelbench.selection import temporaries


def test_a_batch_that_needs_too_much_memory_is_chosen_in_smaller_pieces(caplog, monkeypatch):
    monkeypatch.setattr(temporaries, "_ELEMENTS", {"cpu": 1 << 19, "cuda": 1 << 16})
    pool = pools.classes(n=2000, labelled=100, d=4)

    def work(divisor):
        with temporaries.divided(divisor):
            return select("maxherding", DEVICE, *pool, 40, chunk_size=2000 // divisor)

    with GPU.memory() as whole:
        expected = work(1)
    with GPU.memory() as least:
        assert np.array_equal(work(16), expected)
    assert least.peak < 0.8 * whole.peak
    with GPU.memory(limit=(least.peak + whole.peak) // 2):
        assert np.array_equal(memory.fitted(work), expected)
    assert "as large" in caplog.text


def test_the_message_of_a_full_gpu():
    with GPU.memory(limit=1_000_000_000):
        held = torch.zeros(150_000_000, device=DEVICE)
        with pytest.raises(torch.OutOfMemoryError) as error:
            torch.zeros(150_000_000, device=DEVICE)
        text = memory.message(error.value, "embed")
    assert len(held) and "pretended, 1.0 GB" in text and "0.6 GB at last" in text and "0.4 GB were free" in text


@pytest.fixture
def tf32():
    """A site whose environment allows TF32, before a job has begun."""
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    jobs.keep_float32()


def copies_picked(name):
    """(picks in common with the CPU's, picks that are copies of earlier ones) where every image is there twice."""
    (features, probabilities, labelled), known = pools.classes(n=600, k=5, d=32, labelled=30)
    for array in (features, probabilities):
        array[300:] = array[:300]
    mine, theirs = (select(name, device, (features, probabilities, labelled), known, 60) for device in (DEVICE, "cpu"))
    return len(np.intersect1d(mine, theirs)), len(mine) - len(np.unique(mine % 300))


def test_a_job_computes_in_float32_whatever_the_site_allows(tf32):
    rough, copies = copies_picked("badge")
    assert rough < 60 and copies > 0
    jobs.keep_float32()  # as jobs.device does
    assert copies_picked("badge") == (60, 0)
