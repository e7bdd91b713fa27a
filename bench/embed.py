"""Images per second of a whole embedding job and of its model alone, in one run, as one JSON line.

    python bench/embed.py                                   # EfficientNet-Lite0 at 224 pixels, its packaged weights
    python bench/embed.py --model vit_base_patch32_clip_224 --images 128 --precision bfloat16
    python bench/embed.py --view aug0 --workers 0

The job is `embedder.embed` for a pool of synthetic photos in memory (`--photo` pixels a side): views, forward pass,
HDF5 file. The baseline, `bare`, is the same encoder's `embed` on as many random float32 images in blocks of 64, run
after the job: a process embeds once, as in the workflow, because workers that are forked from a grown process cost it
page faults. `ratio` is job to bare in images through the model per second. Beside other load, `cpu_ratio` says more:
the baseline's CPU seconds to those of the job's main process, workers not counted. `decode` is `image_files.opened` on
synthetic JPEGs of 500 × 375 pixels, `decode_and_transform` the same with the encoder's evaluation transform, both of
one core. A model other than the default gets random weights.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "workflow" / "scripts"))

import numpy as np
import torch
from PIL import Image

from labelbench.common import torchvision_cpu  # noqa: F401  before timm
from labelbench.data import image_files, views  # noqa: F401  before timm
from labelbench.data.dataset_file import Dataset, Split
from labelbench.embedding import embedder  # noqa: F401  before timm
from labelbench.embedding.encoders import timm as timm_encoder
from labelbench.embedding.images import Data
from labelbench.embedding.workers import Workers

import timm  # isort: skip


def load(args, folder, device):
    """The encoder, with random weights in a file of `folder` unless it is the default one."""
    changes = {"image_size": args.size, "precision": args.precision}
    if args.model == timm_encoder.Config().model:
        return timm_encoder.load(timm_encoder.Config(**changes), device)
    weights = Path(folder) / "random.pth"
    fixed = timm.get_pretrained_cfg(args.model).fixed_input_size
    torch.save(timm.create_model(args.model, **({"img_size": args.size} if fixed else {})).state_dict(), weights)
    return timm_encoder.load(timm_encoder.Config(args.model, str(weights), **changes), device)


def photos(count, width, height):
    """Smooth random pictures, which compress about as photos do, as uint8 arrays (height, width, 3)."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
        noise = rng.normal(0, 6, (height, width, 3))
        yield np.clip(np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) + noise, 0, 255).astype("u1")


def timed(function):
    """(wall seconds, CPU seconds of this process) of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def decoding(transform, seconds=2.0):
    """JPEGs per second of one core, decoded alone and with the transform, and the mean size of a file in KiB."""
    files = []
    for pixels in photos(16, 500, 375):
        Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG", quality=90)
        files.append(file)

    def rate(use):
        done, begin = 0, time.process_time()
        while time.process_time() - begin < seconds:
            for file in files:
                use(image_files.opened(file))
                done += 1
        return round(done / (time.process_time() - begin))

    size = sum(len(file.getvalue()) for file in files) / len(files) / 1024
    return {"decode": rate(lambda image: image), "decode_and_transform": rate(transform), "jpeg_kib": round(size)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=timm_encoder.Config().model, help="a name timm knows")
    parser.add_argument("--size", type=int, default=224, help="pixels a side into the model")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--view", default="clean", choices=["clean", "aug0"])
    parser.add_argument("--photo", type=int, default=256, help="pixels a side of the photos in memory")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pixels = list(photos(min(args.images, 256), args.photo, args.photo))
    none = Split(np.zeros(0, np.int64), np.zeros(0, np.int64))
    pool = Split(np.zeros(args.images, np.int64), np.arange(args.images))
    dataset = Dataset({"pool": pool, "val": none, "test": none}, ("thing",), (), "")
    with tempfile.TemporaryDirectory() as folder:
        encoder = load(args, folder, device)
        drawn = None if args.view == "clean" else views.make_views(encoder.transform, views.Config())
        passes = args.images * (1 if drawn is None else 2)
        block = torch.randn(embedder.BLOCK, 3, args.size, args.size)

        def bare():
            for _ in range(-(-passes // embedder.BLOCK)):
                encoder.embed(block).cpu()

        def job():
            def image(position):
                return Image.fromarray(pixels[position % len(pixels)])

            path = Path(folder) / "embeddings.h5"
            embedder.embed(
                path, Data(dataset, encoder, image, device, Workers(args.workers, device)), args.view, drawn, {}
            )

        (job_wall, job_cpu), (bare_wall, bare_cpu) = timed(job), timed(bare)
        line = {
            "model": args.model,
            "size": args.size,
            "precision": encoder.precision,
            "device": device,
            "view": args.view,
            "images": args.images,
            "workers": args.workers,
            "bare_per_second": round(passes / bare_wall, 1),
            "job_per_second": round(passes / job_wall, 1),
            "ratio": round(bare_wall / job_wall, 3),
            "cpu_ratio": round(bare_cpu / job_cpu, 3),
            "per_core": decoding(encoder.transform),
            "load": round(os.getloadavg()[0], 1),
        }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
