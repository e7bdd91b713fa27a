"""A training that can go on after a kill: one file, replaced whole every few minutes and before an announced kill.

A file holds all that a training depends on, a gigabyte and more for large encoders, so it is not written after every
epoch: over a large study that would be terabytes.
"""

import contextlib
import json
import signal
import threading
import time
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from labelbench.common import jobs, ranks

INTERVAL = 300  # seconds of work that a kill without notice costs at most, and a step


class Keeper:
    """Saves the state of a training to a file, at most every `INTERVAL` seconds, and when it is about to end early.

    path: of the file, or None: nothing is ever saved; state: a function that returns what `save` takes after the
    identity. Used as a context around the training: there SIGTERM, which Slurm sends some seconds before it kills a
    preempted or cancelled job, ends the process (`SystemExit`) only between steps, and after a last save. Of several
    ranks, which have the same state, the first saves it and ends the others.
    """

    def __init__(self, path, identity, state):
        self._path, self._identity, self._state = path if ranks.own() == 0 else None, identity, state
        self._saved, self._changed, self._waiting, self._told = time.monotonic(), False, False, False

    def __enter__(self):
        # Only the main thread hears of signals.
        self._hears = self._path is not None and threading.current_thread() is threading.main_thread()
        self._before = signal.signal(signal.SIGTERM, self._hear) if self._hears else None
        return self

    def __exit__(self, *_):
        if self._hears:
            signal.signal(signal.SIGTERM, self._before)

    def _hear(self, *_):
        self._told = True
        if self._waiting:
            self._waiting = False  # a second signal does not interrupt what the first one began
            raise SystemExit(128 + signal.SIGTERM)

    def stepped(self):
        """To be called after each step: its state is whole."""
        self._changed = True
        if self._path is not None and time.monotonic() - self._saved >= INTERVAL:
            self._save()

    @contextlib.contextmanager
    def waiting(self):
        """Around all that waits or evaluates, and so leaves the state alone: if that ends the training, it is saved."""
        self._waiting = True
        try:
            if self._told:
                raise SystemExit(128 + signal.SIGTERM)
            yield
        except BaseException:
            self._waiting = False
            if self._path is not None and self._changed:
                self._save()
            raise
        finally:
            self._waiting = False

    def _save(self):
        save(self._path, self._identity, *self._state())
        self._saved, self._changed = time.monotonic(), False


def save(path, identity, tensors, facts):
    """Write `tensors` (part → name → tensor) and `facts` (a JSON value), under an `identity` to be resumed by."""
    flat = {
        f"{part}/{name}": tensor.detach().cpu().contiguous()
        for part, named in tensors.items()
        for name, tensor in named.items()
    }
    with jobs.written_whole(path) as file:
        save_file(flat, file, metadata={"progress": json.dumps({"identity": identity, "facts": facts})})


def load(path, identity, log):
    """(tensors, facts) as `save` got them, or None if there is no file, or none that is whole and of this identity."""
    if not Path(path).exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["progress"])
            if progress["identity"] != identity:
                log.info("%s is of another training: begin anew", path)
                return None
            tensors = {}
            for key in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                part, _, name = key.partition("/")
                tensors.setdefault(part, {})[name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        log.info("%s is no readable checkpoint (%s): begin anew", path, error)
        return None
    return tensors, progress["facts"]
