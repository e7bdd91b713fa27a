"""Encoders, embedding and fine-tuning on the pretended GPU: the CPU's numbers, up to the order of sums."""

import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from gpu import DEVICE
from PIL import Image
from safetensors.torch import save_file

import test_encoders
from fakegpu import GPU
from labelbench.common import registry
from labelbench.data import label_set, views
from labelbench.data.dataset_file import Dataset, Split
from labelbench.embedding import embedder, images
from labelbench.embedding.encoders import open_clip as open_clip_encoder
from labelbench.embedding.encoders import timm as timm_encoder
from labelbench.embedding.workers import Workers
from labelbench.training import finetuning
from labelbench.training.steps import Model

LOG = logging.getLogger("test")
KINDS = ["glyphclip", "lite0", "stages", "vit"]


def encoder(kind, device, folder, precision="float32"):
    """A CLIP and an EfficientNet with packaged weights, the latter also by stages, and a CLIP of one layer."""
    if kind == "glyphclip":
        return open_clip_encoder.load(test_encoders.glyphclip(precision=precision), device)
    if kind == "vit":
        return open_clip_encoder.load(replace(_tiny(folder), precision=precision), device)
    stages = (2, 4) if kind == "stages" else ()
    return timm_encoder.load(timm_encoder.Config(image_size=32, stages=stages, precision=precision), device)


def _tiny(folder):
    torch.manual_seed(0)
    return test_encoders.home_made(folder, "tiny", test_encoders.TOWER)


def image(at):
    return Image.fromarray(np.random.default_rng(int(at)).integers(0, 256, (20, 20, 3), dtype=np.uint8))


def data(of, device, workers=0):
    """The `images.Data` of 70 images of three classes, of which 50 are the pool."""
    labels = np.random.default_rng(0).integers(3, size=70)
    parts = {"pool": slice(0, 50), "val": slice(50, 60), "test": slice(60, 70)}
    splits = {name: Split(labels[part], np.arange(70)[part]) for name, part in parts.items()}
    return images.Data(
        Dataset(splits, ("one", "two", "three"), ("a {}",), "f"), of, image, device, Workers(workers, device)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu")


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_the_cpus(kind, folder):
    mine, theirs = (encoder(kind, device, folder) for device in (DEVICE, "cpu"))
    assert mine.weights_hash == theirs.weights_hash
    side = mine.transform(image(0)).shape[-1]
    batch = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    assert mine.embed(batch).device == torch.device(DEVICE)
    torch.testing.assert_close(mine.embed(batch).cpu(), theirs.embed(batch), rtol=1e-3, atol=2e-3)
    if mine.zero_shot_head is not None:
        heads = (e.zero_shot_head(["one", "two"], ["a {}"]) for e in (mine, theirs))
        torch.testing.assert_close(*heads, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "view"), [("lite0", "clean"), ("lite0", "aug0"), ("glyphclip", "clean")])
def test_embeddings_are_the_cpus_whoever_decodes(kind, view, folder):
    found = []
    for device, workers in ((DEVICE, 0), (DEVICE, 1), ("cpu", 0)):
        given = data(encoder(kind, device, folder), device, workers)
        drawn = None if view == "clean" else views.make_views(given.encoder.transform, views.Config())
        path = folder / f"{kind}-{view}-{device}-{workers}.h5".replace(":", "")
        embedder.embed(path, given, view, drawn, {})
        with h5py.File(path) as file:
            found.append({name: file[name][()] for name in file})
    for name, rows in found[0].items():
        assert np.array_equal(rows, found[1][name])
        np.testing.assert_allclose(rows.astype(np.float32), found[2][name], rtol=5e-3, atol=5e-3)


def finetuned(kind, trainer, device, folder, workers=0, parts=1, checkpointed=False, **settings):
    """(history, logits of the validation split, how often the host waited) of a fine-tune of two epochs."""
    of = encoder(kind, device, folder)
    head = torch.randn(3, of.backbone_dim, generator=torch.Generator().manual_seed(1))
    save_file({"weight": head}, folder / "head.safetensors")
    how = {"gpus": 1, "accumulation": parts, "checkpoint_activations": checkpointed}
    job = SimpleNamespace(
        params=SimpleNamespace(spec=json.dumps({"seed": 0, "views": {}}), code="code", end_to_end=json.dumps(how)),
        wildcards=SimpleNamespace(trial="0", round="1"),
        input={"head": folder / "head.safetensors"},
    )
    job.input = SimpleNamespace(get=job.input.get, **job.input)
    given = data(of, device, workers)
    labels = label_set.empty("f", 0).extended(np.arange(20), given.dataset.splits["pool"].labels[:20], 1)
    settings = {"epochs": 2, "min_steps_per_epoch": 2, "batch_size": 8, "precision": "float32"} | settings
    settings |= {"name": trainer, "learning_rate": 1e-3}
    with GPU.counted() as found:
        trained = finetuning._train(job, given, labels, settings, LOG)
    _, predictions = finetuning.evaluate(trained)
    return trained.history, torch.from_numpy(predictions["val"].log_likelihood), found


def same(one, other, tolerance=2e-3):
    for mine, theirs in zip(one[0], other[0], strict=True):
        np.testing.assert_allclose(list(mine.values()), list(theirs.values()), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(one[1], other[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("trainer", registry.names("trainers"))
def test_every_trainer_fine_tunes_as_on_the_cpu(trainer, folder):
    same(*(finetuned("vit", trainer, device, folder) for device in (DEVICE, "cpu")))


@pytest.mark.parametrize(("kind", "trainer"), [("lite0", "flexmatch"), ("lite0", "lora"), ("glyphclip", "flexmatch")])
def test_encoders_fine_tune_as_on_the_cpu(kind, trainer, folder):
    same(*(finetuned(kind, trainer, device, folder) for device in (DEVICE, "cpu")))


SMALLER = {"parts": 3, "checkpointed": True}


def test_a_fine_tune_that_needs_less_memory_is_the_same(folder):
    same(*(finetuned("vit", "flexmatch", DEVICE, folder, **how) for how in (SMALLER, {})))


def peak_of_a_step(folder, parts=1, checkpointed=False):
    """Bytes that a step of 64 images takes at most, besides weights and images."""
    config = test_encoders.home_made(folder, "deep", {**test_encoders.TOWER, "layers": 8})
    model = images.classifier(open_clip_encoder.load(config, DEVICE), None, 3, 0).to(DEVICE).train()
    if checkpointed:
        finetuning.prepare(None, None, model, None, None, None, checkpoint_activations=True)
    x, labels = torch.randn(64, 3, 16, 16).to(DEVICE), (torch.arange(64) % 3).to(DEVICE)
    forward = Model(model, device=DEVICE, parts=parts)
    with GPU.memory() as ledger:
        forward.backward(torch.nn.functional.cross_entropy(forward(x), labels))
    return ledger.peak


def test_parts_and_checkpoints_take_less_memory(folder):
    whole, in_parts, checkpointed = (peak_of_a_step(folder, *how) for how in ((1,), (8,), (1, True)))
    assert in_parts < 0.4 * whole
    assert checkpointed < 0.5 * whole


@pytest.mark.parametrize("how", [{"workers": 1}, SMALLER], ids=["whole", "in parts"])
def test_no_step_of_a_fine_tune_waits(how, folder):
    counts = []
    for steps in (2, 6):
        *_, found = finetuned("vit", "flexmatch", DEVICE, folder, epochs=1, min_steps_per_epoch=steps, **how)
        counts.append(found.syncs)
    assert {line: n for line, n in counts[1].items() if n > counts[0][line]} == {}


def test_in_bfloat16_a_fine_tune_is_close(folder):
    same(*(finetuned("vit", "fixmatch", d, folder, precision="auto") for d in (DEVICE, "cpu")), tolerance=0.2)
