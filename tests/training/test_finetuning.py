"""Fine-tuning on images: live views, low-rank changes, and the linear probe that begins it."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from conftest import REPO
from labelbench.common import jobs, torchvision_cpu  # noqa: F401
from labelbench.data import dataset_file  # noqa: F401
from labelbench.data.views import Config as ViewsConfig
from labelbench.data.views import make_views
from labelbench.embedding import embeddings, images  # noqa: F401
from labelbench.embedding.encoders import open_clip as open_clip_encoder
from labelbench.embedding.encoders import timm as timm_encoder
from labelbench.training import proxy  # noqa: F401
from labelbench.training.trainers import linear_probe_then_finetune, lora

torch.set_num_threads(1)
GLYPHCLIP = REPO / "resources/glyphclip/glyphclip"


# Views in worker processes.


def drawn(workers, plan, epoch=0, first_step=0):
    source = np.arange(50)[::-1]
    dataset = SimpleNamespace(splits={"pool": SimpleNamespace(source=source)}, fingerprint="f")
    encoder = open_clip_encoder.load(
        open_clip_encoder.Config("glyphclip", f"{GLYPHCLIP}.safetensors", f"{GLYPHCLIP}.json")
    )

    def image(at):
        return Image.fromarray(np.random.default_rng(at).integers(0, 256, (8, 8), dtype=np.uint8))

    data = images.Data(dataset, encoder, image, "cpu", workers)
    views = images.LiveViews(data, make_views(encoder.transform, ViewsConfig()), "0/0/1")
    batches = list(views.batches(epoch, first_step, plan))
    assert views.wait_seconds > 0
    return batches


def test_live_views_depend_on_neither_workers_nor_epochs():
    steps = np.random.default_rng(0).integers(0, 50, (6, 9))
    plan = [(step[:3], step[3:] if number else None) for number, step in enumerate(steps)]
    batches = drawn(0, plan)
    assert batches[0][1:] == (None, None)
    assert [tuple(view.shape) for view in batches[1]] == [(3, 3, 28, 28), (6, 3, 28, 28), (6, 3, 28, 28)]
    in_workers, resumed = drawn(2, plan), drawn(0, plan[4:], epoch=7, first_step=4)
    for mine, theirs in [*zip(batches, in_workers, strict=True), *zip(batches[4:], resumed, strict=True)]:
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    # The same image at another step, and in another role, is another view.
    again = drawn(0, [(np.array([5]), np.array([5])), (np.array([5]), None)])
    assert len({tuple(view.flatten().tolist()) for step in again for view in step if view is not None}) == 4


# Trainers that prepare the model.


def an_encoder(name):
    if name == "glyphclip":
        config = open_clip_encoder.Config(
            "glyphclip", f"{GLYPHCLIP}.safetensors", f"{GLYPHCLIP}.json", projection=False
        )
        return open_clip_encoder.load(config)
    return timm_encoder.load(timm_encoder.Config(image_size=32))


@pytest.mark.parametrize(("name", "adapted"), [("glyphclip", 4 * 4), ("efficientnet_lite0", 32)])
def test_lora_trains_low_rank_changes_of_frozen_matrices(name, adapted):
    encoder = an_encoder(name)
    side = encoder.transform(Image.new("RGB", (8, 8))).shape[-1]
    x = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    model = images.classifier(encoder, None, 3, seed=0)
    before = model(x).detach(), encoder.embed(x)
    frozen = {name: value.clone() for name, value in model[0].named_parameters()}
    config = lora.Config(rank=2, alpha=6.0)
    lora.prepare(config, model, None, None, np.random.default_rng(0))
    torch.testing.assert_close(model(x), before[0])  # B is zero
    matrices = [m for m in model.modules() if hasattr(m, "parametrizations")]
    assert len(matrices) == adapted
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 2 * adapted + 2  # A and B of each, and the head
    model(x).square().sum().backward()
    with torch.no_grad():
        for parameter in trained:
            parameter -= 0.1 * parameter.grad.sign()
    assert not torch.allclose(model(x), before[0], atol=1e-3)
    assert not torch.allclose(encoder.embed(x), before[1], atol=1e-3)  # selectors embed with the adapted encoder
    for module in matrices:
        (tensor, (adapter,)) = next((n, list(m)) for n, m in module.parametrizations.items())
        change = getattr(module, tensor) - module.parametrizations[tensor].original
        torch.testing.assert_close(change.flatten(1), 3 * adapter.b @ adapter.a, rtol=1e-3, atol=1e-5)
        assert torch.linalg.matrix_rank(change.flatten(1), atol=1e-4) <= 2
    for key, value in model[0].named_parameters():
        if not key.endswith((".a", ".b")):
            assert torch.equal(value, frozen[re.sub(r"parametrizations\.(\w+)\.original", r"\1", key)])


def test_the_linear_probe_is_the_penalised_logistic_regression():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=40)
    features = 5 * (rng.normal(size=(3, 6))[labels] + rng.normal(size=(40, 6)))
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(6, 4))  # nobody has seen the fourth class
    config = linear_probe_then_finetune.Config(probe_penalty=0.1)
    linear_probe_then_finetune.prepare(config, model, lambda: torch.from_numpy(features).float(), labels, None)
    length = np.sqrt(np.square(features).sum(1).mean())
    x = torch.from_numpy(np.c_[features, np.ones(40)] / length)
    weight = torch.cat([model[1].weight, model[1].bias[:, None]], 1).detach().double() * length
    weight.requires_grad_()
    loss = torch.nn.functional.cross_entropy(x @ weight.T, torch.from_numpy(labels), reduction="sum")
    loss = loss + 0.1 / 2 * weight.square().sum()
    # At the minimum, where the gradient vanishes.
    assert torch.autograd.grad(loss, weight)[0].abs().max() < 1e-3
    reference = LogisticRegression(C=10, fit_intercept=False, tol=1e-8, max_iter=10_000).fit(x.numpy(), labels)
    assert (x @ weight.T).argmax(1).tolist() == reference.predict(x.numpy()).tolist()
