"""Time training of a proxy on cached embeddings, per pass over the labels; one JSON line per case.

    python bench/proxy.py                      # the paper's CIFAR-10 setting, linear and shallow, all trainers
    python bench/proxy.py --selector shallow --pool 20000 --labels 12800 --classes 1000    # ImageNet's, per step

`times_flexmatch` is the median, over repetitions, of the processor time of the trainer's fastest pass by FlexMatch's.
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

from labelbench.common import registry
from labelbench.common.jobs import Stopwatch
from labelbench.data import label_set
from labelbench.training import proxy, training
from labelbench.training.trainers import _semi


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
    """Seconds of each pass of one training, of the clock and of the processor, and the training's history."""
    clean, weak, strong, labels, val, val_labels = data
    trainer = registry.load("trainers", trainer_name)
    semi = issubclass(trainer.Config, _semi.SemiSupervised)
    # No warm-up and no ramp: every step uses its unlabelled examples.
    settings = {"unlabelled_ratio": args.unlabelled_ratio, "ramp": 0.0} if semi else {}
    config = trainer.Config(batch_size=args.batch, epochs=args.passes, patience=0, **settings)
    chosen = np.random.default_rng(args.seed).choice(args.pool, args.labels, replace=False)
    bought = label_set.empty("synthetic", 0).extended(chosen, labels[chosen], 1)
    mean, std = clean.astype(np.float32).mean(0), clean.astype(np.float32).std(0)
    model = proxy.build({"name": selector}, mean, std, args.classes, seed=args.seed)
    views = training.CachedViews(weak, strong, "cpu")
    clock, processor = [time.perf_counter()], [time.process_time()]

    class Clock(logging.Handler):
        def emit(self, record):
            clock.append(time.perf_counter())
            processor.append(time.process_time())

    log = logging.getLogger(f"bench.{selector}.{trainer_name}")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [Clock()]
    history = training.fit(
        model, trainer, config, views, bought, args.pool, args.classes,
        (lambda: [torch.from_numpy(val)], val_labels), np.random.default_rng(args.seed), log, truth=labels,
    )  # fmt: skip
    return np.diff(clock), np.diff(processor), history


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usable = [
        name for name in registry.names("trainers") if not hasattr(registry.load("trainers", name), "IMAGES_ONLY")
    ]
    parser.add_argument("--selector", nargs="+", default=["linear", "shallow"])
    parser.add_argument("--trainer", nargs="+", default=usable)
    parser.add_argument("--pool", type=int, default=50_000)
    parser.add_argument("--labels", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--unlabelled-ratio", type=int, default=5)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = synthetic(args.pool, args.dim, args.classes, args.seed)
    trainers = ["flexmatch", *(name for name in args.trainer if name != "flexmatch")]
    for selector in args.selector:
        # In turn, so that what else the machine does meets all of them.
        runs = [{name: measure(selector, name, data, args) for name in trainers} for _ in range(args.repeat)]
        for name in trainers:
            wall, cpu = (np.concatenate([run[name][kind] for run in runs]) for kind in (0, 1))
            history = runs[0][name][2]
            line = {
                "selector": selector,
                "trainer": name,
                **{key: getattr(args, key) for key in ("pool", "labels", "dim", "classes", "batch")},
                "unlabelled_ratio": args.unlabelled_ratio,
                "threads": args.threads,
                "seconds_per_pass": {"median": round(float(np.median(wall)), 4), "min": round(float(wall.min()), 4)},
                "cpu_seconds_per_pass": round(float(cpu.min()), 4),
                "cpu_seconds_per_step": round(float(cpu.min()) / history[0]["steps"], 5),
                "times_flexmatch": round(
                    float(np.median([run[name][1].min() / run["flexmatch"][1].min() for run in runs])), 2
                ),
                "peak_memory_mb": Stopwatch.peak_memory_mb(),
                **{key: round(history[-1][key], 4) for key in ("val_accuracy", "mask_rate", "pseudo_label_accuracy")},
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
