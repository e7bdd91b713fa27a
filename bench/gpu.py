"""What a study of ImageNet's size takes on this machine's GPU: one command, some minutes, a JSON file and a table.

    python bench/gpu.py                          # needs torch, and of the other packages what each part uses
    python bench/gpu.py --only selection --minutes 3
    python bench/gpu.py --device cpu --tiny      # the same parts on very small data, to try them out

Parts, in this order: `picks`, whether each strategy picks on the device what it picks on the CPU, and the same again;
`training`, a round of a proxy on 400,000 labels, its views on the GPU and streamed; `images`, embedding and fine-tuning
with a ViT of random weights on pictures in memory; `selection`, 50,000 picks of 1,281,167 examples of 1,000 classes. A
part whose packages are missing is left out, as are cases that `--minutes` leave no time for: the table says so. Times
are wall time with the device idle before and after; memory is the most that torch's tensors held on the GPU. `limit`:
seconds that a case should take at most on one card of H100's class.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "workflow" / "scripts"), str(ROOT / "bench")]

# Strategy → seconds it should take; cheap ones first.
SELECTION = {
    "margin": 2,
    "badge": 15,
    "coreset": 15,
    "galaxy": 60,
    "typiclust": None,
    "maxherding": None,
    "uherding": None,
    "bait_binary": 120,
}
FULL = {
    "pool": (1_281_167, 1000, 512, 50_000, 50_000),  # examples, classes, width, labelled, picks
    "compared": (20_000, 20, 64, 400, 200),
    "proxy": {"labels": 400_000, "epochs": 20, "streamed_epochs": 2},
    "images": {"model": "vit_base_patch16_224", "size": 224, "embedded": 4096, "steps": 30, "batch": 64},
    "less": {"oracle": {"candidates": 13}},  # candidate batches of the upper bound, whose refits take minutes
}
TINY = {
    "pool": (3000, 10, 16, 50, 60),
    "compared": (400, 4, 8, 20, 30),
    "proxy": {"labels": 500, "epochs": 2, "streamed_epochs": 1},
    "images": {"model": "test_vit", "size": 32, "embedded": 64, "steps": 2, "batch": 4},
    "less": {"oracle": {"candidates": 13}, "refine": {"depth": 1, "proposals": 9}},
}


class Bench:
    """Measures cases on a device, within a time, and collects a row of each."""

    def __init__(self, device, minutes):
        self.device, self.rows, self.end = device, [], time.monotonic() + 60 * minutes

    def wait(self):
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def case(self, what, work, limit=None):
        """Append the row of `work()`, a function that returns further columns; an error is its row's."""
        import torch

        if time.monotonic() > self.end:
            self.add(what, skipped="no time left")
            return
        on_gpu = self.device.startswith("cuda")
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.wait()
        begin = time.perf_counter()
        try:
            more = work() or {}
        except ImportError as error:
            self.add(what, skipped=f"the package {error.name} is missing")
            return
        except Exception as error:  # one case that fails, with an old driver or too small a card, leaves the others
            self.add(what, failed=f"{type(error).__name__}: {str(error).splitlines()[0]}")
            return
        self.wait()
        seconds = more.pop("seconds", time.perf_counter() - begin)
        row = {"seconds": round(seconds, 3)}
        if limit is not None:
            row |= {"limit": limit, "met": seconds <= limit}
        if on_gpu:
            row["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        self.add(what, **row, **more)

    def add(self, what, **columns):
        self.rows.append({"what": what, **columns})
        print(json.dumps(self.rows[-1]), flush=True)


def synthetic_pool(n, classes, width, labelled):
    """Features (n, d) float16, head, labels and labelled positions, as `bench/selection.py` makes them."""
    import numpy as np
    from synthetic_pool import synthetic

    features = np.empty((n, width), dtype=np.float16)
    return synthetic(n, classes, width, 0, labelled, features)


def selected(name, made, budget, device, **settings):
    """Picks of a strategy from a synthetic pool on a device."""
    import numpy as np
    import torch

    from labelbench.common import registry
    from labelbench.data.oracle import Oracle
    from labelbench.selection.pool import Head, Pool

    features, weight, bias, labels, labelled = made
    strategy = registry.load("strategies", name)
    head = Head(*(torch.as_tensor(part, device=device) for part in (weight, bias)))
    pool = Pool.from_head(features, head, labelled, labels[labelled], device=device)
    more = {"oracle": Oracle(labels, budget)} if getattr(strategy, "SEQUENTIAL", False) else {}
    more |= {"true_labels": labels} if getattr(strategy, "UPPER_BOUND", False) else {}
    with torch.no_grad():
        return strategy.select(pool, budget, strategy.Config(**settings), np.random.default_rng(0), **more)


def picks(bench, sizes):
    """Whether each strategy picks what it picks on the CPU, and the same again."""
    import numpy as np

    from labelbench.common import registry

    *shape, budget = sizes["compared"]
    made = synthetic_pool(*shape)

    def compared(name):
        less = sizes["less"].get(name, {})
        begin = time.perf_counter()
        first = selected(name, made, budget, bench.device, **less)
        seconds = time.perf_counter() - begin
        again, theirs = (selected(name, made, budget, device, **less) for device in (bench.device, "cpu"))
        return {
            "seconds": seconds,
            "twice_the_same": bool(np.array_equal(first, again)),
            "as_the_cpu": f"{len(np.intersect1d(first, theirs))} of {budget}",
        }

    for name in registry.names("strategies"):
        bench.case(f"picks: {name}", lambda name=name: compared(name))


def selection(bench, sizes):
    """Batches of ImageNet's size."""
    *shape, budget = sizes["pool"]
    made = synthetic_pool(*shape)
    selected("margin", made, 1, bench.device)  # the first products of a process load their libraries

    for name, limit in SELECTION.items():

        def batch(name=name):
            return {"picked": len(selected(name, made, budget, bench.device))}

        bench.case(f"selection: {name}", batch, limit)


def training(bench, sizes):
    """A round of a linear proxy with FlexMatch: its views on the device, and streamed from the host."""
    import logging

    import numpy as np
    import torch

    from labelbench.common import registry
    from labelbench.data import label_set
    from labelbench.training import proxy
    from labelbench.training import training as loop

    n, classes, width, *_ = sizes["pool"]
    given = sizes["proxy"]
    clean, *_, truth, _ = synthetic_pool(n, classes, width, 1)
    rng = np.random.default_rng(1)
    chosen = rng.choice(n, given["labels"], replace=False)
    labels = label_set.empty("synthetic", 0).extended(chosen, truth[chosen], 1)
    noise = rng.normal(scale=0.05, size=(997, width)).astype(np.float16)
    strong = clean + np.resize(noise, clean.shape)
    sample = clean[:20_000].astype(np.float32)
    validation = min(n, 50_000)
    trainer = registry.load("trainers", "flexmatch")
    log = logging.getLogger("bench")

    def fit(epochs, streamed):
        before, loop.RESIDENT = loop.RESIDENT, 0.0 if streamed else loop.RESIDENT
        try:
            views = loop.CachedViews([clean], [strong], bench.device)
        finally:
            loop.RESIDENT = before
        model = proxy.build({"name": "linear"}, sample.mean(0), sample.std(0) + 1e-3, classes, 0).to(bench.device)

        def batches():
            for begin in range(0, validation, loop.EVALUATION_BATCH):
                yield torch.from_numpy(clean[begin : min(begin + loop.EVALUATION_BATCH, validation)]).to(bench.device)

        bench.wait()
        begin = time.perf_counter()
        history = loop.fit(
            model, trainer, trainer.Config(epochs=epochs, patience=0), views, labels, n, classes,
            (batches, truth[:validation]), np.random.default_rng(0), log, device=bench.device, truth=truth,
        )  # fmt: skip
        bench.wait()
        seconds = time.perf_counter() - begin
        last = history[-1]
        return {
            "seconds": seconds,
            "ms_per_step": round(1e3 * seconds / last["steps"], 3),
            "val_accuracy": round(last["val_accuracy"], 4),
        }

    epochs, few = given["epochs"], given["streamed_epochs"]
    what = f"training: proxy, {given['labels']} labels"
    bench.case(f"{what}, {few} epochs, views streamed", lambda: fit(few, streamed=True))
    bench.case(f"{what}, {epochs} epochs", lambda: fit(epochs, streamed=False), 60)


def images(bench, sizes):
    """Embedding and fine-tuning on pictures in memory; `idle`: the share of time that the model waits for images."""
    import logging
    import tempfile
    from types import SimpleNamespace

    import numpy as np
    import torch

    from labelbench.common import registry, torchvision_cpu  # noqa: F401
    from labelbench.data import label_set, views  # noqa: F401
    from labelbench.embedding import embedder, images
    from labelbench.embedding.encoders import timm as timm_encoder
    from labelbench.embedding.workers import Workers
    from labelbench.training import training as loop

    import timm  # isort: skip
    from PIL import Image

    given, workers = sizes["images"], max(os.cpu_count() - 1, 0) if sizes is FULL else 0
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.pth"
        torch.manual_seed(0)
        torch.save(timm.create_model(given["model"], img_size=given["size"]).state_dict(), weights)
        config = timm_encoder.Config(given["model"], str(weights), image_size=given["size"])
        encoder = timm_encoder.load(config, bench.device)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (256, 256, 256, 3), dtype=np.uint8)[: min(256, given["embedded"])]
    positions = np.arange(given["embedded"])
    truth = rng.integers(10, size=len(positions))
    splits = {"pool": SimpleNamespace(source=positions, labels=truth)}
    dataset = SimpleNamespace(splits=splits, fingerprint="bench")
    held = Workers(workers, bench.device)
    data = images.Data(dataset, encoder, lambda at: Image.fromarray(pixels[at % len(pixels)]), bench.device, held)

    def embed():
        clean = images.Clean(data.images, encoder.transform)
        block = torch.randn(embedder.BLOCK, 3, given["size"], given["size"]).to(bench.device)
        encoder.embed(block).cpu()
        begin = time.perf_counter()
        for _ in embedder.outputs(encoder.embed, clean, positions, held, "bench"):
            pass
        job = time.perf_counter() - begin
        begin = time.perf_counter()
        for _ in range(-(-len(positions) // embedder.BLOCK)):
            encoder.embed(block).cpu()
        bare = time.perf_counter() - begin
        found = {"images_per_second": round(len(positions) / job, 1), "idle": round(max(1 - bare / job, 0), 3)}
        return {"seconds": job, **found, "precision": encoder.precision, "workers": workers}

    def fine_tune():
        trainer = registry.load("trainers", "passive")
        config = trainer.Config(
            epochs=2, batch_size=given["batch"], early_stopping="none", min_steps_per_epoch=given["steps"]
        )
        model = images.classifier(encoder, None, 10, seed=0).to(bench.device)
        if bench.device.startswith("cuda"):
            model = model.to(memory_format=torch.channels_last)
        live = images.LiveViews(data, views.make_views(encoder.transform, views.Config()), "bench")
        chosen = rng.choice(len(positions), min(1000, len(positions)), replace=False)
        labels = label_set.empty("bench", 0).extended(chosen, truth[chosen], 1)
        begin = time.perf_counter()
        history = loop.fit(
            model, trainer, config, live, labels, len(positions), 10, None, np.random.default_rng(0),
            logging.getLogger("bench"), device=bench.device, truth=truth,
        )  # fmt: skip
        bench.wait()
        seconds, steps = time.perf_counter() - begin, history[-1]["steps"]
        return {
            "seconds": seconds,
            "steps_per_second": round(steps / seconds, 2),
            "idle": round(live.wait_seconds / seconds, 3),
            "workers": workers,
        }

    bench.case(f"images: {given['model']}, embedding {len(positions)}", embed)
    bench.case(f"images: {given['model']}, fine-tuning, {given['batch']} images a step", fine_tune)


PARTS = {"picks": picks, "training": training, "images": images, "selection": selection}


def machine(device):
    """What the numbers were measured on."""
    import torch

    found = {"torch": torch.__version__, "python": platform.python_version(), "cpus": os.cpu_count(), "device": device}
    if device.startswith("cuda"):
        facts = torch.cuda.get_device_properties(device)
        found |= {"gpu": facts.name, "gpu_gb": round(facts.total_memory / 1e9, 1), "cuda": torch.version.cuda}
    return found


def table(found):
    """The Markdown table of the rows."""
    facts = found["machine"]
    columns = ["what", "seconds", "limit", "met", "peak_gb"]
    lines = [
        f"Measured on {facts.get('gpu', 'the CPU')}, torch {facts['torch']}, by `{found['command']}`:",
        "",
        "| case | seconds | limit | met | peak, GB | more |",
        "|---|---|---|---|---|---|",
    ]

    def text(value):
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

    for row in found["rows"]:
        more = "; ".join(f"{key.replace('_', ' ')}: {text(row[key])}" for key in row if key not in columns)
        lines.append(f"| {' | '.join([*(text(row.get(column, '')) for column in columns), more])} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="very small data: tries the parts out, measures nothing")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8, help="no case begins after them (default: 8)")
    parser.add_argument("--output", type=Path, default=Path("gpu"), help="folder of gpu.json and gpu.md (default: gpu)")
    args = parser.parse_args()
    try:
        import numpy  # noqa: F401
        import torch
    except ImportError as error:
        sys.exit(f"The package {error.name} is missing: pip install {error.name}")
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("torch finds no GPU here. `--device cpu --tiny` tries the parts out without one.")
    from labelbench.common import jobs

    jobs.keep_float32()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    bench, sizes = Bench(args.device, args.minutes), TINY if args.tiny else FULL
    for name in args.only:
        try:
            PARTS[name](bench, sizes)
        except ImportError as error:
            bench.add(name, skipped=f"the package {error.name} is missing")
    command = " ".join(["python bench/gpu.py", *sys.argv[1:]])
    found = {"command": command, "machine": machine(args.device), "rows": bench.rows}
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.output / "gpu.md").write_text(table(found))
    print(f"{args.output}/gpu.json, {args.output}/gpu.md")
    if any("failed" in row for row in bench.rows):
        sys.exit("Some cases failed: see the table.")


if __name__ == "__main__":
    main()
