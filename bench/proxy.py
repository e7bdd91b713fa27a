"""Time training of a proxy on cached embeddings, per pass over the labels; one JSON line per case.

    python bench/proxy.py                      # the paper's CIFAR-10 setting, linear and shallow
    python bench/proxy.py --selector shallow --pool 50000 --labels 10000 --dim 512 --classes 10

The timing includes everything that a pass needs: drawing the batches, gathering float16 views, forward, backward,
optimiser step and evaluation on 5,000 validation examples. Synthetic Gaussian classes; CPU, float32.
"""

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow" / "scripts"))

import numpy as np
import torch

from labelbench import label_set, proxy, registry, training
from labelbench.jobs import Stopwatch


def synthetic(pool, dim, classes, seed, views=2):
    """Clean pool (N, d) float16, `views` weak and strong views of it, validation (5000, d), and both label vectors."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim)).astype(np.float32)

    def draw(labels):
        return (centres[labels] + rng.normal(scale=4.0, size=(len(labels), dim))).astype(np.float16)

    labels, validation = rng.integers(classes, size=pool), rng.integers(classes, size=5000)
    clean = draw(labels)
    weak = [clean + rng.normal(scale=0.5, size=clean.shape).astype(np.float16) for _ in range(views)]
    strong = [clean + rng.normal(scale=1.5, size=clean.shape).astype(np.float16) for _ in range(views)]
    return clean, weak, strong, labels, draw(validation), validation


def measure(selector, trainer_name, data, args):
    clean, weak, strong, labels, val, val_labels = data
    trainer = registry.load("trainers", trainer_name)
    ratio = {"unlabelled_ratio": args.unlabelled_ratio} if trainer_name != "passive" else {}
    config = trainer.Config(batch_size=args.batch, epochs=args.passes, patience=0, **ratio)
    chosen = np.random.default_rng(args.seed).choice(args.pool, args.labels, replace=False)
    bought = label_set.empty("synthetic", 0).extended(chosen, labels[chosen], 1)
    mean, std = clean.astype(np.float32).mean(0), clean.astype(np.float32).std(0)
    model = proxy.build({"name": selector}, mean, std, args.classes, seed=args.seed)
    views = training.CachedViews(weak, strong, "cpu")
    epoch_ends = [time.perf_counter()]

    class Clock(logging.Handler):
        def emit(self, record):
            epoch_ends.append(time.perf_counter())

    log = logging.getLogger(f"bench.{selector}.{trainer_name}")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(Clock())
    history = training.fit(
        model, trainer, config, views, bought, args.pool, args.classes,
        (lambda: [torch.from_numpy(val)], val_labels), np.random.default_rng(args.seed), log,
    )  # fmt: skip
    seconds = np.diff(epoch_ends)
    return {
        "selector": selector,
        "trainer": trainer_name,
        "pool": args.pool,
        "labels": args.labels,
        "dim": args.dim,
        "classes": args.classes,
        "batch": args.batch,
        "unlabelled_ratio": args.unlabelled_ratio,
        "threads": args.threads,
        "seconds_per_pass": {"median": round(float(np.median(seconds)), 4), "min": round(float(seconds.min()), 4)},
        "steps_per_pass": history[0]["steps"],
        "peak_memory_mb": Stopwatch.peak_memory_mb(),
        "val_accuracy": round(history[-1]["val_accuracy"], 4),
        "mask_rate": history[-1]["mask_rate"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--selector", nargs="+", default=["linear", "shallow"])
    parser.add_argument("--trainer", nargs="+", default=["flexmatch"])
    parser.add_argument("--pool", type=int, default=50_000)
    parser.add_argument("--labels", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--unlabelled-ratio", type=int, default=5)
    parser.add_argument("--passes", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = synthetic(args.pool, args.dim, args.classes, args.seed)
    for selector in args.selector:
        for trainer in args.trainer:
            print(json.dumps(measure(selector, trainer, data, args)), flush=True)


if __name__ == "__main__":
    main()
