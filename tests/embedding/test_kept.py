"""Images that stay decoded: the same pixels, decoded once by all processes together, in no more than their room."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from labelbench.embedding.kept import Kept
from labelbench.embedding.workers import Workers


def picture(at):
    mode = ["L", "RGB", "P"][at % 3]
    pixels = np.random.default_rng(at).integers(0, 256, (5 + at, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("room", [1, 300, 100_000])
def test_an_image_is_the_same_each_time_and_kept_where_there_is_room(room):
    asked = []

    def images(at):
        asked.append(at)
        return picture(at)

    kept = Kept(images, 12, room)
    for _ in range(3):
        for at in range(12):
            image = kept(at)
            assert image.mode == picture(at).mode and image.tobytes() == picture(at).tobytes()
    decoded = {at: asked.count(at) for at in range(12)}
    assert all(decoded[at] == 3 for at in range(2, 12, 3))  # a palette is none of the modes that are kept
    held = sum(len(picture(at).tobytes()) for at, times in decoded.items() if times == 1)
    assert held <= room
    assert {at for at, times in decoded.items() if times == 1} == {
        1: set(), 300: {0, 1, 3, 6}, 100_000: {0, 1, 3, 4, 6, 7, 9, 10}
    }[room]  # fmt: skip


def test_what_one_process_decoded_another_need_not(tmp_path):
    def images(at):
        with (tmp_path / f"{at}").open("a") as file:
            print(os.getpid(), file=file)
        return picture(3 * at)

    kept = Kept(images, 40, 1_000_000)

    def example(at):
        return torch.from_numpy(np.array(kept(at))).flatten()[:7], torch.tensor([os.getpid()])

    held = Workers(2)
    for _ in range(4):
        batches = list(held.batches(example, [list(range(40))]))
        assert [row.tolist() for row in batches[0][0]] == [list(picture(3 * at).tobytes()[:7]) for at in range(40)]
    assert all(len((tmp_path / f"{at}").read_text().splitlines()) == 1 for at in range(40))
    assert len({(tmp_path / f"{at}").read_text() for at in range(40)}) == 2
    assert kept(0).tobytes() == picture(0).tobytes() and len((tmp_path / "0").read_text().splitlines()) == 1
