"""Fine-tuning on images: live views, low-rank changes, and the linear probe that begins it."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from conftest import REPO
from labelbench.common import jobs, torchvision_cpu  # noqa: F401
from labelbench.common.errors import UserError
from labelbench.data import dataset_file, label_set  # noqa: F401
from labelbench.data.views import Config as ViewsConfig
from labelbench.data.views import make_views
from labelbench.embedding import embeddings, images  # noqa: F401
from labelbench.embedding.encoders import open_clip as open_clip_encoder
from labelbench.embedding.encoders import timm as timm_encoder
from labelbench.embedding.encoders._clip_tower import ImageTower
from labelbench.embedding.workers import Workers
from labelbench.training import finetuning, proxy, training  # noqa: F401
from labelbench.training.trainers import linear_probe_then_finetune, lora, passive
from small_trainings import LOG

torch.set_num_threads(1)
ALONE = json.dumps({"gpus": 1, "accumulation": 1, "checkpoint_activations": False})
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

    data = images.Data(dataset, encoder, image, "cpu", Workers(workers))
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


# Every kind of image tower that open_clip 3.3 knows, small: the keywords of its own vision transformer, the layers of
# its ResNet, or a model of timm.
SMALL = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "heads": 2, "mlp_ratio": 2.0, "output_dim": 8}
TOWERS = {
    "vit": SMALL,
    "layer scale": SMALL | {"ls_init_value": 1e-4},
    "average pool": SMALL | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
    "custom attention": SMALL | {"block_type": "custom", "qk_norm": True},
    "coca": SMALL | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "resnet": [1, 1, 1, 1],
    "siglip": {"model_name": "test_vit3", "embed_dim": 8, "pool": "", "image_size": 160},
    "convnext": {"model_name": "convnext_atto", "embed_dim": 8, "image_size": 32},
    "eva02": {"model_name": "eva02_tiny_patch14_224", "embed_dim": 8, "pool": "token", "image_size": 224},
    "mobileclip": {"model_name": "fastvit_t8", "embed_dim": 8, "pool": "avg", "image_size": 64},
    "siglip by attention": {"model_name": "test_vit3", "embed_dim": 8, "pool": "map", "image_size": 160},
    "convnext with two layers": {"model_name": "convnext_atto", "embed_dim": 8, "proj": "mlp", "image_size": 32},
    "vitamin": {"model_name": "vitamin_small_224", "embed_dim": 8, "image_size": 224},
    "swin": {"model_name": "swin_tiny_patch4_window7_224", "embed_dim": 8, "pool": "", "image_size": 224},
}


def a_tower(settings):
    """(image tower, its side in pixels)"""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    if isinstance(settings, list):
        return ModifiedResNet(settings, output_dim=8, heads=2, image_size=32, width=8), 32
    return (TimmModel if "model_name" in settings else VisionTransformer)(**settings), settings["image_size"]


@pytest.mark.parametrize("name", TOWERS)
def test_lora_adapts_all_matrices_of_every_image_tower(name):
    tower, side = a_tower(TOWERS[name])
    model = torch.nn.Sequential(ImageTower(tower, normalize=True), torch.nn.Linear(8, 3)).eval()
    shapes = {key: value.shape for key, value in model[0].named_parameters()}
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(x)
    lora.prepare(lora.Config(rank=2), model, None, None, np.random.default_rng(0))
    adapted = {
        re.sub(r"parametrizations\.(\w+)\.0\.b", r"\1", key)
        for key, value in model[0].named_parameters()
        if value.requires_grad and key.endswith(".b")
    }
    # What is left: biases and norms, embeddings, learned queries and scales, convolutions of several pixels, and
    # open_clip's last projection, which is no module of its own.
    left = {key: shape for key, shape in shapes.items() if key not in adapted and sum(n > 1 for n in shape) > 1}
    others = (
        r"class_embedding|positional_embedding|pos_embed|relative_position_bias_table|latent|\.query$|visual\.proj$"
    )
    assert all(re.search(others, key) or (len(shape) == 4 and shape[-1] > 1) for key, shape in left.items()), left
    torch.testing.assert_close(model(x), before)
    model(x).square().sum().backward()
    gradients = {key: value.grad for key, value in model[0].named_parameters() if key.endswith(".b")}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    assert (
        sum(bool(gradient.abs().max() > 0) for gradient in gradients.values()) >= len(gradients) // 2
    )  # a ResNet begins with others at 0


def batch_statistics(model):
    return {k: v.clone() for k, v in model.state_dict().items() if k.endswith(("running_mean", "running_var"))}


def trained_on_noise(trainer, model, views, **settings):
    config = trainer.Config(
        **{"epochs": 1, "min_steps_per_epoch": 4, "batch_size": 4, "early_stopping": "none"} | settings
    )
    labels = label_set.empty("f", 0).extended(np.arange(8), np.arange(8) % 3, 1)
    training.fit(model, trainer, config, views, labels, 40, 3, None, np.random.default_rng(0), LOG)


class NoiseViews:
    """Images of one scale as weak views and of ten times that as strong ones."""

    def batches(self, epoch, first_step, plan):
        rng = torch.Generator().manual_seed(first_step)
        for labelled, others in plan:
            pair = (None, None)
            if others is not None:
                pair = (torch.randn(len(others), 3, 32, 32, generator=rng) for _ in range(2))
            weak, strong = pair
            yield torch.randn(len(labelled), 3, 32, 32, generator=rng), weak, None if strong is None else 10 * strong


def test_lora_leaves_the_statistics_of_batches_alone():
    model = images.classifier(an_encoder("efficientnet_lite0"), None, 3, seed=0)
    lora.prepare(lora.Config(rank=2), model, None, None, np.random.default_rng(0))
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before, features = batch_statistics(model), model[0](x).detach()
    assert len(before) > 80
    trained_on_noise(lora, model, NoiseViews(), learning_rate=1e-12, weight_decay=0.0)
    after = batch_statistics(model)
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    torch.testing.assert_close(model[0](x), features, rtol=1e-5, atol=1e-6)


def test_a_trainer_of_everything_updates_the_statistics_of_batches():
    model = images.classifier(an_encoder("efficientnet_lite0"), None, 3, seed=0)
    before = batch_statistics(model)
    trained_on_noise(passive, model, NoiseViews(), learning_rate=1e-12)
    after = batch_statistics(model)
    assert all(not torch.equal(value, after[key]) for key, value in before.items())


def test_a_checkpoint_is_of_the_weights_before_they_are_prepared(monkeypatch):
    """Which are the same everywhere: a head that is fitted on a GPU differs on another one, by rounding."""
    encoder, identities, heads = an_encoder("glyphclip"), [], []
    rng = np.random.default_rng(0)
    pool = dataset_file.Split(labels=np.arange(12) % 3, source=np.arange(12))
    dataset = SimpleNamespace(splits={"pool": pool, "val": pool}, num_classes=3, fingerprint="f")
    pixels = rng.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    data = images.Data(dataset, encoder, lambda at: Image.fromarray(pixels[at]), "cpu", Workers(0))
    job = SimpleNamespace(
        params=SimpleNamespace(spec=json.dumps({"seed": 0, "views": {}}), code="code", end_to_end=ALONE),
        wildcards=SimpleNamespace(trial="0", round="1"),
        input=SimpleNamespace(get=lambda name: None),
    )
    labels = label_set.empty("f", 0).extended(np.arange(6), pool.labels[:6], 1)
    monkeypatch.setattr(training, "fit", lambda model, *_, identity, **__: identities.append(identity))
    prepare = linear_probe_then_finetune.prepare

    def on_another_machine(config, model, *rest):
        prepare(config, model, *rest)
        model[1].weight.data += 1e-6 * len(heads)
        heads.append(model[1].weight.detach().clone())

    monkeypatch.setattr(linear_probe_then_finetune, "prepare", on_another_machine)
    for penalty in (0.03, 0.03, 0.3):
        settings = {"name": "linear_probe_then_finetune", "probe_penalty": penalty}
        finetuning._train(job, data, labels, settings, LOG)
    assert not torch.equal(heads[0], heads[1])
    assert identities[0] == identities[1] != identities[2]


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


# Less memory.


def gradients(name, checkpointed, adapted):
    tower, side = a_tower(TOWERS[name])
    model = torch.nn.Sequential(ImageTower(tower, normalize=True), torch.nn.Linear(8, 3))
    if adapted:
        lora.prepare(lora.Config(rank=2), model, None, None, np.random.default_rng(0))
    finetuning.prepare(passive, None, model, None, None, None, checkpoint_activations=checkpointed)
    x = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    held = []  # elements that the gradient keeps
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: held.append(kept.numel()) or kept, lambda kept: kept):
        loss = torch.nn.functional.cross_entropy(model.train()(x), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    return {key: value.grad for key, value in model.named_parameters() if value.grad is not None}, sum(held)


@pytest.mark.parametrize("adapted", [False, True], ids=["all", "lora"])
@pytest.mark.parametrize("name", ["vit", "custom attention", "coca", "siglip", "convnext"])
def test_activations_that_are_computed_again_give_the_same_gradients(name, adapted):
    (expected, held), (found, less) = (gradients(name, checkpointed, adapted) for checkpointed in (False, True))
    assert found.keys() == expected.keys() and len(found) > 5
    assert all(torch.equal(gradient, expected[key]) for key, gradient in found.items())
    assert less < 0.9 * held


def test_what_would_change_batchnorm_is_refused():
    model = images.classifier(an_encoder("efficientnet_lite0"), None, 3, seed=0)
    with pytest.raises(UserError, match="checkpoint_activations.*BatchNorm.*lora"):
        finetuning.prepare(passive, None, model, None, None, None, checkpoint_activations=True)
    labels = label_set.empty("f", 0).extended(np.arange(8), np.arange(8) % 3, 1)
    config = passive.Config(early_stopping="none", epochs=1, batch_size=4)
    with pytest.raises(UserError, match="accumulation: 2.*BatchNorm.*lora"):
        training.fit(
            model, passive, config, NoiseViews(), labels, 40, 3, None, np.random.default_rng(0), LOG, parts=2
        )  # fmt: skip


def test_an_encoder_without_blocks_says_so():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    with pytest.raises(UserError, match="no blocks that could be computed again"):
        finetuning.prepare(passive, None, model, None, None, None, checkpoint_activations=True)
