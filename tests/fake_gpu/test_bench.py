"""`bench/gpu.py --device cpu --tiny`."""

import sys

import small_bench


def test_every_part_is_tried_on_the_cpu(monkeypatch, tmp_path):
    found, table = small_bench.run(monkeypatch, tmp_path, "--device", "cpu")
    small_bench.check(found, table)
    assert "gpu" not in found["machine"] and "Measured on the CPU" in table


def test_what_is_missing_is_said_and_the_rest_measured(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "timm", None)
    found, table = small_bench.run(monkeypatch, tmp_path, "--device", "cpu", "--only", "images", "selection")
    assert found["rows"][0] == {"what": "images", "skipped": "the package timm is missing"}
    assert "the package timm is missing" in table and len(found["rows"]) == 9


def test_time_is_kept(monkeypatch, tmp_path):
    found, _ = small_bench.run(monkeypatch, tmp_path, "--device", "cpu", "--only", "selection", "--minutes", "0")
    assert {row["skipped"] for row in found["rows"]} == {"no time left"}
