"""One job as several processes, each with a GPU of the node: its ranks, as torchrun calls them.

A job that asked for several GPUs calls `spread`, which runs its script once in each rank, waits, and ends as they do.
The first rank writes what the job writes, says what it says, and hears SIGTERM. All others compute their share: a job
ends as a whole, with one message. A job with one GPU, or none, is its own first rank of one.
"""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import numpy as np

from labelbench.common.errors import UserError

_RANK, _RANKS, _MEETING = "LABELBENCH_RANK", "LABELBENCH_RANKS", "LABELBENCH_RANKS_MEET_IN"
PATIENCE = 30  # seconds in which the first rank may save its state, once another one has failed
LONGEST = timedelta(hours=2)  # that a rank waits for another: the first may save a checkpoint to a slow disk meanwhile
BUCKET = 1 << 26  # bytes of gradients that are summed at a time

_state = {"left": False, "host": None}  # whether the other ranks have ended; their group on the CPU


def count() -> int:
    """How many ranks there are."""
    return 1 if _state["left"] else int(os.environ.get(_RANKS, 1))


def own() -> int:
    """The number of this one, from 0."""
    return int(os.environ.get(_RANK, 0))


def asked(job) -> int:
    """How many GPUs a job asked for: its resource `gpu`, or the last number of `gres`, such as gpu:a100:4."""
    number, gres = job.resources.get("gpu") or 0, str(job.resources.get("gres") or "")
    if number or "gpu" not in gres:
        return int(number)
    last = next(part for part in gres.split(",") if "gpu" in part).rpartition(":")[2]
    return int(last) if last.isdigit() else 1


# Starting and ending.


def spread(job, log):
    """Where a job asked for several GPUs: run its script in as many ranks, and end this process as they end.

    In a rank, and for other jobs, nothing. Raises `UserError` with what the rank says that failed first.
    """
    if _RANK in os.environ or asked(job) < 2:
        return
    log.info("%d processes, each with a GPU", asked(job))
    sys.exit(run(asked(job), [sys.executable, sys.argv[0]]))


def run(number, command):
    """Run a command in so many ranks; 0 when all are done, 143 when SIGTERM or Ctrl-C has ended them.

    Both are handed to the first rank alone, which may save its state before it ends; then the others are killed.
    Raises `UserError` with what the rank says that failed first.
    """
    told = []
    with tempfile.TemporaryDirectory(prefix="labelbench-ranks-") as meeting, contextlib.ExitStack() as stack:
        processes = []

        def hear(*_):
            told.append(None)
            if processes:
                processes[0].terminate()

        for number_of_signal in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, number_of_signal, signal.signal(number_of_signal, hear))
        try:
            for rank in range(number):
                # What libraries of the others say, the first says too; it is needed where one dies without a word.
                said = None if rank == 0 else stack.enter_context((Path(meeting) / f"said{rank}").open("w"))
                env = os.environ | {_RANK: str(rank), _RANKS: str(number), _MEETING: meeting}
                processes.append(subprocess.Popen(command, env=env, stdout=said, stderr=said))
            if told:  # before there was a first one
                processes[0].terminate()
            failed = _wait(processes)
            if failed is None:
                return 0
            if failed and processes[0].poll() is None:
                processes[0].terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    processes[0].wait(PATIENCE)
        finally:
            codes = [process.poll() for process in processes]
            for process in processes:
                process.kill()
                process.wait()
        if told:
            return 128 + signal.SIGTERM
        raise UserError(_why(Path(meeting), failed, codes))


def _wait(processes):
    """The number of the rank that failed first, None where all are done."""
    while True:
        codes = [process.poll() for process in processes]
        # A rank that was killed takes others with it, which then say that they have lost it.
        failed = sorted((code > 0, rank) for rank, code in enumerate(codes) if code)
        if failed:
            return failed[0][1]
        if None not in codes:
            return None
        time.sleep(0.05)


def _why(meeting, failed, codes):
    """The message of a job of which a rank has failed."""
    reports = sorted(meeting.glob("report*"), key=lambda path: path.stat().st_mtime_ns)
    if codes[failed] is not None and codes[failed] < 0:
        name = signal.Signals(-codes[failed]).name
        return (
            f"Process {failed + 1} of {len(codes)} of this job was killed ({name}), and the others were ended. Where "
            "that was the kernel, for want of memory, ask for more `mem_mb`. A training goes on from the state that it "
            "saved last when the job is started again."
        )
    if reports:
        return reports[0].read_text()
    said = meeting / f"said{failed}"
    last = said.read_text(errors="replace")[-2000:].strip() if said.exists() else ""
    return f"Process {failed + 1} of {len(codes)} of this job ended with {codes[failed]}, without a message. {last}"


def settle():
    """To be called first in a rank; without ranks, nothing. It ends with the process that started it."""
    if _RANK not in os.environ:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Ctrl-C is heard by the process that started the ranks
    if own():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Slurm tells all processes; the first rank ends the others
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent):
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def report(text):
    """Have the process that started the ranks say why this one ends. Whether there is one."""
    if _RANK not in os.environ:
        return False
    part = Path(os.environ[_MEETING]) / f"part{own()}"
    part.write_text(text)
    part.rename(part.with_name(f"report{own()}"))
    return True


def join(device):
    """Let the ranks know each other; each has its `device` by now. Without ranks, nothing."""
    if count() == 1 or _state["host"] is not None:
        return
    import torch
    import torch.distributed as dist

    local = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if local:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", local)  # else it asks for the address of the host's name
    dist.init_process_group(
        "nccl" if str(device).startswith("cuda") else "gloo",
        init_method=f"file://{os.environ[_MEETING]}/store",
        rank=own(),
        world_size=count(),
        timeout=LONGEST,
    )
    _state["host"] = dist.new_group(backend="gloo", timeout=LONGEST)
    if own():  # what a model drops out at random is not the same in each
        torch.manual_seed(torch.initial_seed() + own())


def leave():
    """End all ranks but the first, which goes on alone."""
    if count() == 1:
        return
    import torch.distributed as dist

    dist.barrier(_state["host"])
    dist.destroy_process_group()
    if own():
        sys.exit()
    _state.update(left=True, host=None)


# What the ranks tell each other.


def told(value):
    """A value of the first rank, in all: anything that can be pickled."""
    if count() == 1:
        return value
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values, src=0, group=_state["host"], device="cpu")
    return values[0]


def every(value):
    """The values of all ranks, a list, in all: anything that can be pickled."""
    if count() == 1:
        return [value]
    import torch.distributed as dist

    values = [None] * count()
    dist.all_gather_object(values, value, group=_state["host"])
    return values


def as_the_first(tensors):
    """Give tensors, which all ranks have, the numbers that they have in the first."""
    if count() == 1:
        return
    import torch.distributed as dist

    for tensor in tensors:
        whole = tensor.detach().contiguous()
        dist.broadcast(whole, src=0)
        tensor.detach().copy_(whole)


def dealt(examples, block):
    """Positions of the examples that this rank evaluates: whole blocks, as one process would make them, in turn."""
    at = np.arange(examples)
    return at[at // block % count() == own()]


def in_turn(blocks):
    """In the first rank, all ranks' blocks (tensors on the CPU) in the order in which `dealt` deals them; else nothing.

    Every rank has to go through it to the end.
    """
    if count() == 1:
        yield from blocks
        return
    import torch
    import torch.distributed as dist

    # Before each block its number of dimensions and its sizes; at the end −1.
    if own():
        for block in blocks:
            dist.send(torch.tensor([block.ndim, *block.shape, *[0] * (3 - block.ndim)]), 0, _state["host"])
            dist.send(block.float().contiguous(), 0, _state["host"])
        dist.send(torch.tensor([-1, 0, 0, 0]), 0, _state["host"])
        return
    mine, open_ = iter(blocks), set(range(count()))
    while open_:
        for rank in sorted(open_):
            block = next(mine, None) if rank == 0 else _received(rank)
            if block is None:
                open_.discard(rank)
            else:
                yield block


def _received(rank):
    import torch
    import torch.distributed as dist

    head = torch.empty(4, dtype=torch.int64)
    dist.recv(head, rank, _state["host"])
    dimensions, *sizes = head.tolist()
    if dimensions < 0:
        return None
    block = torch.empty(sizes[:dimensions])
    dist.recv(block, rank, _state["host"])
    return block


# A step of a training.


@functools.lru_cache(maxsize=256)
def shares(examples, ranks):
    """For each of so many ranks the positions of the examples of a step that it computes, ascending: (n,) int64 each.

    With each example its mirror image, so that a batch in reverse order is each share in reverse order (mixup).
    """
    at = np.arange(examples)
    mirrored = np.minimum(at, examples - 1 - at) % ranks
    return [at[mirrored == rank] for rank in range(ranks)]


def share(examples):
    """The positions of this rank."""
    return shares(examples, count())[own()]


@functools.lru_cache(maxsize=256)
def _order(examples, ranks, device):
    """Where the examples of a step stand among the ranks' shares, one share after the other: (n,) int64 on a device."""
    import torch

    return torch.from_numpy(np.argsort(np.concatenate(shares(examples, ranks)), kind="stable")).to(device)


@functools.lru_cache(maxsize=256)
def _positions(examples, ranks, rank, device):
    import torch

    return torch.from_numpy(shares(examples, ranks)[rank]).to(device)


def share_on(examples, device):
    """The positions of this rank, (n,) int64 on a device, which they cross to once."""
    return _positions(examples, count(), own(), device)


def gathered(rows, examples):
    """The rows of all ranks in the order of the examples: (n, K), without gradient.

    rows: (m, K), of this rank's share; more than these are left out.
    """
    import torch
    import torch.distributed as dist

    sizes = [len(positions) for positions in shares(examples, count())]
    mine = sizes[own()]
    padded = rows.new_zeros((max(sizes), rows.shape[1]))
    padded[:mine] = rows.detach()[:mine]
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    of_all = torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
    return of_all.index_select(0, _order(examples, count(), rows.device))


def summed(tensor):
    """The sum of a tensor over the ranks, in all, on its device."""
    import torch.distributed as dist

    whole = tensor.detach().contiguous().clone()
    dist.all_reduce(whole)
    return whole


def sum_gradients(parameters):
    """Replace the gradients of parameters, which the same ones have in all ranks, by their sums over the ranks."""
    import torch
    import torch.distributed as dist

    gradients = [p.grad for p in parameters if p.grad is not None]
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        for gradient, summed in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(summed.view(gradient.shape))


def _buckets(tensors):
    """Lists of tensors of one type, each of about `BUCKET` bytes."""
    bucket, size = [], 0
    for tensor in tensors:
        if bucket and (size + tensor.nbytes > BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket
