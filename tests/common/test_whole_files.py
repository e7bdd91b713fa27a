"""Files appear whole or not at all, whatever happens to those who write them."""

import errno
import fcntl
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from labelbench.common import hdf5, jobs
from labelbench.common.errors import UserError


def test_output_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder/result.json"
    with pytest.raises(RuntimeError), jobs.written_whole(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert not list(target.parent.iterdir())
    with jobs.written_whole(target) as part:
        part.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    # As safetensors 0.8 says it.
    RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", FULL, ids=["disk", "quota", "in words"])
def test_a_full_disk_is_a_sentence(tmp_path, error):
    target = tmp_path / "folder/result.h5"
    with pytest.raises(UserError) as caught, jobs.written_whole(target):
        raise error
    assert re.search(
        r"result.h5 could not be written: the disk is full.*MB are free of.*run Snakemake again", str(caught.value)
    )
    assert not list(target.parent.iterdir())


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError), jobs.written_whole(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_files_on_a_device_that_is_full(tmp_path, monkeypatch):
    """As every kind of file that jobs write meets it."""
    import h5py

    def to(part):
        part.unlink(missing_ok=True)
        part.symlink_to("/dev/full")
        return part

    def hdf5_file(part):
        with h5py.File(part, "w", locking=False) as file:
            file["x"] = np.zeros(100_000)

    def buffered(part):
        with part.open("wb") as file:
            file.write(bytes(10**6))

    written = {
        "text": lambda part: to(part).write_text("x" * 10**6),
        "buffered": lambda part: buffered(to(part)),
        "h5py": lambda part: hdf5_file(to(part)),
    }
    found = {}
    for name, write in written.items():
        try:
            with jobs.written_whole(tmp_path / name) as part:
                write(part)
        except UserError as error:
            found[name] = str(error)
        except Exception as error:
            found[name] = error
    assert {name: "the disk is full" in str(text) for name, text in found.items()} == dict.fromkeys(written, True)


def test_a_file_is_written_without_a_lock(tmp_path):
    """Network file systems often refuse one."""
    with hdf5.create(tmp_path / "file.h5"):
        (part,) = tmp_path.iterdir()
        with part.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_a_killed_process_left_is_removed(tmp_path):
    target = tmp_path / "result.json"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = target.with_name(f"result.json.{os.uname().nodename}.{gone.pid}.part")
    alive = target.with_name(f"result.json.{os.uname().nodename}.{os.getppid()}.part")
    left.write_text("half")
    alive.write_text("somebody is writing")
    jobs.write_json(target, {"a": 1})
    assert not left.exists()
    assert alive.exists()


def test_what_a_lost_node_left_is_removed_after_a_day(tmp_path):
    target = tmp_path / "result.json"
    old, new, others = (tmp_path / name for name in ("result.json.n1.x.7.part", "result.json.n2.7.part", "r.n1.7.part"))
    for path in (old, new, others):
        path.write_text("half")
    for path in (old, others):
        os.utime(path, times=(time.time() - 25 * 3600,) * 2)
    jobs.write_json(target, {"a": 1})
    assert not old.exists()
    assert new.exists() and others.exists()
