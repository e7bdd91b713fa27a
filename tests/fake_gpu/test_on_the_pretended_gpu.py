"""What is run on the pretended GPU (`fakegpu.py`), in a process of its own: the tests of `on_gpu/`.

    PYTHONPATH=tests/fake_gpu/site FAKE_GPUS=2 python -m pytest -n0 tests/fake_gpu/on_gpu/gpu_selection.py

runs some of them by hand.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import guard
from conftest import REPO

HERE = Path(__file__).parent
FILES = sorted((HERE / "on_gpu").glob("gpu_*.py"))
ROOMS = ["training", "embedding", "fake_gpu", "fake_gpu/on_gpu"]  # whose helpers the tests share

pytestmark = pytest.mark.skipif(guard.missing() is not None, reason=guard.missing() or "")


def environment(**more):
    """The environment of a process that has the pretended GPU."""
    guard.built()
    return {**os.environ, "PYTHONPATH": str(HERE / "site"), **more}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """file name → (tests that ran, text of what failed), of one run of all files."""
    folder = tmp_path_factory.mktemp("pretended")
    paths = " ".join(["workflow/scripts", "tests", "tests/selection", *(f"tests/{room}" for room in ROOMS)])
    options = ["-n0", "-q", "-p", "no:cacheprovider", "-o", f"pythonpath={paths}", f"--junit-xml={folder}/junit.xml"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *FILES], cwd=REPO, text=True, check=False,
        env=environment(FAKE_GPUS="2", TMPDIR=str(folder)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    found = {path.name: (0, "") for path in FILES}
    if not (folder / "junit.xml").exists():
        pytest.fail(done.stdout[-6000:], pytrace=False)
    for case in ET.parse(folder / "junit.xml").iter("testcase"):
        name = case.get("classname").rpartition(".")[2] + ".py"
        wrong = [part.text for part in case if part.tag in ("failure", "error", "skipped")]
        ran, text = found.get(name, (0, ""))
        found[name] = ran + 1, "\n".join([text, *(f"{case.get('name')}:\n{part}" for part in wrong)]).strip()
    if done.returncode and not any(text for _, text in found.values()):
        pytest.fail(done.stdout[-6000:], pytrace=False)
    return found


@pytest.mark.parametrize("name", [path.name for path in FILES])
def test_on_the_pretended_gpu(outcomes, name):
    ran, failed = outcomes[name]
    assert ran > 0
    assert failed == ""
