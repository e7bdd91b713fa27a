"""What jobs ask a scheduler for: threads and memory, each from one function.

Constants are measured: tests/planning/test_job_requests.py runs small jobs and compares. An estimate is what all of a
job's processes take at their peak; what it asks for has a margin, and what no plan can know.
"""

import os

from labelbench.common.errors import UserError
from labelbench.selection import memory, shortlist

# MB of a process with torch, an encoder's library and a small encoder, and of each process that reads images beside it.
IMAGES, READER = 540, 95
# MB of a process with torch and the libraries of proxies.
EMBEDDINGS = 246
# Bytes of an image in the index of a campaign, with what a batch is drawn by.
INDEXED = 700
# An encoder's files are in the memory of the host so many times: model and checkpoint as it is loaded; model, best
# state, gradients and two moments as it is trained, on a GPU as its state is saved.
LOADED, TRAINED = 2, 5

# What an estimate is multiplied by, for images and libraries of other kinds than those that were measured.
MARGIN = 1.5
# MB beyond an estimate: what a model on a CPU computes with (up to 3 GB were seen), or what CUDA keeps in the memory of
# the host (a common figure; not measured here).
COMPUTING = 3000
# MB that every job gets: a torch with CUDA takes more by itself than the one that was measured.
LEAST = 1500


def from_environment(name, default, least):
    """A whole number, at least `least`, from an environment variable. Raises `UserError` for anything else."""
    text = os.environ.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise UserError(f"The environment variable {name} must be a whole number, at least {least}, not {text!r}.")
    return int(text)


def threads(gpus, images, of_gpu):
    """Threads of a job with images: so many for each GPU, which waits for them; else one, and one that reads.

    On a CPU the model takes longer than its images, and more cores are for more jobs.
    """
    if gpus:
        return gpus * of_gpu
    return 1 if images < 20_000 else 2


def of_images(threads, weights_mb, copies, decoded_mb=0):
    """MB that a job with images is estimated to take beside its model's computing.

    threads: one process computes, a process per further thread reads; weights_mb: size of the encoder's files, of
    which there are so many `copies`; decoded_mb: images that are kept decoded.
    """
    return IMAGES + READER * (threads - 1) + copies * weights_mb + decoded_mb


def of_proxy(embeddings_mb):
    """MB that the training of a proxy on embeddings of this size is estimated to take."""
    return EMBEDDINGS + embeddings_mb


def of_selection(strategy, sizes, itemsize=2):
    """MB that a selection on a CPU is estimated to take: the process, the embeddings, which it maps, and its strategy.

    strategy: its entry in a study; sizes: `selection.memory.Sizes`; itemsize: bytes of a value of the embeddings.
    Where a strategy's memory depends on the data it is a bound; its `memory` says so.
    """
    settings = strategy.settings.get("shortlist")
    short = shortlist.Config(**settings) if settings else None
    mapped = itemsize * sizes.examples * sizes.dim if memory.looks(strategy.module, short) else 0
    return EMBEDDINGS + (mapped + memory.of(strategy.module, strategy.config, sizes, short)) / 1e6


def of_campaign(images):
    """MB that a campaign's index of so many images is estimated to take, beside all else."""
    return INDEXED * images / 1e6


def asked(estimate, computing=0):
    """MB to ask for: an estimate with its margin, in steps of 100."""
    return max(-(-int(MARGIN * estimate + computing) // 100) * 100, LEAST)
