"""The encoder trained end to end on answers: learns, is saved and loaded, and refuses what is another encoder's."""

import logging

import numpy as np
import pytest

from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.embedding import images as pipeline
from labelbench.embedding.workers import Workers
from labelbench.labelling import finetuned

ENCODER = {
    "name": "open_clip",
    "model": "glyphclip",
    "model_config": "resources/glyphclip/glyphclip.json",
    "pretrained": "resources/glyphclip/glyphclip.safetensors",
    "projection": False,
}
BRIEF = {"epochs": 2, "batch_size": 16, "min_steps_per_epoch": 8, "learning_rate": 3e-4}


@pytest.fixture(scope="module")
def digits():
    plugin, config = registry.configured("datasets", {"name": "digits"})
    pool = plugin.prepare(config).splits["pool"]
    read = plugin.images(config)

    def data():
        return pipeline.Data(None, pipeline.load_encoder({"encoder": ENCODER}, "cpu"), read, "cpu", Workers(0))

    return data, pool.source[:80], pool.labels[:80]


def spec(trainer):
    return {"seed": 1, "classes": list("0123456789"), "encoder": ENCODER, "trainer": BRIEF | trainer}


@pytest.mark.parametrize("trainer", [{"name": "passive"}, {"name": "lora", "rank": 2, "learning_rate": 5e-3}])
def test_it_learns_and_comes_back_from_its_file(digits, trainer, tmp_path):
    data, source, labels = digits
    of, known = data(), np.arange(50)
    model = finetuned.train(
        of, source, spec(trainer), source[known], labels[known], 1, "images", logging.getLogger("test")
    )
    said, confidence = finetuned.predict(model, of, source)
    assert np.mean(said == labels) > 0.5
    finetuned.save(tmp_path / "model.safetensors", model)
    again = finetuned.load(tmp_path / "model.safetensors", data().encoder, 10)
    classes, scores = finetuned.predict(again, of, source)
    np.testing.assert_array_equal(classes, said)
    np.testing.assert_allclose(scores, confidence, atol=1e-5)


def test_a_file_of_something_else_is_refused(digits, tmp_path):
    data, _, _ = digits
    (tmp_path / "no.safetensors").write_bytes(b"no model")
    with pytest.raises(UserError, match="Deliver again"):
        finetuned.load(tmp_path / "no.safetensors", data().encoder, 10)
