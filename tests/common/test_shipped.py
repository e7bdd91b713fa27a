"""Files that come with the workflow are what they were when it was released."""

import shutil

import pytest

from conftest import REPO
from labelbench.common import shipped
from labelbench.common.errors import UserError

CHECKPOINT = "resources/glyphclip/glyphclip.safetensors"


def test_what_is_shipped_is_whole():
    names = [line.split(maxsplit=1)[1] for line in (REPO / shipped.SUMS).read_text().splitlines()]
    assert CHECKPOINT in names
    for name in names:
        shipped.check(REPO / name)


def test_one_bit_of_the_checkpoint(tmp_path, monkeypatch):
    shutil.copytree(REPO / "resources", tmp_path / "resources")
    monkeypatch.setattr(shipped, "WORKFLOW", tmp_path)
    path = tmp_path / CHECKPOINT
    shipped.check(path)
    with path.open("r+b") as file:
        file.seek(5_000_000)
        byte = file.read(1)[0]
        file.seek(5_000_000)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(UserError, match="is not the file that comes with the workflow: its sha256 is"):
        shipped.check(path)
    # One of another name is the user's own.
    shipped.check(path.rename(path.with_name("mine.safetensors")))
    (tmp_path / shipped.SUMS).unlink()
    shipped.check(path.with_name("mine.safetensors"))
