"""Embeddings in shards and from a cache that workflows share."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import h5py
import pytest
from safetensors.torch import load_file, save_file

from conftest import configure, snakemake
from labelbench.common import torchvision_cpu  # noqa: F401  before open_clip and timm
from labelbench.embedding import embedder, embeddings  # noqa: F401  before open_clip and timm

EMBEDDINGS = "results/embeddings/digits/glyphclip"


@pytest.mark.slow  # tests/workflow/test_interruption.py kills a study every day
def test_finished_shards_survive_a_kill_and_make_the_file_of_a_single_job(fresh):
    clean, logs = f"{EMBEDDINGS}/clean.h5", fresh / "logs/embed_shard/digits/glyphclip"
    configure(fresh, {"datasets": {"digits": {"shards": 3}}})
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "-c1", clean],
        cwd=fresh,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(list(logs.glob("*.log"))) < 2 and time.monotonic() < deadline:  # the second shard is being made
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    done = list((fresh / EMBEDDINGS).glob("clean.shard?of3.h5"))
    assert len(done) == 1
    before = done[0].stat().st_mtime_ns
    snakemake(fresh, "--unlock")
    assert snakemake(fresh, "-n", clean).count("rule embed_shard:") == 2
    snakemake(fresh, "-c1", "--notemp", clean)
    assert done[0].stat().st_mtime_ns == before
    gathered = (fresh / clean).read_bytes()
    snakemake(fresh, "-c1", "--delete-temp-output", clean)
    assert not list((fresh / EMBEDDINGS).glob("clean.shard*"))
    assert "Nothing to be done" in snakemake(fresh, "-n", clean)
    configure(fresh, {"datasets": {"digits": {"views": {"crop_scale": 0.9}}}})
    assert "Nothing to be done" in snakemake(fresh, "-n", clean)
    configure(fresh, {"datasets": {"digits": {"shards": 1}}})
    assert "rule embed:" in snakemake(fresh, "-c1", clean)
    assert (fresh / clean).read_bytes() == gathered


@pytest.mark.slow
def test_a_changed_setting_embeds_all_shards_again(fresh):
    configure(fresh, {"datasets": {"digits": {"shards": 2}}})
    target = f"{EMBEDDINGS}/aug0.h5"
    snakemake(fresh, "-c2", target)
    assert "Nothing to be done" in snakemake(fresh, "-n", target)
    configure(fresh, {"datasets": {"digits": {"views": {"crop_scale": 0.9}}}})
    planned = snakemake(fresh, "-n", target)
    assert planned.count("rule embed_shard:") == 2
    assert planned.count("rule gather_shards:") == 1


@pytest.mark.slow
def test_two_copies_of_the_workflow_share_embeddings(fresh, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(fresh, other)
    (tmp_path / "cache").mkdir()
    env = {"SNAKEMAKE_OUTPUT_CACHE": str(tmp_path / "cache")}

    def run(repo, *views):
        """The views that had to be embedded."""
        targets = [f"{EMBEDDINGS}/{view}.h5" for view in views]
        output = snakemake(repo, "-c2", "--cache", "embed", "embed_shard", "--", *targets, env=env)
        return set(re.findall(r"Moving output file \S+/(\w+)\.h5 to cache", output))

    assert run(fresh, "clean", "aug0", "aug1") == {"clean", "aug0", "aug1"}
    assert run(other, "clean", "aug0", "aug1") == set()
    for view in ("clean", "aug0", "aug1"):
        assert (other / EMBEDDINGS / f"{view}.h5").read_bytes() == (fresh / EMBEDDINGS / f"{view}.h5").read_bytes()
        with h5py.File(other / EMBEDDINGS / f"{view}.h5") as file:
            assert file.attrs["view"] == view
    configure(other, {"datasets": {"digits": {"views": {"crop_scale": 0.9}}}})
    assert run(other, "clean", "aug0", "aug1") == {"aug0", "aug1"}
    assert (other / EMBEDDINGS / "aug0.h5").read_bytes() != (fresh / EMBEDDINGS / "aug0.h5").read_bytes()
    # Another checkpoint under the same name.
    checkpoint = other / "resources/glyphclip/glyphclip.safetensors"
    weights = load_file(checkpoint)
    save_file({name: 1.01 * tensor for name, tensor in weights.items()}, checkpoint)
    (other / "resources/SHA256SUMS").unlink()  # which says that it is another
    assert run(other, "clean") == {"clean"}


def test_shards_must_be_a_whole_number(fresh):
    for wrong in (0, 2.5, True, "two"):
        configure(fresh, {"datasets": {"digits": {"shards": wrong}}})
        done = snakemake(fresh, "-n", check=False)
        assert done.returncode != 0
        assert "digits: shards must be a whole number from 1" in done.stdout
