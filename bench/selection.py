"""Times one selection on a pool given as arrays and prints one JSON line.

    python bench/selection.py --strategy badge --synthetic 50000,100,512 --budget 1000
    python bench/selection.py --strategy coreset --input pool.npz --budget 1000 --reference

A pool file holds `features` (N, d), `probabilities` (N, K), `labels` (N,) and `labelled`, the indices of the labelled
examples. Only `select` is timed: the arrays are in memory before. `--reference` also times the plain one-at-a-time
reference of the tests, in turn with it, in the float type of the arrays, and counts equal picks (BADGE draws at random:
only its distribution is that of the reference). `peak_memory_mb` is the peak resident memory of the process up to the
end of the first selection, the arrays included.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "tests")]


def synthetic(n, k, d, seed, labelled=1000):
    """Gaussian class blobs with a power-law spectrum.

    Returns features (n, d) and probabilities (n, k) in float32, the latter with a mean top-1 of 0.85, labels (n,), and
    the indices of `labelled` examples.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    # Class means about 6 standard deviations of the noise apart, in any dimension.
    means = rng.standard_normal((k, d), dtype=np.float32) * np.float32(6 / (2 * d) ** 0.5)
    features = rng.standard_normal((n, d), dtype=np.float32)
    features += means[labels]
    logits = features @ means.T - 0.5 * np.square(means).sum(1)
    # A spectrum that decays, as those of embeddings do. In a round cloud all distances are alike, which flatters
    # blocked algorithms.
    features *= np.arange(1, d + 1, dtype=np.float32) ** -0.5

    def softmax(logits, temperature):
        e = np.exp((logits - logits.max(1, keepdims=True)) / np.float32(temperature))
        return e / e.sum(1, keepdims=True)

    low, high = 0.01, 100.0
    for _ in range(30):
        temperature = (low * high) ** 0.5
        too_sharp = softmax(logits[:2000], temperature).max(1).mean() > 0.85
        low, high = (temperature, high) if too_sharp else (low, temperature)
    return features, softmax(logits, temperature), labels, rng.choice(n, min(labelled, n // 2), replace=False)


def load(path):
    """The arrays of a pool file; ends the program with a message where the file or an array is missing."""
    import numpy as np

    if not path.is_file():
        sys.exit(f"There is no pool file {path}.")
    with np.load(path) as file:
        missing = {"features", "probabilities", "labels", "labelled"} - set(file.files)
        if missing:
            sys.exit(f"{path} lacks {', '.join(sorted(missing))}; it has {', '.join(sorted(file.files))}.")
        return file["features"], file["probabilities"], file["labels"], file["labelled"]


def three_sizes(text):
    """(N, K, d) from "N,K,d"."""
    n, k, d = (int(x) for x in text.split(","))
    return n, k, d


def timed(function):
    """(seconds, result) of one call."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, help="pool file (.npz)")
    source.add_argument(
        "--synthetic", metavar="N,K,d", type=three_sizes, help="pool of Gaussian blobs, 1000 of it labelled"
    )
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic pool and of the strategy")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1, help="the median time is reported (default: 1)")
    parser.add_argument("--reference", action="store_true", help="time the plain reference too")
    args = parser.parse_args()

    # Read by BLAS and OpenMP when they are loaded, so before numpy and torch are imported.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    import numpy as np
    import torch

    from labelbench import registry
    from labelbench.errors import UserError
    from labelbench.pool import Pool

    torch.set_num_threads(args.threads)
    try:
        strategy = registry.load("strategies", args.strategy)
        if args.input:
            features, probabilities, labels, labelled = load(args.input)
        else:
            features, probabilities, labels, labelled = synthetic(*args.synthetic, args.seed)
        pool = Pool.from_arrays(features, probabilities, labelled, labels[labelled])
        pool.check_budget(args.budget)
    except UserError as error:
        sys.exit(str(error))

    def select():
        return strategy.select(pool, args.budget, strategy.Config(), np.random.default_rng(args.seed))

    seconds, reference_seconds = [], []
    for repeat in range(args.repeats):
        elapsed, picks = timed(select)
        seconds.append(elapsed)
        if repeat == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if args.reference:
            import reference_strategies

            reference = getattr(reference_strategies, args.strategy)
            rng = np.random.default_rng(args.seed)
            elapsed, expected = timed(lambda: reference(features, probabilities, labelled, args.budget, rng))  # noqa: B023
            reference_seconds.append(elapsed)

    result = {
        "strategy": args.strategy,
        "N": len(features),
        "K": probabilities.shape[1],
        "d": features.shape[1],
        "budget": args.budget,
        "threads": args.threads,
        "seconds": round(statistics.median(seconds), 4),
        "peak_memory_mb": round(peak),
    }
    if args.reference:
        result["reference_seconds"] = round(statistics.median(reference_seconds), 4)
        result["reference_ratio"] = round(statistics.median(reference_seconds) / statistics.median(seconds), 2)
        result["same_picks_as_reference"] = int(np.sum(picks == expected))
    result["picks"] = picks.tolist()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
