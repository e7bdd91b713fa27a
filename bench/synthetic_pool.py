"""A synthetic pool of any size, with a linear head that knows its classes: in memory, or written as files.

    python bench/synthetic_pool.py imagenet_size 1281167,1000,512 --labelled 50000

writes a folder with `features.npy` (N, d) float16 and `head.npz`: `weight` (K, d) and `bias` (K,) float32, `labels`
(N,) and `labelled`, the indices of the labelled examples.
"""

import argparse
from pathlib import Path

import numpy as np

CHUNK = 16384


def three_sizes(text):
    """(N, K, d) from "N,K,d"."""
    n, k, d = (int(x) for x in text.split(","))
    return n, k, d


def synthetic(n, k, d, seed, labelled, features=None):
    """Gaussian class blobs with a power-law spectrum, and the head that tells them apart best.

    Returns features (n, d) float32 (or `features`, filled), weight (k, d) and bias (k,) float32, at a temperature that
    gives the softmax a mean maximum of 0.85, labels (n,), and the indices of `labelled` examples.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    chosen = rng.choice(n, min(labelled, n // 2), replace=False)
    # Class means about 6 standard deviations of the noise apart, in any dimension.
    means = rng.standard_normal((k, d), dtype=np.float32) * np.float32(6 / (2 * d) ** 0.5)
    # A spectrum that decays, as those of embeddings do. In a round cloud all distances are alike, which flatters
    # blocked algorithms.
    spectrum = np.arange(1, d + 1, dtype=np.float32) ** -0.5
    features = np.empty((n, d), dtype=np.float32) if features is None else features
    for start in range(0, n, CHUNK):
        rows = slice(start, start + CHUNK)
        drawn = rng.standard_normal((len(labels[rows]), d), dtype=np.float32)
        features[rows] = (drawn + means[labels[rows]]) * spectrum
    weight, bias = means / spectrum, -0.5 * np.square(means).sum(1)
    logits = features[:2000].astype(np.float32) @ weight.T + bias
    logits -= logits.max(1, keepdims=True)
    low, high = 0.01, 100.0
    for _ in range(30):
        temperature = (low * high) ** 0.5
        too_sharp = (1 / np.exp(logits / temperature).sum(1)).mean() > 0.85
        low, high = (temperature, high) if too_sharp else (low, temperature)
    return features, np.float32(weight / temperature), np.float32(bias / temperature), labels, chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("size", metavar="N,K,d", type=three_sizes)
    parser.add_argument("--labelled", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    n, k, d = args.size
    file = np.lib.format.open_memmap(args.folder / "features.npy", mode="w+", dtype=np.float16, shape=(n, d))
    _, weight, bias, labels, labelled = synthetic(n, k, d, args.seed, args.labelled, file)
    np.savez(args.folder / "head.npz", weight=weight, bias=bias, labels=labels, labelled=labelled)


if __name__ == "__main__":
    main()
