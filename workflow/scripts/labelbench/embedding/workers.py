"""Processes that read images and draw views ahead of their use. They live as long as their job."""

import atexit
import ctypes
import itertools
import logging
import shutil
import sys
import weakref
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from labelbench.common.errors import UserError

# Examples that a process makes at a time: so few that all processes work on the first batch of an epoch, and so many
# that handing them over (half a millisecond) costs nothing beside making them.
PIECE = 8

# Pieces that each process makes ahead of their use.
AHEAD = 4

# Where processes hand batches to each other on Linux, and how much of it needs no second thought.
SHARED, PLENTY = Path("/dev/shm"), 1 << 33


class Workers:
    """`count` processes that make examples for a model on `device`; with 0 of them, this process does.

    They are forked when the first batch is asked for, and again only where they are asked for examples of a kind that
    they cannot know. There are fewer where their examples would not fit into shared memory, and none where processes
    cannot be forked safely (macOS). Batches are the same.
    """

    def __init__(self, count, device="cpu"):
        self.device = device
        self._count = 0 if sys.platform == "darwin" else count
        self._kinds, self._loader, self._asked, self._calls = [], None, _Asked(), 0

    def batches(self, example, groups):
        """Yields for each group of n keys, in order, its examples: a tuple of tensors (n, …) on the device.

        example: function from a key to a tuple of tensors, of the same shapes within a group; it is known by `==`, so
        that processes live on while it stays the same. groups: iterable of sequences of keys that can be pickled; an
        empty one has no tensors. One generator at a time: a later one ends an earlier one, which then raises.
        """
        _keep_freed_memory()
        groups = iter(groups)
        first = list(itertools.islice(groups, 1))
        self.learn(example)
        self._start(example, next(iter(first[0]), None) if first else None)
        self._calls += 1
        call, kind = self._calls, self._kinds.index(example)
        # Groups are cut as pieces are asked for, and remembered until their pieces have come.
        ahead, lengths = itertools.tee(itertools.chain(first, groups))
        self._asked.pieces = (
            (kind, list(group[at : at + PIECE])) for group in ahead for at in range(0, len(group), PIECE)
        )
        forked, made = self._loader._iterator is None, iter(self._loader)
        if forked:
            _end_with_this_process(self)
        for group in lengths:
            pieces = []
            for _ in range(0, len(group), PIECE):
                if call != self._calls:
                    raise RuntimeError("these batches were given up when others were asked for")
                try:
                    piece = next(made)
                except UserError as error:
                    # A process hands it on with its traceback in front.
                    name = f"{UserError.__module__}.UserError: "
                    raise UserError(str(error).rpartition(name)[2].strip()) from None
                pieces.append([part.to(self.device, non_blocking=True) for part in piece])
            yield tuple(torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*pieces, strict=True))

    def learn(self, example):
        """Say before the processes are forked that there will be examples of this kind, too."""
        if example not in self._kinds:
            self._kinds.append(example)
            self.stop()

    def stop(self):
        """End the processes; they are started again when they are needed."""
        living, self._loader = getattr(self._loader, "_iterator", None), None
        if living is not None:
            living._shutdown_workers()

    def __del__(self):
        self.stop()

    def _start(self, example, key):
        """See that there are processes, if there can be; `key` is of one of these examples."""
        if self._loader is not None:
            return
        self._count = _affordable(self._count, example, key)
        more = {"multiprocessing_context": "fork", "persistent_workers": True, "prefetch_factor": AHEAD}
        self._loader = DataLoader(
            _Makers(self._kinds),
            batch_size=None,
            sampler=self._asked,
            num_workers=self._count,
            collate_fn=_as_it_is,
            pin_memory=torch.device(self.device).type == "cuda",
            generator=torch.Generator(),  # else seeds for the processes come from torch's own
            **(more if self._count else {}),
        )


class _Makers:
    """Makes a piece, (number of its kind, keys), in a process."""

    def __init__(self, kinds):
        self._kinds = tuple(kinds)

    def __getitem__(self, piece):
        kind, keys = piece
        return [torch.stack(views) for views in zip(*map(self._kinds[kind], keys), strict=True)]


class _Asked:
    """The pieces that are asked for at the moment, as a sampler."""

    pieces = iter(())

    def __iter__(self):
        return self.pieces


def _as_it_is(piece):
    return piece


def _end_with_this_process(workers):
    """Before torch would: it waits five seconds for each process of a loader that was not ended."""
    living = weakref.ref(workers)
    atexit.register(lambda: (found := living()) and found.stop())


def _affordable(count, example, key):
    """How many of so many processes can be had, if each may have some pieces in shared memory.

    In a container that is 64 MB by default, and whoever writes to more of it is killed by a bus error.
    """
    if not count or key is None or not SHARED.is_dir() or (free := shutil.disk_usage(SHARED).free) >= PLENTY:
        return count
    size = (AHEAD + 1) * PIECE * sum(view.nbytes for view in example(key))
    # Half of it, because other jobs may have the same thought.
    fewer = min(count, free // 2 // size)
    if fewer < count:
        logging.getLogger("labelbench").warning(
            "%s has %.0f MB free, for %d processes that decode images instead of %d, which need %.0f MB each. In a "
            "container, ask for more: docker run --shm-size=8g.",
            SHARED, free / 1e6, fewer, count, size / 1e6,
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
