"""Images on their way into a model: clean batches for evaluation, live weak and strong views for fine-tuning."""

import ctypes
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from labelbench.common import jobs, registry
from labelbench.common.classifier import Classifier
from labelbench.common.errors import UserError
from labelbench.data import dataset_file
from labelbench.data.views import image_seed
from labelbench.embedding.encoder import Encoder

CLEAN_BATCH = 256


class Data(NamedTuple):
    """What a job with images works on.

    images: position in the dataset's source → PIL image; workers: processes that decode beside this one. A campaign of
    people who label has no dataset.
    """

    dataset: dataset_file.Dataset
    encoder: Encoder
    images: Callable
    device: str
    workers: int


def load(job, spec):
    """The `Data` of a job, from its input `dataset` and the settings `dataset` and `encoder` of its spec.

    One thread computes and the job's others decode: on a CPU, more cores are for more jobs. So no result depends on
    their number.
    """
    plugin, config = registry.configured("datasets", spec["dataset"])
    dataset = dataset_file.read(job.input.dataset)
    images = plugin.images(config) if dataset.files is None else plugin.images(config, dataset.files)
    return of_files(job, spec, images, dataset)


def of_files(job, spec, images, dataset=None):
    """The `Data` of a job whose images are not those of a dataset: `images` reads them by position."""
    torch.set_num_threads(1)
    device = jobs.device(job)
    workers = min(job.threads, os.cpu_count()) - 1
    return Data(dataset, load_encoder(spec, device), images, device, workers)


def load_encoder(spec, device):
    """The `Encoder` of a spec, with its pretrained weights."""
    plugin, config = registry.configured("encoders", spec["encoder"])
    return plugin.load(config, device)


def address_of_image(dataset):
    """A function from a position in the pool to what names that image in the address of random draws, for `image_seed`.

    It is the dataset's fingerprint and the position; of images that are known by content, that alone: so their views
    stay where others come or go.
    """
    source, files = dataset.splits["pool"].source, getattr(dataset, "files", None)
    if files is None:
        return lambda at: (dataset.fingerprint, int(at))
    return lambda at: (files.sha256[source[at]].tobytes().hex(), 0)


class Clean(Dataset):
    """The clean view of the images at positions `source`, each a tuple of one tensor (3, H, W)."""

    def __init__(self, images, source, transform):
        self.images, self.source, self.transform = images, source, transform

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return (self.transform(self.images(int(self.source[index]))),)


def ahead(examples, workers, device, batch_size):
    """Yields batches of a `Dataset`, in order, made by `workers` processes ahead of their use (0: in this one).

    With batch_size None an example is a batch already, and large: each worker makes one, not two, before it is asked.
    There are fewer workers where their batches would not fit into shared memory, and none where processes cannot be
    forked safely (macOS); the batches are the same.
    """
    _keep_freed_memory()
    workers = _affordable(examples, workers, (batch_size or 1) * (3 if batch_size else 2))
    loader = DataLoader(
        examples,
        batch_size=batch_size,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        prefetch_factor=1 if workers and batch_size is None else None,
        pin_memory=torch.device(device).type == "cuda",
    )
    try:
        yield from loader
    except UserError as error:
        # A worker hands it on with its traceback in front.
        raise UserError(str(error).rpartition(f"{UserError.__module__}.UserError: ")[2].strip()) from None


# Where processes hand batches to each other on Linux, and how much of it needs no second thought.
SHARED, PLENTY = Path("/dev/shm"), 1 << 33


def _affordable(examples, workers, each):
    """How many of these workers can be had, if each may have so many examples in shared memory at a time.

    In a container that is 64 MB by default, and whoever writes to more of it is killed by a bus error.
    """
    if workers and sys.platform == "darwin":
        return 0
    if not workers or not len(examples) or not SHARED.is_dir() or (free := shutil.disk_usage(SHARED).free) >= PLENTY:
        return workers
    size = each * sum(view.nbytes for view in examples[0] if view is not None)
    # Half of it, because other jobs may have the same thought.
    fewer = min(workers, free // 2 // size)
    if fewer < workers:
        logging.getLogger("labelbench").warning(
            "%s has %.0f MB free, for %d processes that decode images instead of %d, which need %.0f MB each. In a "
            "container, ask for more: docker run --shm-size=8g.",
            SHARED, free / 1e6, fewer, workers, size / 1e6,
        )  # fmt: skip
    return fewer


def _keep_freed_memory():
    """Have glibc keep what this process frees.

    By default it gives buffers as large as a batch's activations back at once, and the kernel clears each anew: more
    than half of the CPU seconds of embedding by EfficientNet-Lite0 at 224 pixels (22 images a second with it, 54
    without), a quarter of those of training it. Other C libraries have no such call.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no buffer has a mapping of its own
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: 2 GiB may lie free


def moved(batch, device):
    """A batch of images on the device; there with the channels last, if it is a GPU: its convolutions are faster so."""
    layout = torch.channels_last if torch.device(device).type == "cuda" else torch.preserve_format
    return batch.to(device, non_blocking=True, memory_format=layout)


def clean_batches(data, source):
    """Batches (≤ 256, 3, H, W) float32 of the clean view of the images at positions `source`, in order."""
    clean = Clean(data.images, source, data.encoder.transform)
    for (batch,) in ahead(clean, data.workers, data.device, CLEAN_BATCH):
        yield moved(batch, data.device)


class LiveViews:
    """Weak and strong views of pool images, drawn anew each time an image is seen.

    views: the `Views` that draw them; address: text that names the trial and round. A view depends on the dataset, the
    address, what it is used for, the step and the image, on nothing else. `wait_seconds`: what steps have waited for
    their views so far; work that a GPU still had to do meanwhile is not taken off.
    """

    def __init__(self, data, views, address):
        self._data, self._views, self._address = data, views, address
        self.wait_seconds = 0.0

    def batches(self, epoch, first_step, plan):
        """The views of an epoch's steps, as `training.CachedViews.batches` gives them: (n, 3, H, W) float32 each."""
        steps = _Steps(self._data, self._views, self._address, first_step, plan)
        made = ahead(steps, self._data.workers, self._data.device, batch_size=None)
        while True:
            began = time.perf_counter()
            views = next(made, None)
            self.wait_seconds += time.perf_counter() - began
            if views is None:
                return
            yield tuple(None if view is None else moved(view, self._data.device) for view in views)


class _Steps(Dataset):
    """The views of each step of an epoch, for `LiveViews`."""

    def __init__(self, data, views, address, first_step, plan):
        self._images, self._source = data.images, data.dataset.splits["pool"].source
        self._views, self._of_image, self._address = views, address_of_image(data.dataset), address
        self._first_step, self._plan = first_step, plan

    def __len__(self):
        return len(self._plan)

    def __getitem__(self, number):
        labelled, unlabelled = self._plan[number]
        step = self._first_step + number
        weak = torch.stack(self._drawn(self._views.weak, labelled, f"weak/{step}"))
        if unlabelled is None:
            return weak, None, None
        pairs = self._drawn(self._views.weak_and_strong, unlabelled, f"pair/{step}")
        return weak, *(torch.stack(views) for views in zip(*pairs, strict=True))

    def _drawn(self, view, positions, use):
        drawn = []
        for at in positions:
            name, number = self._of_image(at)
            seed = image_seed(name, f"{self._address}/{use}", number)
            drawn.append(view(self._images(int(self._source[at])), seed))
        return drawn


def classifier(encoder, head, num_classes, seed):
    """The encoder's image side with a linear classifier on top, all of it trainable.

    head: zero-shot weights (K, e), with zero bias, or None for a random initialisation drawn from `seed`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed sets those of GPUs for good
        linear = Classifier(encoder.backbone_dim, num_classes)
    if head is not None:
        with torch.no_grad():
            linear.weight.copy_(head)
            linear.bias.zero_()
    return nn.Sequential(encoder.backbone, linear)
