"""Embedding files: the same bytes however the work is divided, resumed or shared."""

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from conftest import REPO
from labelbench.common import hdf5, torchvision_cpu  # noqa: F401  before open_clip and timm
from labelbench.common.errors import UserError
from labelbench.data.dataset_file import Dataset, Split
from labelbench.data.datasets import digits
from labelbench.data.views import Config as ViewsConfig
from labelbench.data.views import make_views
from labelbench.embedding import embedder, embeddings  # noqa: F401  before open_clip and timm
from labelbench.embedding.encoders import open_clip as open_clip_encoder
from labelbench.embedding.encoders import timm as timm_encoder
from labelbench.embedding.images import Data
from labelbench.embedding.workers import Workers

torch.set_num_threads(1)
GLYPHCLIP = REPO / "resources" / "glyphclip" / "glyphclip"
MADE_BY = {"encoder": "some", "spec": "{}", "code": "0"}


@pytest.fixture(scope="module")
def glyphclip():
    return open_clip_encoder.load(
        open_clip_encoder.Config("glyphclip", f"{GLYPHCLIP}.safetensors", f"{GLYPHCLIP}.json", projection=False)
    )


def digits_dataset(pool=150):
    """The digits, with fewer of them; no split fills its last block."""
    whole = digits.prepare(digits.Config())
    sizes = {"pool": pool, "val": 70, "test": 3}
    splits = {name: Split(s.labels[: sizes[name]], s.source[: sizes[name]]) for name, s in whole.splits.items()}
    return Dataset(splits, whole.class_names, whole.templates, whole.images_hash)


def embed(path, encoder, view, workers=0, images=None, dataset=None, **part):
    views = None if view == "clean" else make_views(encoder.transform, ViewsConfig())
    images = images or digits.images(digits.Config())
    data = Data(dataset or digits_dataset(), encoder, images, "cpu", Workers(workers))
    embedder.embed(path, data, view, views, MADE_BY, **part)
    return path


@pytest.mark.parametrize("view", ["clean", "aug0"])
def test_same_bytes_for_any_number_of_workers_and_shards(tmp_path, glyphclip, view):
    whole = embed(tmp_path / "0.h5", glyphclip, view).read_bytes()
    for workers in (1, 2):
        assert embed(tmp_path / f"{workers}.h5", glyphclip, view, workers).read_bytes() == whole
    for parts in (2, 5):  # of five parts of three blocks, two are empty
        shards = [
            embed(tmp_path / f"{part}of{parts}.h5", glyphclip, view, part=part, parts=parts)
            for part in range(1, parts + 1)
        ]
        embeddings.gather(tmp_path / "gathered.h5", shards)
        assert (tmp_path / "gathered.h5").read_bytes() == whole


@pytest.mark.parametrize("view", ["clean", "aug0"])
def test_same_rows_for_another_batch_size(tmp_path, glyphclip, view, monkeypatch):
    whole = embed(tmp_path / "64.h5", glyphclip, view).read_bytes()
    monkeypatch.setattr(embedder, "BLOCK", 48)
    assert embed(tmp_path / "48.h5", glyphclip, view).read_bytes() == whole


def test_a_row_depends_on_its_image_alone(tmp_path):
    """EfficientNet's rows would differ: its convolutions take other paths for a single image than for many."""
    encoder = timm_encoder.load(timm_encoder.Config(image_size=32))
    dataset = digits_dataset(pool=65)  # one image more than a block
    source = np.roll(dataset.splits["pool"].source, 30)
    turned = Dataset({**dataset.splits, "pool": Split(dataset.splits["pool"].labels, source)}, ("a",), (), "")
    for name, content in (("straight", dataset), ("turned", turned)):
        embed(tmp_path / name, encoder, "clean", dataset=content)
    with h5py.File(tmp_path / "straight") as straight, h5py.File(tmp_path / "turned") as other:
        assert np.array_equal(np.roll(straight["pool"], 30, axis=0), other["pool"])


def test_rows_are_the_encoders_own(tmp_path, glyphclip):
    path = embed(tmp_path / "clean.h5", glyphclip, "clean")
    dataset, image = digits_dataset(), digits.images(digits.Config())
    pixels = torch.stack([glyphclip.transform(image(at)) for at in dataset.splits["val"].source])
    rows = embeddings.read(path, "val", dataset.fingerprint)
    assert np.allclose(rows, glyphclip.embed(pixels).numpy(), rtol=1e-3, atol=1e-3)
    pool = embeddings.read(path, "pool", dataset.fingerprint).astype(np.float64)
    mean, std = embeddings.standardisation(path)
    assert np.allclose(mean, pool.mean(0), atol=1e-6)
    assert np.allclose(std, pool.std(0), atol=1e-6)
    with h5py.File(path) as file:
        assert file.attrs["weights"] == glyphclip.weights_hash
        assert file.attrs["precision"] == "float32"
        assert "Normalize(mean=(0.48145466, 0.4578275, 0.40821073)" in file.attrs["preprocessing"]
        assert " at 0x" not in file.attrs["preprocessing"]
        assert file.attrs["view"] == "clean"


def test_standardisation_does_not_depend_on_being_read_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "CHUNK", 7)
    rows = np.random.default_rng(0).normal(100, 1, (50, 3)).astype(np.float16)
    rows[:, 1] = 3
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["pool"] = rows
        embeddings.write_standardisation(file)
        assert np.allclose(file["mean"], rows.mean(0, dtype=np.float64))
        assert np.allclose(file["std"], [rows[:, 0].std(dtype=np.float64), 1, rows[:, 2].std(dtype=np.float64)])


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("parts", [1, 2, 3, 40])
def test_parts_hold_every_row_once_and_begin_where_blocks_do(rows, parts):
    ranges = [embedder.part_of(rows, part, parts) for part in range(1, parts + 1)]
    assert [row for part in ranges for row in part] == list(range(rows))
    assert all(part.start % embedder.BLOCK == 0 for part in ranges if len(part))


def test_shards_of_different_making_are_refused(tmp_path, glyphclip):
    shards = [embed(tmp_path / f"{part}.h5", glyphclip, "clean", part=part, parts=2) for part in (1, 2)]
    with h5py.File(shards[1], "r+") as file:
        file.attrs["precision"] = "bfloat16"
        hdf5.seal(file)
    with pytest.raises(UserError, match=r"1\.h5 and .*2\.h5 were not made alike: they differ in precision"):
        embeddings.gather(tmp_path / "gathered.h5", shards)
    assert not (tmp_path / "gathered.h5").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_an_image_is_all_that_is_said(tmp_path, glyphclip, workers):
    def images(position):
        if position == broken:
            raise UserError("photo 7 is cut short.")
        return Image.new("L", (8, 8))

    broken = digits_dataset().splits["pool"].source[100]
    with pytest.raises(UserError) as caught:
        embed(tmp_path / "clean.h5", glyphclip, "clean", workers, images)
    assert str(caught.value) == "photo 7 is cut short."
    assert not list(tmp_path.iterdir())


def test_rows_that_float16_cannot_hold_are_refused(tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file, pytest.raises(UserError, match="projection: true"):
        embeddings.write(file, ["pool"], 1, 2, [(np.array([[1, np.nan]]),)])


def test_embeddings_of_another_dataset_from_a_cache_name_the_file_to_delete(tmp_path, glyphclip):
    (tmp_path / "link.h5").symlink_to(embed(tmp_path / "cached.h5", glyphclip, "clean"))
    with pytest.raises(UserError, match=rf"Delete the file and {tmp_path}/cached\.h5, which it links to, and run"):
        embeddings.read(tmp_path / "link.h5", "pool", "another")
