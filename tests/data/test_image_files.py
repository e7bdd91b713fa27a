"""One image file: what of it is seen, what is said of it, and what it costs to look."""

import logging
import sys
import types
import warnings

import numpy as np
import pytest
from PIL import Image

from labelbench.data import image_files
from labelbench.data.image_files import DARK, TRANSPARENT, Decoding


def pixels(path, **how):
    return np.asarray(image_files.opened(path, Decoding(**how)))


def drawing(mode):
    """A black square in the middle, the rest transparent with black underneath, as clip art is."""
    values = np.zeros((8, 8, 4), np.uint8)
    values[2:6, 2:6, 3] = 255
    image = Image.fromarray(values)
    if mode == "P":
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.paste(0, (2, 2, 6, 6))
        palette.info["transparency"] = 1
        return palette
    return image.convert(mode)


@pytest.mark.parametrize("mode_ending", ["RGBA png", "LA png", "P png", "P gif", "RGBA webp"])
def test_transparent_pixels_show_the_background(tmp_path, mode_ending):
    mode, ending = mode_ending.split()
    path = tmp_path / f"x.{ending}"
    drawing(mode).save(path, lossless=True, transparency=drawing(mode).info.get("transparency"))
    expected = np.full((8, 8), 255)
    expected[2:6, 2:6] = 0
    seen = pixels(path)
    assert np.array_equal(seen if seen.ndim == 2 else seen[..., 0], expected)
    assert pixels(path, background="black").max() == 0
    assert image_files.examined(path)[2] == (TRANSPARENT,)


def test_half_transparent_pixels_are_mixed_and_colours_stay(tmp_path):
    Image.new("RGBA", (2, 2), (200, 0, 0, 128)).save(tmp_path / "x.png")
    assert np.abs(pixels(tmp_path / "x.png")[0, 0].astype(int) - [227, 127, 127]).max() <= 1
    assert np.abs(pixels(tmp_path / "x.png", background="#00ff00")[0, 0].astype(int) - [100, 127, 0]).max() <= 1
    Image.new("LA", (2, 2), (100, 0)).save(tmp_path / "grey.png")
    assert pixels(tmp_path / "grey.png", background="red")[0, 0].tolist() == [255, 0, 0]


def test_opaque_images_with_an_alpha_channel_are_as_they_were(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    Image.fromarray(values).convert("RGBA").save(tmp_path / "x.png")
    assert np.array_equal(pixels(tmp_path / "x.png"), values)
    assert image_files.examined(tmp_path / "x.png")[2] == ()


@pytest.mark.parametrize(("largest", "shift"), [(4095, 4), (3000, 4), (1023, 2), (255, 0), (90, 0)])
def test_cameras_of_fewer_bits_in_files_of_sixteen(tmp_path, largest, shift):
    levels = np.linspace(0, largest, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / "x.png")
    assert np.array_equal(pixels(tmp_path / "x.png"), levels >> shift)
    assert image_files.examined(tmp_path / "x.png")[2] == (DARK,)
    levels[0, 0] = 4096
    Image.fromarray(levels).save(tmp_path / "x.png")
    assert np.array_equal(pixels(tmp_path / "x.png"), levels >> 8)
    assert image_files.examined(tmp_path / "x.png")[2] == ()


def test_too_many_pixels_are_refused_with_both_numbers(tmp_path):
    Image.new("L", (40, 30)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"40 × 30 pixels, 0 million, are more than max_pixels, 0 million: raise max_"):
        image_files.opened(tmp_path / "x.png", Decoding(max_pixels=1199))
    assert pixels(tmp_path / "x.png", max_pixels=1200).shape == (30, 40)


def test_a_scan_that_pillow_calls_a_bomb_is_read(tmp_path, monkeypatch):
    Image.new("L", (400, 300)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(image_files, "_prepared", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(tmp_path / "x.png").shape == (300, 400)


def test_photos_are_decoded_reduced_and_count_so(tmp_path):
    Image.new("RGB", (1600, 800), (10, 200, 30)).save(tmp_path / "x.jpg")
    small = image_files.opened(tmp_path / "x.jpg", Decoding(shortest=100, max_pixels=20_000))
    assert small.size == (200, 100)
    assert np.abs(np.asarray(small)[50, 100].astype(int) - [10, 200, 30]).max() <= 3
    assert image_files.opened(tmp_path / "x.jpg", Decoding(shortest=500)).size == (1600, 800)
    Image.new("L", (1700, 850)).save(tmp_path / "x.png")
    assert image_files.opened(tmp_path / "x.png", Decoding(shortest=200)).size == (425, 213)


def test_large_images_are_decoded_one_after_another(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "AT_ONCE", 100)
    most, now = [], [0]
    original = image_files._upright

    def slow(*args):
        now[0] += 1
        most.append(now[0])
        try:
            return original(*args)
        finally:
            now[0] -= 1

    monkeypatch.setattr(image_files, "_upright", slow)
    paths = []
    for i in range(12):
        Image.new("L", (20, 20), i).save(tmp_path / f"{i}.png")
        paths.append(str(tmp_path / f"{i}.png"))
    assert image_files.check(paths, "x", "decode") == []
    assert max(most) == 1


def test_warnings_of_pillow_go_to_the_log_once_with_the_file(tmp_path, caplog, capsys):
    palette = Image.new("P", (4, 4))
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "x.png", transparency=b"\x00\xff")
    damaged = Image.Exif()
    damaged[0x0112] = 1
    Image.new("RGB", (4, 4)).save(tmp_path / "y.jpg", exif=damaged.tobytes()[:-9])
    with caplog.at_level(logging.WARNING, "labelbench"):
        for name in ("x.png", "y.jpg"):
            assert image_files.examined(str(tmp_path / name))[1] == ""
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)) and all(str(tmp_path) in line for line in said)
    assert any("y.jpg" in line for line in said)
    for file in (tmp_path / "y.jpg", (tmp_path / "y.jpg").read_bytes()):  # and not once per epoch
        image_files.opened(file)
    assert len(caplog.records) == len(said)
    assert capsys.readouterr().err == ""


def test_heic_without_its_package_names_it(tmp_path, monkeypatch):
    (tmp_path / "x.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    hint = "HEIC needs one more package: pip install pillow-heif"
    assert image_files.examined(str(tmp_path / "x.HEIC"))[1] == hint
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.HEIC").read_bytes())  # as phones call some of them
    assert image_files.examined(str(tmp_path / "x.jpg"))[1] == hint
    for file in (tmp_path / "x.jpg", (tmp_path / "x.jpg").read_bytes()):
        with pytest.raises(OSError, match=hint):
            image_files.opened(file)
    called = []
    package = types.SimpleNamespace(register_heif_opener=lambda: called.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    assert image_files.reads_heif() and called


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "bmp", "tif", "webp", "avif"])
def test_images_are_told_by_their_first_bytes(tmp_path, ending):
    Image.new("RGB", (8, 8)).save(tmp_path / f"x.{ending}")
    assert image_files.looks_like_image(tmp_path / f"x.{ending}")
    (tmp_path / "text").write_text("GI said")
    assert not image_files.looks_like_image(tmp_path / "text")
    assert not image_files.looks_like_image(tmp_path / "gone")


def test_a_background_is_a_colour():
    assert image_files.is_colour("white") and image_files.is_colour("#c0ffee")
    assert not image_files.is_colour("none of them")
