"""Processes that make examples: the same batches from any number of them, forked once, and ended."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from conftest import REPO
from labelbench.common.errors import UserError
from labelbench.embedding import workers
from labelbench.embedding.workers import Workers

GROUPS = [list(range(20)), [3], list(range(5, 13)), list(range(30))]


def numbered(key):
    """An example that says who made it."""
    return torch.tensor([key, key * key]), torch.tensor([os.getpid()])


def negative(key):
    return (torch.tensor([-key]),)


def made(held, example=numbered, groups=GROUPS):
    return list(held.batches(example, groups))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_batches_are_the_groups_in_order_whoever_makes_them(count):
    for _ in range(2):
        found = made(Workers(count))
        assert [batch[:, 0].tolist() for batch, _ in found] == GROUPS
        assert [batch[:, 1].tolist() for batch, _ in found] == [[k * k for k in group] for group in GROUPS]
        assert {os.getpid() in batch.flatten().tolist() for _, batch in found} == {count == 0}
    assert made(Workers(count), groups=[]) == []


def makers(batches):
    return {pid for _, who in batches for pid in who.flatten().tolist()}


def test_processes_live_until_they_are_stopped():
    held = Workers(2)
    held.learn(negative)
    first = makers(made(held))
    assert len(first) == 2
    assert [batch.flatten().tolist() for (batch,) in made(held, negative, [[1, 2], [3]])] == [[-1, -2], [-3]]
    given_up = held.batches(numbered, GROUPS)
    next(given_up)
    assert makers(made(held)) == first
    with pytest.raises(RuntimeError, match="given up"):
        next(given_up)
    held.stop()
    assert not any(is_running(pid) for pid in first)
    assert not makers(made(held)) & first


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_that_cannot_know_a_kind_are_replaced():
    held = Workers(1)
    (first,) = makers(made(held))
    made(held, negative, [[1]])
    assert makers(made(held)) != {first} and not is_running(first)


@pytest.mark.parametrize("count", [0, 1])
def test_an_error_is_said_as_it_was_and_does_not_end_the_processes(count):
    def fragile(key):
        if key == 7:
            raise UserError("photo 7 is cut short.")
        return numbered(key)

    held = Workers(count)
    with pytest.raises(UserError) as caught:
        made(held, fragile)
    assert str(caught.value) == "photo 7 is cut short."
    assert [batch[:, 0].tolist() for batch, _ in held.batches(fragile, [[1, 2], [3]])] == [[1, 2], [3]]


def test_a_process_that_ends_takes_its_own_along_at_once():
    """Torch would wait five seconds for each."""
    code = """
import os, time, torch
from labelbench.embedding.workers import Workers
held = Workers(3)
for batch, who in held.batches(lambda key: (torch.tensor([key]), torch.tensor([os.getpid()])), [list(range(60))]):
    print(*who.flatten().unique().tolist(), time.time())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO / "workflow/scripts", capture_output=True, text=True, timeout=60
    )
    *pids, said = done.stdout.split()
    assert time.time() - float(said) < 5 and len(pids) == 3
    assert not any(is_running(int(pid)) for pid in pids)


def test_processes_are_as_many_as_shared_memory_holds(monkeypatch, caplog):
    free, each = [], 3 * 8 * 8 * 4 * workers.PIECE * (workers.AHEAD + 1)
    monkeypatch.setattr(workers.shutil, "disk_usage", lambda path: SimpleNamespace(free=free[-1]))

    def image(key):
        return torch.zeros(3, 8, 8), torch.tensor([os.getpid()], dtype=torch.int32)[:0]

    for room, platform, expected in (
        (1 << 40, "linux", 4),
        (2 * 4 * each, "linux", 4),
        (2 * 3 * each, "linux", 3),
        (each, "linux", 0),
        (1 << 40, "darwin", 0),
    ):
        caplog.clear()
        free.append(room)
        monkeypatch.setattr(workers.sys, "platform", platform)
        held = Workers(4)
        next(held.batches(image, GROUPS))
        assert held._loader.num_workers == expected
        assert ("--shm-size" in caplog.text) == (platform == "linux" and expected < 4)
        held.stop()
