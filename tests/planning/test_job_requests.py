"""What jobs ask for against what they take: the peak of a process and all that it started, by proportional shares."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import REPO
from labelbench.common.errors import UserError
from labelbench.planning import requests

SMALL = REPO / "tests/planning/small_jobs.py"


def test_threads_follow_the_gpus():
    assert [requests.threads(gpus, 1797, 16) for gpus in (0, 1, 2)] == [1, 16, 32]
    assert [requests.threads(gpus, 10**6, 6) for gpus in (0, 1, 2)] == [2, 6, 12]


def test_settings_of_the_environment_are_whole_numbers(monkeypatch):
    for text, found in (("", 16), (" 8 ", 8), ("1", 1)):
        monkeypatch.setenv("LABELBENCH_GPU_THREADS", text)
        assert requests.from_environment("LABELBENCH_GPU_THREADS", 16, least=1) == found
    for text in ("0", "-2", "four", "2.5", "1e3"):
        monkeypatch.setenv("LABELBENCH_GPU_THREADS", text)
        with pytest.raises(UserError, match=f"LABELBENCH_GPU_THREADS must be a whole number, at least 1, not '{text}'"):
            requests.from_environment("LABELBENCH_GPU_THREADS", 16, least=1)


def test_what_is_asked_for_grows_with_all_that_takes_memory():
    least = requests.of_images(1, 0, requests.LOADED)
    assert requests.of_images(3, 0, requests.LOADED) - least == 2 * requests.READER
    assert requests.of_images(1, 605, requests.TRAINED) - least == 5 * 605
    assert requests.of_images(1, 0, requests.LOADED, decoded_mb=70) - least == 70
    assert requests.asked(300) == 1500 and requests.asked(1001, computing=50) == 1600
    # As cluster.md says.
    assert requests.asked(requests.of_images(16, 605, requests.TRAINED), requests.COMPUTING + 4000) == 14_500
    assert requests.asked(requests.of_proxy(14_500)) == 22_200


def peak_mb(*args):
    """MB at most of a small job, its processes included."""
    job = subprocess.Popen([sys.executable, SMALL, *map(str, args)], env={"OMP_NUM_THREADS": "1"}, cwd=REPO)
    most = 0.0
    while job.poll() is None:
        most = max(most, sum(map(share_mb, tree(job.pid))))
        time.sleep(0.05)
    assert job.returncode == 0
    return most


def tree(pid):
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:  # it has just ended
                continue
    return found


def share_mb(pid):
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1000 for line in lines if line.startswith("Pss:"))


@pytest.mark.slow  # the jobs themselves, some of them 20 seconds long
@pytest.mark.parametrize(
    ("args", "estimate"),
    [
        (("images", 0, 0), requests.of_images(1, 0, requests.LOADED)),
        (("images", 2, 0), requests.of_images(3, 0, requests.LOADED)),
        (("images", 4, 0), requests.of_images(5, 0, requests.LOADED)),
        (("images", 2, 300), requests.of_images(3, 0, requests.LOADED, 300)),
        (("proxy", 60_000, 256), requests.of_proxy(3 * 60_000 * 256 * 2 / 1e6)),
        (("proxy", 150_000, 512), requests.of_proxy(3 * 150_000 * 512 * 2 / 1e6)),
    ],
    ids=str,
)
def test_an_estimate_is_what_a_job_takes(args, estimate):
    assert peak_mb(*args) == pytest.approx(estimate, rel=0.3)
