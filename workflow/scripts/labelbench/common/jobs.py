"""What every job script needs: its log, errors a person can read, outputs whole or not at all, its cost."""

import contextlib
import errno
import fcntl
import gc
import itertools
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from labelbench.common import gpu_memory, json_files, ranks
from labelbench.common.errors import UserError

DAY = 24 * 3600  # seconds
NVIDIA = Path("/dev/nvidia0")  # on a node with a GPU, also where a job may not use it
DRIVERS = (NVIDIA, Path("/dev/dxg"), Path("/dev/kfd"))  # NVIDIA's, Windows' for Linux inside it, AMD's


def start(job):
    """Check that the checkout's library runs, send the log to the job's log file, and return the logger.

    A `UserError` ends the job with its message alone, as does a GPU whose memory is too small; any other exception with
    its traceback, in the log. Of several ranks (`ranks.spread`) the first keeps the log, and one of them says why.
    """
    ranks.settle()
    logging.basicConfig(
        filename=job.log[0],
        filemode="w" if ranks.count() == 1 else "a",
        level=logging.INFO if ranks.own() == 0 else logging.CRITICAL,
        force=True,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    log = logging.getLogger("labelbench")

    def explain(kind, error, trace):
        # Only into the log: Snakemake shows that of a failed job (show-failed-logs in profiles/default).
        if issubclass(kind, UserError):
            text = str(error)
        elif gpu_memory.is_short(error):
            text = gpu_memory.message(error, job.rule)
        elif is_full(error):
            text = full(getattr(error, "filename", None) or tempfile.gettempdir())
        else:
            text = "unexpected error\n" + "".join(traceback.format_exception(kind, error, trace)).rstrip()
        if not ranks.report(text):
            log.error("%s", text)

    sys.excepthook = explain
    # The code digests describe the checkout, so the checkout is what must run.
    here = Path(__file__).resolve().parents[2]
    if here != Path(job.scriptdir).resolve():
        raise UserError(f"labelbench is imported from {here}, not from {job.scriptdir}: uninstall that copy.")
    return log


def tell(text):
    """Say something in the log and in the terminal: what a user should know although nothing failed."""
    logging.getLogger("labelbench").warning("%s", text)
    print(f"Note: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def slow_imports():
    """Imports in this block run without garbage collection.

    They make a hundred thousand objects that stay, and the collector's rounds over these take a tenth of a short job.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def written_whole(path):
    """A path to write to; it takes the name `path` when the block ends without an error.

    The name holds host and process, so that two copies of a job (one of them orphaned by a killed Snakemake) cannot
    write into the same file. What a killed process left behind is removed. Raises `UserError` where the disk is full.
    """
    path, host = Path(path), os.uname().nodename
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path, host)
    part = path.with_name(f"{path.name}.{host}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except Exception as error:
        if is_full(error):
            raise UserError(full(path)) from None
        raise
    finally:
        part.unlink(missing_ok=True)


def is_full(error):
    """Whether an exception says that a disk, or a quota on it, is full: safetensors says so in words alone."""
    words = str(error)
    return getattr(error, "errno", None) in _FULL or any(f"(os error {number})" in words for number in _FULL)


_FULL = (errno.ENOSPC, errno.EDQUOT)


def full(path):
    """What a job says that could not write the file `path`."""
    place = next(folder for folder in (Path(path).absolute(), *Path(path).absolute().parents) if folder.is_dir())
    found = shutil.disk_usage(place)
    return (
        f"{path} could not be written: the disk is full, or a quota on it used up. {found.free / 1e6:,.0f} MB are free "
        f"of {found.total / 1e6:,.0f} MB. Nothing half stands in its place. Make room, or have the results elsewhere "
        "(`pathvars: {results: …}` in the config), and run Snakemake again: it goes on where it stopped."
    )


def _remove_left(path, host):
    """Remove what killed processes have left of `path`: of this host's at once, of another's when a day has passed.

    Whether a process of another host is alive cannot be seen from here, only that it does not write any more.
    """
    for left in path.parent.glob(f"{path.name}.*.part"):
        other, _, pid = left.name.removeprefix(f"{path.name}.").removesuffix(".part").rpartition(".")
        with contextlib.suppress(FileNotFoundError):  # another job removed it
            if not _alive(int(pid)) if other == host else time.time() - left.stat().st_mtime > DAY:
                left.unlink()


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def write_json(path, content):
    """Write `content` as indented JSON, whole or not at all."""
    with written_whole(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n")


def write_result(path, content):
    """Write a dict as indented JSON with a digest of it, for `json_files.read`, whole or not at all.

    Its names are those of fields: what is named by people stands in one of them, for it could be named like the digest.
    """
    write_json(path, json_files.sealed(content))


def device(job):
    """The device that this job computes on: `cpu`, `cuda`, or `cuda:<n>` on a machine with several GPUs.

    A job that asked for no GPU uses none, wherever it runs: some clusters show all GPUs of a node to all of its jobs,
    and on one machine Snakemake starts as many jobs as there are cores, but no more that ask than there are GPUs.
    A scheduler shows a job the GPU that it may use; Snakemake on one machine shows all jobs all GPUs. So jobs agree
    among themselves: each takes a place on the GPU with the fewest jobs of this user, and keeps it to its end.
    Each rank of a job has a GPU of its own. On a GPU, float32 is float32 from here on (`keep_float32`).
    Raises `UserError` where it asked Slurm for one and the node has one that torch cannot use, or for several and there
    are fewer.
    """
    if not ranks.asked(job):
        return "cpu"
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count and "SLURM_JOB_ID" in os.environ:
        _miss_gpu(torch.version.cuda)
    if not count:
        return "cpu"
    keep_float32()
    if count < ranks.count():
        raise UserError(
            f"This job asked for {ranks.count()} GPUs on one node, and torch finds {count} on {os.uname().nodename}. "
            "Set the encoder's `end_to_end: {gpus: …}` to what a node has, or ask with --set-resources finetune:gpu=…"
        )
    if count == 1:
        return "cuda"
    # Ranks choose among different ones, for two processes of one training cannot share a GPU.
    number = next(_free_places(count, range(ranks.own(), count, ranks.count())))
    torch.cuda.set_device(number)  # also for what is allocated without naming a device, such as pinned memory
    return f"cuda:{number}"


def gpus():
    """How many GPUs torch can use here. It is asked in another process, for some seconds, if a driver shows one."""
    if not any(driver.exists() for driver in DRIVERS):
        return 0
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    # Without a torch here, jobs have one in an environment of their own.
    return int(done.stdout) if done.returncode == 0 else 1


def _name(device):
    """What a GPU is called, wherever a process sees it: its node and its UUID, or its number where torch tells none."""
    import torch

    found = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return f"{os.uname().nodename}/{found or torch.device(device).index or 0}"


def keep_float32():
    """Have GPUs compute in float32 what is float32: settings, embeddings' names and error bounds say that it is.

    torch lets convolutions of float32 lose 13 of 23 bits of their factors (TF32), and matrix products where
    TORCH_ALLOW_TF32_CUBLAS_OVERRIDE is set, as it is in NVIDIA's containers. Who wants speed sets bfloat16.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def _miss_gpu(cuda):
    """Raise `UserError`, or warn where the node has no GPU at all: such nodes are for trying a cluster out.

    cuda: the version that torch was built for, None for a build without.
    """
    asked = f"This job asked Slurm for a GPU, but torch finds none that it can use on {os.uname().nodename}"
    remedy = "On a cluster without GPUs, export LABELBENCH_GPU=0 before Snakemake is started."
    if NVIDIA.exists():
        build = f"was built for CUDA {cuda}" if cuda else "is a build without CUDA"
        raise UserError(
            f"{asked}, which has one. torch {build}: compare with the driver that `nvidia-smi` shows there, and "
            "install a torch that suits it. A container needs `--nv`. The job was not run on the CPU, where it could "
            f"take days. {remedy}"
        )
    logging.getLogger("labelbench").warning("%s: IT COMPUTES ON THE CPU, which can take days. %s", asked, remedy)


def _free_places(count, among=None):
    """Yields the numbers, below `count`, of the GPUs that have a free place: all first places, then the second ones, …

    among: the numbers that are looked at, all by default. A place is a locked file. Who is given one has it to the end
    of the process.
    """
    # The same GPU has another number in a process that sees fewer of them.
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = names if len(names) == count else range(count)
    for place in itertools.count():
        for number, name in enumerate(names):
            if among is not None and number not in among:
                continue
            path = Path(tempfile.gettempdir()) / f"labelbench-{os.getuid()}-gpu{name}-place{place}.lock"
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                yield number


def _age():
    """Seconds since this process was started; on systems without /proc, its CPU seconds, which are close to that."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return time.process_time()
    started = int(stat.read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


class Stopwatch:
    """What a job costs; made when its imports are done and its work begins."""

    def __init__(self):
        self.startup = round(_age(), 2)
        self._began = time.perf_counter()

    def cost(self, job, device, **seconds):
        """The content of a `cost.json`: `seconds` of the job's work by name, its start-up, memory, and what it held.

        threads: CPU threads; gpus: how many a job computed on (`device`, as by `jobs.device`), none of which is shared
        by several ranks. Memory is that of all ranks, which have to ask together.
        """
        held = {"threads": job.threads, "gpus": ranks.count() if str(device).startswith("cuda") else 0}
        if held["gpus"]:
            # Who computed on the same GPU meanwhile is told from these (evidence/costs.py).
            held |= {"gpu": " ".join(ranks.every(_name(device))), "ended": round(time.time(), 2)}
        memory = round(sum(ranks.every(self.peak_memory_mb())), 1)
        return {"startup_seconds": self.startup, **seconds, "peak_memory_mb": memory, **held}

    def seconds(self):
        """Wall seconds of work so far."""
        return round(time.perf_counter() - self._began, 4)

    @staticmethod
    def peak_memory_mb():
        """The process's largest resident memory so far, in MiB."""
        # ru_maxrss is in KiB on Linux, in bytes on macOS.
        scale = 1024**2 if sys.platform == "darwin" else 1024
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 1)
