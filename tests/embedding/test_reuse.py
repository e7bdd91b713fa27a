"""Embeddings of images that are known by content: what was embedded once is not embedded again, and is the same."""

import types

import h5py
import numpy as np
import pytest

from labelbench.data import views
from labelbench.data.datasets import image_folder
from labelbench.embedding import embedder, reuse
from labelbench.embedding.images import Data, address_of_image
from labelbench.embedding.workers import Workers
from own_images import write_folders, write_image


class Encoder(types.SimpleNamespace):
    """Averages of pixels; it counts what it sees."""

    dim, weights_hash, precision = 3, "abc", "float32"

    def embed(self, batch):
        self.seen += int((batch.flatten(1).abs().sum(1) > 0).sum())
        return batch.mean((2, 3))


def transform():
    from labelbench.common import torchvision_cpu  # noqa: F401

    from torchvision import transforms  # isort: skip

    return transforms.Compose([transforms.Resize((4, 4)), transforms.Lambda(_rgb), transforms.ToTensor()])


def _rgb(image):
    return image.convert("RGB")


def run(folder, place, view, **made):
    """Embed a view of a folder as the job does: (rows by image hash, number of images that were embedded)."""
    config = image_folder.Config(folder=str(folder))
    dataset = image_folder.prepare(config)
    encoder = Encoder(transform=transform(), seen=0)
    data = Data(dataset, encoder, image_folder.images(config, dataset.files), "cpu", Workers(0))
    made = {"rows": "settings", "code": "abc", **made}
    drawn = None if view == "clean" else views.make_views(encoder.transform, views.Config())
    path = place / f"{view}.h5"
    path.unlink(missing_ok=True)  # as Snakemake does
    count = embedder.embed(path, data, view, drawn, made, before=reuse.Rows(path, view, made))
    reuse.keep(path, dataset)
    with h5py.File(path) as file:
        names = [file["strong"]] if view != "clean" else [file[split] for split in dataset.splits]
        splits = ["pool"] if view != "clean" else list(dataset.splits)
        rows = {
            dataset.files.sha256[at].tobytes(): row.tobytes()
            for split, values in zip(splits, names, strict=True)
            for at, row in zip(dataset.splits[split].source, values, strict=True)
        }
    return rows, count


@pytest.mark.parametrize("view", ["clean", "aug0"])
def test_rows_follow_their_images(tmp_path, view):
    folder = write_folders(tmp_path / "images", {"a": 30, "b": 30}, first=20)
    before, count = run(folder, tmp_path, view)
    assert count == len(before)
    assert run(folder, tmp_path, view) == (before, 0)
    write_image(folder / "a/a-new.png", 200)
    (folder / "a/a-05.png").rename(folder / "b/renamed.png")
    (folder / "b/b-07.png").unlink()
    after, count = run(folder, tmp_path, view)
    new = set(after) - set(before)
    assert count == len(new) <= 4
    assert all(after[name] == before[name] for name in set(after) & set(before))
    fresh, count = run(folder, tmp_path / "elsewhere", view) if (tmp_path / "elsewhere").mkdir() is None else None
    assert count == len(fresh) and fresh == after


def test_rows_of_another_making_are_not_taken(tmp_path):
    folder = write_folders(tmp_path / "images", {"a": 10, "b": 10}, first=20)
    assert run(folder, tmp_path, "clean")[1] == 20
    assert run(folder, tmp_path, "clean", code="abd")[1] == 20
    assert run(folder, tmp_path, "clean", code="abd", rows="other settings")[1] == 20


def test_images_of_arrays_keep_their_addresses():
    pool = types.SimpleNamespace(source=np.array([3, 5]))
    arrays = types.SimpleNamespace(splits={"pool": pool}, fingerprint="f", files=None)
    assert address_of_image(arrays)(1) == ("f", 1)
    files = types.SimpleNamespace(sha256=np.arange(7 * 32, dtype=np.uint8).reshape(7, 32))
    named = types.SimpleNamespace(splits={"pool": pool}, fingerprint="f", files=files)
    assert address_of_image(named)(1) == (files.sha256[5].tobytes().hex(), 0)
