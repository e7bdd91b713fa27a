"""Runs the benchmark of selection, each case in a process of its own, and prints one JSON line per case.

    python bench/table.py                       # N = 50,000 and 100,000: minutes
    python bench/table.py --large imagenet_size # and N = 1,281,167 K = 1,000 B = 50,000: hours on two cores
    python bench/table.py --large imagenet_size --device cuda --only margin galaxy

The folder of `--large` is made with bench/synthetic_pool.py if it does not exist. `limit_seconds` is what a case should
take at most, `met` whether it did.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SMALL = "50000,10,512"
MANY_CLASSES = "100000,1000,512"
# (pool, strategy, settings, threads, seconds it should take)
CASES = [
    (SMALL, "badge", [], 1, 2),
    (SMALL, "coreset", [], 1, 2),
    (SMALL, "galaxy", [], 1, 0.5),
    (SMALL, "direct", [], 1, 1.5),
    (SMALL, "bait", ["pca_dim=30"], 1, 5),
    ("50000,100,512", "bait", ["pca_dim=30"], 2, 120),
    (MANY_CLASSES, "badge", [], 2, 10),
    (MANY_CLASSES, "coreset", [], 2, 5),
    (MANY_CLASSES, "galaxy", [], 2, 6),
    (MANY_CLASSES, "direct", [], 2, 10),
]
# Seconds on two CPU cores, and on one GPU where a limit is set.
LARGE = {
    "confidence": (120, None),
    "entropy": (120, None),
    "margin": (120, 2),
    "galaxy": (900, 60),
    "direct": (900, None),
    "badge": (3600, 15),
    "coreset": (3600, 15),
    "bait_binary": (3600, 120),
    "maxherding": (3600, None),
    "uherding": (3600, None),
    "typiclust": (3600, None),
}
SIZE_OF_LARGE, BUDGET_OF_LARGE = "1281167,1000,512", 50000


def run(strategy, settings, threads, device, budget, pool, limit):
    """One case as a dict; where the process fails, its last line of output."""
    command = [HERE / "selection.py", "--strategy", strategy, "--budget", budget, "--threads", threads]
    command += ["--device", device, *pool, "--set", *settings]
    done = subprocess.run([sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"strategy": strategy, "failed": done.returncode}
    result = json.loads(done.stdout)
    return result | {"limit_seconds": limit, "met": None if limit is None else result["seconds"] <= limit}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=Path, metavar="FOLDER", help="run the ImageNet-size cases on this pool as well")
    parser.add_argument("--device", default="cpu", help="of the large cases")
    parser.add_argument("--only", nargs="*", metavar="STRATEGY")
    args = parser.parse_args()
    for pool, strategy, settings, threads, limit in CASES:
        if not args.only or strategy in args.only:
            result = run(strategy, settings, threads, "cpu", 1000, ["--synthetic", pool], limit)
            print(json.dumps(result), flush=True)
    if args.large:
        if not (args.large / "head.npz").is_file():
            make = [
                sys.executable,
                HERE / "synthetic_pool.py",
                args.large,
                SIZE_OF_LARGE,
                "--labelled",
                BUDGET_OF_LARGE,
            ]
            subprocess.run([str(part) for part in make], check=True)
        for strategy, limits in LARGE.items():
            if not args.only or strategy in args.only:
                limit = limits[args.device != "cpu"]
                result = run(strategy, [], 2, args.device, BUDGET_OF_LARGE, ["--input", args.large], limit)
                print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
