"""What jobs ask for against what they take: the peak of a process and all that it started, by proportional shares."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import REPO
from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.planning import plan, requests
from labelbench.selection import clustering, fisher, memory
from labelbench.selection.pool import Pool

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


# N, d, K, L, B of a pool in which what the strategy holds is much of what the process takes.
SELECTIONS = {
    "random": (60_000, 512, 20, 300, 100),
    "confidence": (60_000, 512, 20, 300, 100),
    "entropy": (60_000, 128, 200, 300, 100),
    "margin": (60_000, 512, 20, 300, 100),
    "power_margin": (60_000, 512, 20, 300, 100),
    "class_balanced": (60_000, 512, 20, 300, 100),
    "base": (40_000, 64, 400, 300, 100),
    "coreset": (60_000, 512, 20, 300, 100),
    "badge": (60_000, 256, 300, 300, 100),
    "bait": (40_000, 512, 60, 300, 10),
    "bait_binary": (40_000, 256, 20, 300, 20),
    "bait_topc": (20_000, 128, 12, 300, 10),
    "galaxy": (60_000, 64, 400, 300, 100),
    "direct": (60_000, 64, 400, 300, 100),
    "typiclust": (60_000, 512, 20, 200, 50),
    "kmeans": (60_000, 512, 20, 300, 100),
    "probcover": (12_000, 1024, 20, 300, 50),
    "maxherding": (20_000, 512, 20, 300, 50),
    "uherding": (20_000, 512, 20, 300, 50),
    "dropquery": (60_000, 512, 20, 300, 300),
    "alfamix": (60_000, 512, 20, 300, 100),
    "cluster_margin": (7_000, 256, 20, 300, 100),
    "falcun": (60_000, 64, 300, 300, 50),
    "clue": (60_000, 512, 100, 300, 50),
    "tcm": (60_000, 512, 20, 100, 50),  # as typiclust
    "dcom": (12_000, 512, 20, 100, 20),
    "selectal": (60_000, 512, 20, 2, 50),  # as typiclust
    "refine": (12_000, 256, 20, 300, 50),
    "oracle": (12_000, 128, 10, 200, 20),
    "typiclass": (60_000, 512, 20, 300, 100),
    "dropquery_class": (60_000, 512, 20, 300, 1000),
}
# Those with a mechanism of their own that take a second; the others daily would take two minutes.
DAILY = ("badge", "bait_binary", "clue", "falcun", "galaxy", "typiclass")


def sizes_of(count, width, classes, labelled, budget):
    return memory.Sizes(count - labelled, labelled, classes, width, budget)


def estimate_of(strategy, sizes, **settings):
    return requests.of_selection(plan._strategies({strategy: settings})[strategy], sizes)


def test_every_strategy_says_what_it_takes_and_is_measured():
    assert sorted(SELECTIONS) == sorted(registry.names("strategies"))
    for name in SELECTIONS:
        assert hasattr(registry.load("strategies", name), "memory"), name


@pytest.mark.parametrize(
    "strategy", [pytest.param(name, marks=[] if name in DAILY else pytest.mark.slow) for name in SELECTIONS]
)
def test_an_estimate_is_what_a_selection_takes(strategy):
    arguments = SELECTIONS[strategy]
    command = [sys.executable, SMALL, "selection", strategy, *map(str, arguments)]
    job = subprocess.run(command, env={"OMP_NUM_THREADS": "1"}, cwd=REPO, check=True, capture_output=True)
    # Of its process alone, at its very peak, which a look every 50 ms would miss.
    assert int(job.stdout) * 1024 / 1e6 == pytest.approx(estimate_of(strategy, sizes_of(*arguments)), rel=0.3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "images", "width"), [("margin", 2000, 64), ("margin", 300_000, 32), ("badge", 60_000, 512)]
)
def test_an_estimate_is_what_a_batch_for_people_takes(strategy, images, width):
    command = [sys.executable, SMALL, "batch", strategy, str(images), str(width), "10", "100"]
    job = subprocess.run(command, env={"OMP_NUM_THREADS": "1"}, cwd=REPO, check=True, capture_output=True)
    estimate = estimate_of(strategy, sizes_of(images, width, 10, 100, 100)) + requests.of_campaign(images)
    assert int(job.stdout) * 1024 / 1e6 == pytest.approx(estimate, rel=0.3)


def test_what_a_selection_asks_for_grows_with_what_it_holds():
    sizes = memory.Sizes(1_000_000, 1000, 1000, 512, 1000)
    wide, many = replace(sizes, dim=1024), replace(sizes, classes=2000)
    features, probabilities = 4 * 512, 4 * 1000  # MB of a million
    assert estimate_of("badge", wide) - estimate_of("badge", sizes) == pytest.approx(1.5 * features, rel=0.05)
    assert estimate_of("badge", many) - estimate_of("badge", sizes) == pytest.approx(probabilities, rel=0.05)
    assert estimate_of("margin", many) - estimate_of("margin", sizes) < 100
    assert estimate_of("bait_topc", many, pca_dim=4) > 5 * 8 * (1999 * 4) ** 2 / 1e6
    # A shortlist bounds all but the embeddings.
    short = estimate_of("badge", sizes, shortlist={"by": "margin", "size": 50_000})
    assert short < 2 * 512 + 0.05 * (features + probabilities) + 1000
    # No more than a part is covered at a time.
    assert estimate_of("maxherding", sizes) - estimate_of("margin", sizes) < 6 * 4 * 50_000 * 512 / 1e6
    assert estimate_of("random", wide) == estimate_of("random", sizes)


@pytest.mark.parametrize("strategy", SELECTIONS)
@pytest.mark.parametrize("sizes", [(0, 0, 1, 1, 1), (1, 0, 2, 1, 1), (0, 30, 2, 8, 10), (5, 30, 2, 8, 10)])
def test_an_estimate_stands_no_pool_in_the_way(strategy, sizes):
    least = estimate_of("random", memory.Sizes(*sizes))
    assert least <= estimate_of(strategy, memory.Sizes(*sizes)) < 3000
    assert estimate_of(strategy, memory.Sizes(*sizes), shortlist={"by": "kmeans", "size": 10}) < 3000


def test_a_strategy_that_says_nothing_gets_what_the_hungriest_take(monkeypatch):
    sizes = memory.Sizes(100_000, 1000, 100, 512, 1000)
    said = estimate_of("badge", sizes)
    monkeypatch.delattr(registry.load("strategies", "badge"), "memory")
    assert estimate_of("badge", sizes) > 1.5 * said


def test_numbers_of_other_files_are_theirs():
    assert Pool.__dataclass_fields__["chunk_size"].default == memory.CHUNK
    assert (clustering.ONE_LEVEL, fisher.LARGEST_MATRIX) == (memory.ONE_LEVEL, memory.LARGEST_MATRIX)
