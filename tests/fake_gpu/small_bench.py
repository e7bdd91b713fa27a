"""`bench/gpu.py` on very small data, for the tests on the CPU and on the pretended GPU."""

import importlib.util
import json
import sys

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


def check(found, table):
    """Every part was measured, and every strategy picked what it picks on the CPU."""
    rows = {row["what"]: row for row in found["rows"]}
    for name in pools.NAMES:
        row = rows[f"picks: {name}"]
        assert row["twice_the_same"] and row["as_the_cpu"] == "30 of 30"
    assert {"selection: margin", "selection: badge", "selection: bait_binary"} <= set(rows)
    assert not [row for row in found["rows"] if "failed" in row or "skipped" in row]
    assert all(row["seconds"] >= 0 for row in rows.values())
    assert sum(name.startswith("training") for name in rows) == sum(name.startswith("images") for name in rows) == 2
    assert len(table.splitlines()) == len(rows) + 4
