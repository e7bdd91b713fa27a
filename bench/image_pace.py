"""Whether the images of a fine-tune come as fast as a GPU wants them: a GPU that sleeps, real files, real views.

    python bench/image_pace.py                       # two processes make views, as on a machine of three threads
    python bench/image_pace.py --decoded 4000   # what was decoded once is kept

Writes photos (JPEG, 500 × 375 pixels unless `--photo` says otherwise) and trains on them for some epochs: `--batch`
labelled images a step and `--ratio` times as many unlabelled ones, each of these in a weak and a strong view, then a
validation split. The model is a sleep of `--step` seconds for each step and each batch of validation. One JSON line:
`idle` is the share of time in which such a GPU would have waited; `views_per_core`: views made per CPU second of all
processes; `step_cpu`: CPU seconds that a step's views take, all processes; `sixteen`: the idle share to be expected
with 15 such processes, if nothing but they is in the way.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPO = Path(__file__).resolve().parent.parent
sys.path.insert(1, str(REPO / "workflow" / "scripts"))  # after this folder, whose embed.py is meant

import numpy as np
import torch
from PIL import Image

from embed import photos
from labelbench.common import torchvision_cpu  # noqa: F401  before timm
from labelbench.data import image_files, views
from labelbench.embedding import images
from labelbench.embedding.encoders import timm as timm_encoder
from labelbench.embedding.kept import Kept
from labelbench.embedding.workers import Workers


def cpu_seconds():
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--ratio", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8, help="of an epoch")
    parser.add_argument("--pool", type=int, default=400, help="images")
    parser.add_argument("--validation", type=int, default=200, help="images")
    parser.add_argument("--photo", type=int, default=500, help="pixels of the longer side of the files")
    parser.add_argument("--size", type=int, default=224, help="pixels a side into the model")
    parser.add_argument("--decoded", type=int, default=0, help="MB in which decoded images are kept")
    parser.add_argument("--step", type=float, default=0.020, help="seconds that the model takes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    encoder = timm_encoder.load(timm_encoder.Config(image_size=args.size), "cpu")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        few = [Image.fromarray(p) for p in photos(16, args.photo, args.photo * 3 // 4)]
        paths = [Path(folder, f"{n}.jpg") for n in range(args.pool + args.validation)]
        for n, path in enumerate(paths):
            few[n % len(few)].save(path, quality=90)
        split = SimpleNamespace(source=np.arange(args.pool))
        dataset = SimpleNamespace(splits={"pool": split}, fingerprint="bench")

        def read(position):
            return image_files.opened(paths[position])

        if args.decoded:
            read = Kept(read, len(paths), args.decoded * 1_000_000)
        data = images.Data(dataset, encoder, read, "cpu", Workers(args.workers))
        live = images.LiveViews(data, views.make_views(encoder.transform, views.Config()), "bench")
        before, began, busy = cpu_seconds(), time.perf_counter(), 0.0
        for epoch in range(args.epochs):
            plan = [
                (rng.choice(args.pool, args.batch), rng.choice(args.pool, args.batch * args.ratio))
                for _ in range(args.steps)
            ]
            for _ in live.batches(epoch, epoch * args.steps, plan):
                time.sleep(args.step)
                busy += args.step
            for _ in images.clean_batches(data, np.arange(args.pool, len(paths))):
                time.sleep(args.step)
                busy += args.step
        seconds = time.perf_counter() - began
        data.workers.stop()
        cpu = cpu_seconds() - before
    views_made = args.epochs * (args.steps * args.batch * (1 + 2 * args.ratio) + args.validation)
    per_step = cpu / views_made * args.batch * (1 + 2 * args.ratio)
    line = {
        "workers": args.workers,
        "decoded_mb": args.decoded,
        "views": views_made,
        "seconds": round(seconds, 2),
        "idle": round(1 - busy / seconds, 3),
        "views_per_core": round(views_made / cpu, 1),
        "step_cpu": round(per_step, 3),
        "sixteen": round(max(0.0, 1 - args.step / max(args.step, per_step / 15)), 3),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
