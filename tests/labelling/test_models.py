"""Embeddings that grow with a folder, models trained on answers, and batches without near-copies."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.embedding.images import Data
from labelbench.embedding.workers import Workers
from labelbench.labelling import models
from labelbench.labelling.identity import Image, fingerprint
from labelbench.selection.pool import Pool

ATTRIBUTES = {"spec": "s", "code": "c"}
SETTINGS = {
    "seed": 0,
    "selector": {"name": "linear"},
    "trainer": {"name": "passive", "learning_rate": 0.01, "epochs": 10, "min_steps_per_epoch": 10},
}


class Counting:
    """An encoder whose embedding is the image's number, and which counts what it embeds."""

    def __init__(self):
        self.embedded = []
        self.encoder = SimpleNamespace(transform=lambda number: torch.tensor([float(number)]), embed=self.embed)

    def embed(self, batch):
        self.embedded += batch[:, 0].int().tolist()
        return torch.cat([batch, batch**2], dim=1)

    def load(self):
        return Data(None, self.encoder, lambda position: position, "cpu", Workers(0))


def images(count, **problems):
    return [Image(f"{n:064x}", f"{n}.png", (), True, problems.get(f"n{n}", "")) for n in range(count)]


def extend(path, found, encoder, attributes=ATTRIBUTES):
    return models.extend(path, found, encoder.load, "clean", None, attributes)


def test_additions_embed_what_is_new(tmp_path):
    path, encoder = tmp_path / "clean.h5", Counting()
    assert extend(path, images(5), encoder) == 5
    encoder.embedded.clear()
    assert extend(path, images(7), encoder) == 2
    assert set(encoder.embedded) - {0} == {5, 6}  # zeros fill the block of a forward pass
    space = models.space(path, [], fingerprint(images(7)))
    assert space.clean.tolist() == [[n, n * n] for n in range(7)]
    assert space.mean == pytest.approx(space.clean.astype(float).mean(0))
    assert space.std == pytest.approx(space.clean.astype(float).std(0), rel=1e-3)


def test_a_file_made_in_pieces_is_that_made_at_once(tmp_path):
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    extend(one, images(70), Counting())
    for count in (3, 68, 70):
        extend(two, images(count), Counting())
    assert one.read_bytes() == two.read_bytes()


def test_another_encoder_embeds_everything_anew(tmp_path):
    path = tmp_path / "clean.h5"
    extend(path, images(5), Counting())
    assert extend(path, images(6), Counting(), ATTRIBUTES | {"spec": "other"}) == 6


def test_unreadable_images_have_no_row_until_they_can_be_read(tmp_path):
    path, encoder = tmp_path / "clean.h5", Counting()
    assert extend(path, images(5, n2="broken"), encoder) == 4
    space = models.space(path, [], fingerprint(images(5)))
    assert space.embedded.tolist() == [True, True, False, True, True]
    assert space.mean[0] == pytest.approx((0 + 1 + 3 + 4) / 4)
    assert extend(path, images(5), encoder) == 1
    with pytest.raises(UserError, match="None of the images"):
        extend(tmp_path / "none.h5", images(1, n0="broken"), encoder)


def blobs(n=300, seed=0):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, n)
    rows = (rng.normal(0, 1, (n, 6)) + 5 * np.eye(3, 6)[classes]).astype(np.float16)
    embedded = np.ones(n, bool)
    return models.Space(
        rows, rows.astype(np.float32).mean(0), rows.astype(np.float32).std(0), embedded, [], []
    ), classes


def test_a_model_learns_from_answers_without_a_validation_split():
    space, classes = blobs()
    model = models.train(space, SETTINGS, np.arange(60), classes[:60], 3, 1)
    said, confidence = models.predict(model, space.clean)
    assert (said == classes)[60:].mean() > 0.9
    assert confidence.min() >= 1 / 3
    again = models.predict(models.train(space, SETTINGS, np.arange(60), classes[:60], 3, 1), space.clean)
    assert np.array_equal(again[1], confidence)


def test_trainers_that_use_unlabelled_images_never_see_rows_without_one():
    space, classes = blobs()
    rows = space.clean.copy()
    rows[200:] = np.nan  # whatever touches them breaks the training
    embedded = np.arange(300) < 200
    holed = models.Space(rows, space.mean, space.std, embedded, [rows, rows], [rows, rows])
    settings = SETTINGS | {"trainer": {"name": "flexmatch", "epochs": 3, "min_steps_per_epoch": 5}}
    model = models.train(holed, settings, np.arange(60), classes[:60], 3, 1)
    assert np.isfinite(models.predict(model, space.clean[:200])[1]).all()


@pytest.mark.parametrize("name", ["random", "kmeans", "margin", "badge"])
def test_a_batch_holds_no_near_copies(name):
    space, classes = blobs()
    rows = np.repeat(space.clean[:100], 3, axis=0)  # each image three times
    space = space._replace(clean=rows)
    model = models.train(space, SETTINGS, np.arange(30), np.repeat(classes[:100], 3)[:30], 3, 1)
    strategy, config = registry.configured("strategies", {"name": name})
    pool = models.pool(space, model, np.arange(30), np.repeat(classes[:100], 3)[:30], np.arange(30, 300), 3)
    picks, _ = models.choose(pool, strategy, config, 40, np.random.default_rng(0), near=0.9999)
    assert len(picks) == len(set(picks)) == 40
    assert len({n // 3 for n in picks}) == 40


def test_a_pool_of_copies_gives_what_there_is():
    pool = Pool.from_arrays(np.ones((10, 2), np.float32), np.full((10, 2), 0.5), [], [])
    strategy, config = registry.configured("strategies", {"name": "random"})
    picks, passed = models.choose(pool, strategy, config, 5, np.random.default_rng(0), near=0.5)
    assert len(picks) + passed <= 10
    assert len(picks) >= 1


def test_large_photos_are_decoded_no_larger_than_they_are_used(tmp_path):
    for name, size in (("large.jpg", (2200, 2100)), ("large.png", (2200, 2100)), ("small.jpg", (1500, 1200))):
        Picture.new("RGB", size, (200, 30, 90)).save(tmp_path / name)
    names = ["large.jpg", "large.png", "small.jpg"]
    read = models.reader(tmp_path, [Image(f"{n:064x}", name, (), True, "") for n, name in enumerate(names)])
    assert [read(n).size for n in range(3)] == [(1100, 1050), (1100, 1050), (1500, 1200)]
