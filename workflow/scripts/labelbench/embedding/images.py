"""Images on their way into a model: clean batches for evaluation, live weak and strong views for fine-tuning."""

import os
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from labelbench.common import jobs, ranks, registry
from labelbench.common.classifier import Classifier
from labelbench.data import dataset_file
from labelbench.data.views import image_seed, in_stages
from labelbench.embedding.encoder import Encoder
from labelbench.embedding.kept import Kept
from labelbench.embedding.workers import Workers

CLEAN_BATCH = 256


class Data(NamedTuple):
    """What a job with images works on.

    images: position in the dataset's source → PIL image; workers: the processes that decode beside this one, for all
    of the job. A campaign of people who label has no dataset.
    """

    dataset: dataset_file.Dataset
    encoder: Encoder
    images: Callable
    device: str
    workers: Workers


def load(job, spec):
    """The `Data` of a job, from its input `dataset` and the settings `dataset` and `encoder` of its spec.

    One thread computes and the job's others decode: on a CPU, more cores are for more jobs. So no result depends on
    their number.
    """
    plugin, config = registry.configured("datasets", spec["dataset"])
    dataset = dataset_file.read(job.input.dataset)
    images = plugin.images(config) if dataset.files is None else plugin.images(config, dataset.files)
    count = 1 + max((int(split.source.max()) for split in dataset.splits.values() if len(split.source)), default=0)
    return of_files(job, spec, images, count, dataset)


def of_files(job, spec, images, count, dataset=None):
    """The `Data` of a job whose images are not those of a dataset: `images` reads them by position, below `count`.

    Images that have been decoded are kept in as much memory as the job's resource `decoded_mb` says, if it has one; of
    several ranks each has its share of it.
    """
    torch.set_num_threads(1)
    device = jobs.device(job)
    workers = Workers(max(min(job.threads, os.cpu_count()) // ranks.count() - 1, 0), device)
    encoder = load_encoder(spec, device)
    if room := job.resources.get("decoded_mb", 0) * 1_000_000 // ranks.count():
        images = Kept(images, count, room)
    workers.learn(Clean(images, encoder.transform))
    return Data(dataset, encoder, images, device, workers)


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


class Clean:
    """The clean view of the image at a position of a dataset's source, as it travels: a tuple of one tensor."""

    def __init__(self, images, transform):
        self._images, self._transform, self._stages = images, transform, in_stages(transform)
        self.finish = self._stages.finish

    def __eq__(self, other):
        return isinstance(other, Clean) and (self._images, self._transform) == (other._images, other._transform)

    def __call__(self, position):
        return (self._stages.pixels(self._stages.resized(self._images(position))),)


def clean_batches(data, source):
    """Batches (≤ 256, 3, H, W) float32 of the clean view of the images at positions `source`, in order.

    Of several ranks each has its own of them (`ranks.dealt`).
    """
    clean = Clean(data.images, data.encoder.transform)
    mine = source[ranks.dealt(len(source), CLEAN_BATCH)]
    for (batch,) in data.workers.batches(clean, in_groups(mine, CLEAN_BATCH)):
        yield clean.finish(batch)


def in_groups(positions, size):
    """The positions as lists of `size`, the last one with what is left."""
    positions = np.asarray(positions).tolist()
    return [positions[begin : begin + size] for begin in range(0, len(positions), size)]


class LiveViews:
    """Weak and strong views of pool images, drawn anew each time an image is seen.

    views: the `Views` that draw them; address: text that names the trial and round. A view depends on the dataset, the
    address, what it is used for, the step and the image, on nothing else. `wait_seconds`: what steps have waited for
    their views so far; work that a GPU still had to do meanwhile is not taken off.
    """

    def __init__(self, data, views, address):
        self._workers, self._images, self._source = data.workers, data.images, data.dataset.splits["pool"].source
        self._views, self._of_image, self._address = views, address_of_image(data.dataset), address
        self.wait_seconds = 0.0
        self._workers.learn(self._drawn)

    def batches(self, epoch, first_step, plan):
        """The views of an epoch's steps, as `training.CachedViews.batches` gives them: (n, 3, H, W) float32 each."""
        groups = (group for step, chosen in enumerate(plan, first_step) for group in self._groups(step, *chosen))
        made = self._workers.batches(self._drawn, groups)
        for _, unlabelled in plan:
            began = time.perf_counter()
            views = [*next(made), *(next(made) if unlabelled is not None else ())]
            self.wait_seconds += time.perf_counter() - began
            views = [self._views.finish(view) for view in views]
            yield tuple(views) if unlabelled is not None else (*views, None, None)

    @staticmethod
    def _groups(step, labelled, unlabelled):
        """What the views of a step are drawn from: (what for, position in the pool) of each image."""
        yield [(f"weak/{step}", at) for at in labelled.tolist()]
        if unlabelled is not None:
            yield [(f"pair/{step}", at) for at in unlabelled.tolist()]

    def _drawn(self, key):
        use, at = key
        name, number = self._of_image(at)
        seed, image = image_seed(name, f"{self._address}/{use}", number), self._images(int(self._source[at]))
        if use.startswith("pair/"):
            return self._views.weak_and_strong(image, seed)
        return (self._views.weak(image, seed),)


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
