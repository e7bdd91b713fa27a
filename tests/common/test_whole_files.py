"""Files appear whole or not at all, whatever happens to those who write them."""

import fcntl
import os
import subprocess
import sys
import time

import pytest

from labelbench.common import hdf5, jobs


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
