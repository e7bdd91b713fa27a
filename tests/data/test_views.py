"""Views: what a draw depends on, what it does to the pixels, and what it leaves alone."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conftest import REPO
from labelbench.common import torchvision_cpu  # noqa: F401  before torchvision
from labelbench.data import views  # noqa: F401  before torchvision

from torchvision import transforms as v1  # isort: skip
from torchvision.transforms import v2  # isort: skip

torch.set_num_threads(1)
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def encoder_transform(size=28):
    """Shaped like open_clip's evaluation transform."""
    to_rgb = v1.Lambda(lambda image: image.convert("RGB"))
    bicubic = v1.InterpolationMode.BICUBIC
    steps = [v1.Resize(size, bicubic), v1.CenterCrop(size), to_rgb, v1.ToTensor(), v1.Normalize(MEAN, STD)]
    return v1.Compose(steps)


def finished(drawer, view):
    """A view as the encoder gets it."""
    assert view.dtype == torch.uint8 and view.shape[2] == 3
    return drawer.finish(view[None])[0]


def pixels(drawer, view):
    """A view's grey levels in [0, 1]."""
    return finished(drawer, view) * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]


def picture(seed=0, size=(8, 8), mode="L"):
    shape = (*size[::-1], len(mode)) if len(mode) > 1 else size[::-1]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode=None)


def test_importing_is_light():
    code = "import sys; from labelbench.data import views; assert not {'torch', 'PIL', 'numpy'} & sys.modules.keys()"
    folder = REPO / "workflow" / "scripts"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


def test_image_seed_has_an_address():
    assert views.image_seed("f", 0, 0) == 4619001548740241890
    addresses = [(f, a, i) for f in ("f", "g") for a in (0, 1, "finetune/1") for i in range(200)]
    seeds = {views.image_seed(*address) for address in addresses}
    assert len(seeds) == len(addresses)
    assert min(seeds) >= 0
    assert 2**62 < max(seeds) < 2**63
    assert views.image_seed("f", 1, 2) == views.image_seed("f", "1", 2)


class Drawn(torch.utils.data.Dataset):
    def __init__(self, order):
        self.order, self.views = order, views.make_views(encoder_transform(), views.Config())

    def __len__(self):
        return len(self.order)

    def __getitem__(self, k):
        i = self.order[k]
        weak, strong = self.views.weak_and_strong(picture(i), views.image_seed("data", 3, i))
        return i, weak, strong


def test_a_view_depends_on_neither_order_batch_nor_workers():
    def drawn(order, batch_size, workers):
        loader = torch.utils.data.DataLoader(
            Drawn(order), batch_size, num_workers=workers, multiprocessing_context="fork" if workers else None
        )
        return {int(i): (w, s) for batch in loader for i, w, s in zip(*batch, strict=True)}

    torch.manual_seed(1)
    random.seed(1)
    first = drawn(list(range(12)), 4, 0)
    torch.manual_seed(2)
    random.seed(2)
    second = drawn(list(range(12))[::-1], 5, 2)
    for i in range(12):
        assert torch.equal(first[i][0], second[i][0])
        assert torch.equal(first[i][1], second[i][1])


def test_global_generators_are_left_alone():
    drawer = views.make_views(encoder_transform(), views.Config())
    torch.manual_seed(0)
    state, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    drawer.weak_and_strong(picture(), 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert np.array_equal(np.random.get_state()[1], numpy)  # noqa: NPY002


def test_the_weak_view_is_the_pairs_first_and_seeds_matter():
    drawer = views.make_views(encoder_transform(), views.Config())
    weak, strong = drawer.weak_and_strong(picture(), 5)
    assert torch.equal(weak, drawer.weak(picture(), 5))
    other_weak, other_strong = drawer.weak_and_strong(picture(), 6)
    assert not torch.equal(weak, other_weak)
    assert not torch.equal(strong, other_strong)
    assert not torch.equal(weak, strong)


def test_the_clean_view_is_the_encoders_transform():
    transform = encoder_transform()
    drawer = views.make_views(transform, views.Config())
    assert torch.equal(finished(drawer, drawer.clean(picture())), transform(picture()))


@pytest.mark.parametrize("size", [28, 40])
@pytest.mark.parametrize(("mode", "shape"), [("L", (8, 8)), ("RGB", (50, 30)), ("RGBA", (9, 70))])
def test_every_picture_comes_out_as_the_encoder_wants_it(size, mode, shape):
    drawer = views.make_views(encoder_transform(size), views.Config(flip=True))
    for view in drawer.weak_and_strong(picture(size=shape, mode=mode), 1):
        assert view.shape == (size, size, 3)
        assert finished(drawer, view).shape == (3, size, size)
        assert finished(drawer, view).dtype == torch.float32


def test_the_last_stages_are_the_encoders_own():
    """A picture of one colour stays what it is under every crop, and is normalised as the encoder does it."""
    for transform in (encoder_transform(), another_transform()):
        drawer = views.make_views(transform, views.Config())
        plain = Image.new("RGB", (8, 8), (200, 30, 90))
        assert torch.equal(finished(drawer, drawer.weak(plain, 3)), transform(plain))


def another_transform(*more):
    """Shaped like that of the plug-in `timm`, which multiplies by 1/255 and does not divide."""
    to_float = v2.ToDtype(torch.float32, scale=True)
    return v2.Compose([v2.Resize(28), v2.RGB(), v2.PILToTensor(), to_float, v2.Normalize(MEAN, STD), *more])


@pytest.mark.parametrize("transform", [encoder_transform(), another_transform()], ids=["v1", "v2"])
def test_what_travels_becomes_what_the_transform_makes_to_the_bit(transform):
    stages = views.in_stages(transform)
    images = [picture(seed, (40, 30), mode) for seed, mode in enumerate(["L", "RGB", "RGBA", "RGB"])]
    travelling = torch.stack([stages.pixels(stages.resized(image)) for image in images])
    assert travelling.dtype == torch.uint8
    batch = stages.finish(travelling)
    assert batch.is_contiguous() and torch.equal(batch, torch.stack([transform(image) for image in images]))


def test_floats_travel_where_a_last_stage_is_unknown():
    for transform in (another_transform(v2.Lambda(torch.sqrt)), another_transform(v2.RandomErasing(p=0.0))):
        stages = views.in_stages(transform)
        view = stages.pixels(stages.resized(picture(mode="RGB", size=(40, 40))))
        assert view.dtype == torch.float32 and view.shape == (3, 28, 28)
        found, expected = stages.finish(view[None])[0], transform(picture(mode="RGB", size=(40, 40)))
        assert torch.equal(found.nan_to_num(), expected.nan_to_num())


def test_a_transform_without_a_tensor_is_refused():
    with pytest.raises(ValueError, match="makes a tensor"):
        views.make_views(v1.Compose([v1.Resize(8)]), views.Config())


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.05, 1), st.integers(0, 10**9))
def test_a_crop_lies_inside_and_keeps_its_share(width, height, crop_scale, seed):
    left, top, right, bottom = views._box((width, height), crop_scale, random.Random(seed))
    tolerance = 1e-9 * max(width, height)
    assert -tolerance <= left < right <= width + tolerance
    assert -tolerance <= top < bottom <= height + tolerance
    if width == height:  # elsewhere more may be cut off
        assert (right - left) * (bottom - top) >= crop_scale * 0.75 * width * height * (1 - 1e-9)


def test_crops_vary_by_parts_of_a_pixel():
    lefts = {round(views._box((8, 8), 0.9, random.Random(s))[0], 6) for s in range(100)}
    assert len(lefts) > 40


@pytest.mark.parametrize(("flip", "low", "high"), [(False, 0, 0), (True, 70, 130)])
def test_only_where_allowed_half_of_the_views_are_mirrored(flip, low, high):
    drawer = views.make_views(encoder_transform(), views.Config(flip=flip))
    half = Image.fromarray(np.tile(np.array([255] * 4 + [0] * 4, dtype=np.uint8), (8, 1)))
    drawn = [pixels(drawer, drawer.weak(half, seed)) for seed in range(200)]
    mirrored = sum(bool(p[..., 14:].mean() > p[..., :14].mean()) for p in drawn)
    assert low <= mirrored <= high


def test_cut_out_blanks_a_square_of_up_to_half_the_width():
    grey = torch.tensor(views.GREY)[:, None, None] / 255
    drawer = views.make_views(encoder_transform(32), views.Config(strong_ops=0))
    areas = []
    for seed in range(300):
        strong = pixels(drawer, drawer.weak_and_strong(Image.new("L", (8, 8)), seed)[1])
        blank = ((strong - grey).abs() < 1e-4).all(0)
        assert (strong[:, ~blank].abs() < 1e-4).all()
        rows, columns = blank.any(1), blank.any(0)
        assert torch.equal(blank, rows[:, None] & columns[None])
        assert max(rows.sum(), columns.sum()) <= 17  # half of 32, and rounding at both ends
        areas.append(blank.float().mean().item())
    assert max(areas) > 0.15
    # side s ~ U(0, ½) has E[s²] = 1/12, of which the part outside is lost: E[(s − s²/4)²] ≈ 0.067
    assert abs(np.mean(areas) - 0.067) < 0.012


def test_without_operations_and_cut_out_strong_is_another_weak_view():
    drawer = views.make_views(encoder_transform(), views.Config(strong_ops=0, cutout=0.0))
    plain = Image.new("L", (8, 8), 77)
    weak, strong = drawer.weak_and_strong(plain, 2)
    assert torch.equal(weak, strong)
    weak, strong = drawer.weak_and_strong(picture(), 2)
    assert not torch.equal(weak, strong)


@pytest.mark.parametrize("operation", views._operations())
@pytest.mark.parametrize("magnitude", [0.0, 0.37, 1 - 1e-12])
def test_every_operation_keeps_size_and_mode(operation, magnitude):
    image = picture(size=(28, 20), mode="RGB")
    before = image.tobytes()
    result = operation(image, magnitude)
    assert (result.size, result.mode) == (image.size, "RGB")
    assert image.tobytes() == before


def test_operations_reach_both_ends_of_their_ranges():
    image = picture(size=(20, 20), mode="RGB")
    level = np.asarray(image).astype(int)
    identity, _, _, posterize, solarize, rotate, brightness, color, contrast, sharpness, *affine = views._operations()
    assert np.array_equal(identity(image, 0.9), level)
    assert np.array_equal(posterize(image, 0.0), level & 0xF0)
    assert np.array_equal(posterize(image, 0.99), level)
    assert np.array_equal(solarize(image, 0.0), 255 - level)
    assert np.array_equal(solarize(image, 0.9999), level)
    assert np.array_equal(rotate(image, 0.5), level)
    assert np.array_equal(rotate(image, 0.0), image.rotate(-30))
    assert np.allclose(brightness(image, 0.5), level / 2, atol=1)
    for enhance in (color, contrast, sharpness):
        assert 0 < np.abs(np.asarray(enhance(image, 0.99)) - level).mean() < 12
        assert np.abs(np.asarray(enhance(image, 0.0)) - level).mean() > 20
    for shear_or_translate in affine:
        assert np.array_equal(shear_or_translate(image, 0.5), level)
    assert np.array_equal(np.asarray(affine[2](image, 0.0))[:, 6:], level[:, :-6])
    assert np.array_equal(np.asarray(affine[3](image, 0.0))[6:], level[:-6])


@pytest.mark.parametrize(
    ("setting", "value"),
    [("crop_scale", 0.0), ("crop_scale", 1.5), ("cutout", -0.1), ("cutout", 2.0), ("strong_ops", -1)],
)
def test_senseless_settings_are_refused(setting, value):
    with pytest.raises(ValueError, match=setting):
        views.Config(**{setting: value})
