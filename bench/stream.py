"""Margin sampling from a pool on disk, in a process of its own: seconds and peak memory, one JSON line per size.

    python bench/stream.py /tmp/pool 1000000,10000000 --dim 512 --classes 100 --budget 10000

Writes float16 shards of a million rows (a block of 65,536 random rows again and again; removed at the end) and runs
`python -m labelbench.select` on them. The system's cache may hold what was just written: `bytes_per_second` is then
the pace of memory and not of the disk.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SHARD = 1_000_000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--strategy", default="margin")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    block = rng.standard_normal((65_536, args.dim), dtype=np.float32).astype(np.float16)
    weight = rng.standard_normal((args.classes, args.dim), dtype=np.float32)
    np.savez(args.folder / "head.npz", weight=weight, bias=np.zeros(args.classes, np.float32))
    for size in args.sizes:
        shards = []
        for number, begin in enumerate(range(0, size, SHARD)):
            path = args.folder / f"{number}.npy"
            rows = min(SHARD, size - begin)
            file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, args.dim))
            for at in range(0, rows, len(block)):
                file[at : at + len(block)] = block[: rows - at]
            del file
            shards.append(str(path))
        command = [sys.executable, "-m", "labelbench.select", "--features", *shards, "--strategy", args.strategy]
        command += ["--head", str(args.folder / "head.npz"), "--budget", str(args.budget), "--threads", "1"]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts"), "OMP_NUM_THREADS": "1"}
        start = time.perf_counter()
        subprocess.run([*command, "-o", str(args.folder / "picks.csv")], env=environment, check=True)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = {
            "strategy": args.strategy,
            "rows": size,
            "dim": args.dim,
            "classes": args.classes,
            "budget": args.budget,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_memory_mb": round(used.ru_maxrss / 1024),
            "bytes_per_second": round(2 * size * args.dim / seconds),
        }
        print(json.dumps(result), flush=True)
        for path in shards:
            Path(path).unlink()


if __name__ == "__main__":
    main()
