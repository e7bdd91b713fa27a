"""`bench/gpu.py` on the pretended GPU, on the second of two."""

import torch

import small_bench


def test_every_part_is_measured(monkeypatch, tmp_path):
    torch.cuda.set_device(1)
    try:
        found, table = small_bench.run(monkeypatch, tmp_path, "--device", "cuda:1")
    finally:
        torch.cuda.set_device(0)
    small_bench.check(found, table)
    assert found["machine"]["gpu"] == "pretended"
