"""glyphclip's training: the images it is shown, the loss, and that the same seed gives the same weights."""

import hashlib

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from conftest import REPO
from labelbench.common import torchvision_cpu  # noqa: F401  before open_clip
from labelbench.embedding.encoders import open_clip as open_clip_encoder
from labelbench.glyphclip import glyphs, pretrain, strokes  # noqa: F401  before open_clip

import open_clip  # isort: skip

torch.set_num_threads(1)
FOLDER = REPO / "resources" / "glyphclip"
MODEL = FOLDER / "glyphclip.json"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def printed():
    return glyphs.font_glyphs()


def nearest_mean_accuracy(train, train_labels, test, test_labels):
    means = torch.stack([train[train_labels == c].flatten(1).mean(0) for c in range(int(train_labels.max()) + 1)])
    return (torch.cdist(test.flatten(1), means).argmin(1) == test_labels).float().mean().item()


def test_a_curve_runs_through_its_control_points():
    control, weights, digit = strokes._skeleton_tensors()
    assert sorted(set(digit.tolist())) == list(range(10))
    assert control.abs().max() <= 0.5
    assert torch.allclose(weights.sum(2), torch.ones(weights.shape[:2]), atol=1e-5)
    curves = weights @ control
    flat = [(d, s) for d, skeletons in strokes.SKELETONS.items() for s in skeletons]
    for curve, (_, drawing) in zip(curves, flat, strict=True):
        for stroke in drawing:
            for end in (stroke.split(",")[0], stroke.split(",")[-1]):
                point = torch.tensor([float(v) for v in end.split()]) / 10 - 0.5
                assert (curve - point).norm(dim=1).min() < 1e-5


def test_the_spline_is_catmull_and_roms():
    """At whole parameters the control points; halfway (−a + 9b + 9c − d) / 16."""
    assert torch.allclose(strokes._catmull_rom(5, 2.0), F.one_hot(torch.tensor(2), 5).float())
    assert torch.allclose(strokes._catmull_rom(5, 1.5), torch.tensor([-1, 9, 9, -1, 0]) / 16)
    assert torch.allclose(strokes._catmull_rom(2, 0.5), torch.tensor([0.5, 0.5]))


def test_drawings_come_from_the_generator_alone():
    digits = torch.arange(10).repeat(3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = strokes.draw(digits, 32, generator(4))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(first, strokes.draw(digits, 32, generator(4)))
    assert not torch.equal(first, strokes.draw(digits, 32, generator(5)))
    assert first.shape == (30, 1, 32, 32)
    assert first.min() >= 0
    assert first.max() <= 1


def test_drawings_are_legible_and_all_on_the_page():
    digits = torch.arange(10).repeat(60)
    first, second = (F.avg_pool2d(strokes.draw(digits, 32, generator(s)), 4) for s in (0, 1))
    assert nearest_mean_accuracy(first, digits, second, digits) > 0.65
    ink = first.mean((1, 2, 3))
    assert ink.min() > 0.03
    assert ink.max() < 0.6


def test_fonts_draw_the_character_they_are_labelled_with(printed):
    images, labels = printed
    assert images.shape == (len(glyphs.FONTS) * len(glyphs.CHARACTERS), 1, glyphs.CANVAS, glyphs.CANVAS)
    assert (images.amax((1, 2, 3)) > 0.9).all()
    upright = torch.arange(len(labels)) < len(labels) // 2
    assert nearest_mean_accuracy(images[upright], labels[upright], images[~upright], labels[~upright]) > 0.8


def test_scanned_drawings_are_counted_in_blocks():
    images = (torch.rand(64, 1, 32, 32, generator=generator()) < 0.3).float()
    scanned = glyphs.scan(images, 8, generator(1))
    counted = F.avg_pool2d(images, 4)
    contrast = (scanned * counted).sum((1, 2, 3)) / counted.square().sum((1, 2, 3))
    close = (scanned - contrast[:, None, None, None] * counted).square().mean((1, 2, 3)).sqrt() < 0.07
    assert 0.5 < close.float().mean() <= 1
    assert scanned.min() >= 0
    assert scanned.max() <= 1


def test_a_batch_is_made_as_the_shares_say(printed):
    images, labels = glyphs.batch(*printed, 80, 28, generator(2))
    assert images.shape == (80, 1, 28, 28)
    assert images.dtype == torch.float32
    assert (labels < 10).sum() == 60
    assert labels.max() < len(glyphs.CHARACTERS)
    again, _ = glyphs.batch(*printed, 80, 28, generator(2))
    assert torch.equal(images, again)


def test_captions_fit_the_text_tower_and_tell_characters_apart():
    open_clip.add_model_config(MODEL)
    tokenize = open_clip.get_tokenizer("glyphclip")
    seen = {}
    for character in glyphs.CHARACTERS:
        for caption in glyphs.captions(character):
            assert seen.setdefault(caption, character) == character
            assert tokenize(caption)[0, -1] == 0  # nothing was cut off
    assert 'a photo of the digit "three".' in glyphs.captions("3")
    assert "the digit 3" in glyphs.captions("3")
    assert "the letter k" in glyphs.captions("K")


def test_loss_is_clips_where_every_image_has_its_own_caption():
    a, b = (F.normalize(torch.randn(6, 4, generator=generator(s)), dim=1) for s in (0, 1))
    ours = pretrain.contrastive_loss(a, b, 7.0, torch.arange(6))
    assert torch.allclose(ours, open_clip.loss.ClipLoss()(a, b, 7.0))


def test_loss_averages_over_the_images_of_a_caption():
    image, text = (F.normalize(torch.randn(n, 4, generator=generator(n)), dim=1) for n in (5, 2))
    of_text = [0, 1, 1, 0, 1]
    logits = [[3.0 * float(i @ t) for t in text] for i in image]

    def log_share(chosen, among):
        return chosen - torch.tensor(among).logsumexp(0)

    to_text = -sum(log_share(row[t], row) for row, t in zip(logits, of_text, strict=True)) / 5
    to_image = 0
    for t in (0, 1):
        column = [row[t] for row in logits]
        mine = [log_share(logits[i][t], column) for i in range(5) if of_text[i] == t]
        to_image -= sum(mine) / len(mine) / 2
    ours = pretrain.contrastive_loss(image, text, 3.0, torch.tensor(of_text))
    assert torch.allclose(ours, (to_text + to_image) / 2, atol=1e-5)


def test_the_same_seed_trains_the_same_encoder(tmp_path):
    config = pretrain.Config(steps=3, batch_size=32, warmup_steps=1)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    runs = [pretrain.pretrain(MODEL, config, lambda message: None) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    paths = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for run, path in zip(runs, paths, strict=True):
        pretrain.save(run, path)
    assert len({hashlib.sha256(p.read_bytes()).digest() for p in paths}) == 1
    other = pretrain.pretrain(
        MODEL, pretrain.Config(steps=3, batch_size=32, warmup_steps=1, seed=1), lambda message: None
    )
    assert not torch.equal(other["visual.proj"], runs[0]["visual.proj"])
    encoder = open_clip_encoder.load(open_clip_encoder.Config("glyphclip", str(paths[0]), str(MODEL)))
    assert torch.equal(encoder.backbone.visual.proj, runs[0]["visual.proj"].half().float())


def test_training_moves_every_weight():
    config = pretrain.Config(steps=2, batch_size=32, warmup_steps=1)
    trained = pretrain.pretrain(MODEL, config, lambda message: None)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        untrained = open_clip.create_model("glyphclip").state_dict()
    assert trained.keys() == untrained.keys()
    assert not [name for name in trained if torch.equal(trained[name], untrained[name])]


def test_the_shipped_checkpoint_is_small_and_knows_only_its_captions():
    path = FOLDER / "glyphclip.safetensors"
    assert path.stat().st_size <= 8e6
    open_clip.add_model_config(MODEL)
    tokenize = open_clip.get_tokenizer("glyphclip")
    used = torch.cat([tokenize(glyphs.captions(c)).flatten() for c in glyphs.CHARACTERS]).unique()
    rows = load_file(path)["token_embedding.weight"].abs().sum(1)
    assert (rows[used] > 0).all()
    assert rows.count_nonzero() == len(used)
