"""Times one selection and prints one JSON line.

    python bench/selection.py --strategy badge --synthetic 50000,100,512 --budget 1000
    python bench/selection.py --strategy galaxy --input imagenet_size --budget 50000 --threads 2
    python bench/selection.py --strategy coreset --synthetic 20000,10,64 --budget 500 --reference

A pool is features and a linear head, synthetic in memory or the files that bench/synthetic_pool.py writes (features are
memory-mapped then). Only `select` is timed. `--reference` also times the plain one-at-a-time reference of the tests, in
turn with it, in float64, and counts equal picks (where `same_picks` is false the two draw differently from the same
distribution). `peak_memory_mb` is the peak resident memory of the process up to the end of the first selection,
memory-mapped files included. Labels are the pool's own, sold by an oracle where a strategy buys one at a time.
"""

import argparse
import hashlib
import json
import logging
import os
import resource
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("workflow/scripts", "tests/selection", "bench")]


def load(folder):
    """Features, weight, bias, labels and labelled of a pool folder; ends the program where a file is missing."""
    import numpy as np

    for name in ("features.npy", "head.npz"):
        if not (folder / name).is_file():
            sys.exit(f"There is no {folder / name}. bench/synthetic_pool.py writes such a folder.")
    head = np.load(folder / "head.npz")
    features = np.load(folder / "features.npy", mmap_mode="c")
    return features, head["weight"], head["bias"], head["labels"], head["labelled"]


def timed(function):
    """(wall seconds, CPU seconds of all threads, result) of one call."""
    start, cpu = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - start, time.process_time() - cpu, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, help="folder with features.npy and head.npz")
    source.add_argument("--synthetic", metavar="N,K,d", help="pool of Gaussian blobs, 1000 of it labelled")
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the strategy")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic pool and of the strategy")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=1, help="the median time is reported (default: 1)")
    parser.add_argument("--reference", action="store_true", help="time the plain reference too")
    args = parser.parse_args()

    # Read by BLAS and OpenMP when they are loaded, so before numpy and torch are imported.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    import numpy as np
    import torch
    import yaml
    from synthetic_pool import synthetic, three_sizes

    from labelbench import select as select_alone
    from labelbench.common import registry
    from labelbench.common.errors import UserError
    from labelbench.planning import plan
    from labelbench.selection.pool import Head, Pool

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    try:
        strategy = registry.load("strategies", args.strategy)
        values = {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in args.set)}
        config = plan.complete(args.strategy, strategy.Config, values)
        if args.input:
            features, weight, bias, labels, labelled = load(args.input)
        else:
            features, weight, bias, labels, labelled = synthetic(*three_sizes(args.synthetic), args.seed, 1000)
    except UserError as error:
        sys.exit(str(error))

    def select():
        return select_alone(
            features,
            strategy=args.strategy,
            budget=args.budget,
            labelled=labelled,
            labels=labels[labelled],
            head=(weight, bias),
            settings=values,
            seed=args.seed,
            answer=labels.__getitem__,
            true_labels=labels,
            device=args.device,
        )

    def reference():
        import references

        head = Head(*(torch.as_tensor(x, device=args.device) for x in (weight, bias)))
        pool = Pool.from_head(features, head, labelled, labels[labelled], device=args.device)
        features_, probabilities = (
            x.double().cpu().numpy() for x in pool.features_and_probabilities(np.arange(len(features)))
        )
        view = references.View(features_, probabilities, labelled, labels[labelled], len(bias), weight, bias)
        needs = {"oracle": lambda index: int(labels[index])} if getattr(strategy, "SEQUENTIAL", False) else {}
        needs |= {"true_labels": labels} if getattr(strategy, "UPPER_BOUND", False) else {}
        rng = np.random.default_rng(args.seed)
        return timed(lambda: references.load(args.strategy).select(view, args.budget, config, rng, **needs))

    seconds, cpu_seconds, reference_seconds = [], [], []
    for repeat in range(args.repeats):
        try:
            elapsed, cpu, picks = timed(select)
        except UserError as error:
            sys.exit(str(error))
        seconds.append(elapsed)
        cpu_seconds.append(cpu)
        if repeat == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if args.reference:
            elapsed, _, expected = reference()
            reference_seconds.append(elapsed)

    result = {
        "strategy": args.strategy,
        "settings": values,
        "N": len(features),
        "K": len(bias),
        "d": features.shape[1],
        "labelled": len(labelled),
        "budget": args.budget,
        "threads": args.threads,
        "device": args.device,
        "seconds": round(statistics.median(seconds), 4),
        "cpu_seconds": round(statistics.median(cpu_seconds), 4),
        "peak_memory_mb": round(peak),
    }
    if args.reference:
        result["reference_seconds"] = round(statistics.median(reference_seconds), 4)
        result["reference_ratio"] = round(statistics.median(reference_seconds) / statistics.median(seconds), 2)
        result["same_picks"] = bool(np.array_equal(picks, expected))
        result["common_picks"] = len(np.intersect1d(picks, expected))
    result["picks_sha256"] = hashlib.sha256(picks.astype("<i8").tobytes()).hexdigest()[:16]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
