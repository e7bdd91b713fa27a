"""`bench/gpu.py` on very small data: on the CPU, and on the pretended GPU."""

import importlib.util
import json
import sys

import pytest

import pools
from conftest import REPO


def run(monkeypatch, folder, *arguments):
    """What one run of the bench has written: the content of gpu.json, and the table."""
    spec = importlib.util.spec_from_file_location("bench_gpu", REPO / "bench/gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--output", str(folder), *arguments])
    module.main()
    return json.loads((folder / "gpu.json").read_text()), (folder / "gpu.md").read_text()


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_every_part_is_measured(device, monkeypatch, tmp_path):
    import torch

    torch.cuda.set_device(1)
    found, table = run(monkeypatch, tmp_path, "--device", device)
    rows = {row["what"]: row for row in found["rows"]}
    for name in pools.NAMES:
        row = rows[f"picks: {name}"]
        assert row["twice_the_same"] and row["as_the_cpu"] == "30 of 30"
    assert {"selection: margin", "selection: badge", "selection: bait_binary"} <= set(rows)
    assert not [row for row in found["rows"] if "failed" in row or "skipped" in row]
    assert all(row["seconds"] >= 0 for row in rows.values())
    assert sum(name.startswith("training") for name in rows) == sum(name.startswith("images") for name in rows) == 2
    assert (found["machine"].get("gpu") == "pretended") == (device != "cpu")
    assert len(table.splitlines()) == len(rows) + 4


def test_what_is_missing_is_said_and_the_rest_measured(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "timm", None)
    found, table = run(monkeypatch, tmp_path, "--device", "cpu", "--only", "images", "selection")
    assert found["rows"][0] == {"what": "images", "skipped": "the package timm is missing"}
    assert "the package timm is missing" in table and len(found["rows"]) == 9


def test_time_is_kept(monkeypatch, tmp_path):
    found, _ = run(monkeypatch, tmp_path, "--device", "cpu", "--only", "selection", "--minutes", "0")
    assert {row["skipped"] for row in found["rows"]} == {"no time left"}
