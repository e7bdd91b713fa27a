"""Clean, weak and strong views of an image.

The weak view has a random crop, and a random flip where left and right do not matter, in the place of the resizing
of the encoder's evaluation transform. The strong view is another such crop, distorted as in the LabelBench paper's
code (after FixMatch: Sohn et al. 2020, Appendix D): `strong_ops` operations of RandAugment (Cubuk et al. 2020) in
turn, each drawn uniformly with a uniform magnitude, then CutOut (DeVries & Taylor 2017) of a grey square whose side is
uniform in [0, `cutout` · width]. Both work on pixels at the encoder's resolution, just before they become a tensor.

Every draw comes from the seed of the one image, so a view depends on neither batch, order nor number of processes.
Pillow does the work: torchvision's own transforms cost three times as much on small images, draw from torch's global
generator, know only fixed magnitudes, and crop at whole pixels, which leaves an 8 x 8 image next to no choice.
"""

import functools
import hashlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

GREY = (125, 123, 114)  # the mean colour of ImageNet


@dataclass(frozen=True)
class Config:
    """Augmentation of one dataset.

    `crop_scale`: smallest share of the image's area that a crop is meant to keep. `flip`: whether a mirrored image
    means the same (not so for digits). `strong_ops`: operations of the strong view. `cutout`: largest side of the
    blanked square, as a share of the width.
    """

    crop_scale: float = 0.8
    flip: bool = False
    strong_ops: int = 3
    cutout: float = 0.5

    def __post_init__(self):
        if not 0 < self.crop_scale <= 1:
            raise ValueError(f"crop_scale must lie in (0, 1], not {self.crop_scale}")
        if not 0 <= self.cutout <= 1:
            raise ValueError(f"cutout must lie in [0, 1], not {self.cutout}")
        if self.strong_ops < 0:
            raise ValueError(f"strong_ops must not be negative, not {self.strong_ops}")


class Stages(NamedTuple):
    """An encoder's evaluation transform in two: `finish(pixels(image)[None])[0]` is `transform(image)`, to the bit.

    resized: PIL image → PIL image at the encoder's resolution; pixels: such an image → what travels, (H, W, 3) uint8, a
    quarter of the floats; finish: a batch of these on any device → (n, 3, H, W) float32 as the encoder wants them, on
    a GPU with the channels last, for its convolutions are faster so. Where the transform's last stages are none that
    are known, floats (3, H, W) travel.
    """

    resized: Callable
    pixels: Callable
    finish: Callable


@dataclass(frozen=True)
class Views:
    """The views of a PIL image of any mode, as they travel (`Stages.pixels`); `finish` gives what the encoder wants.

    `clean(image)`, `weak(image, seed)`, and `weak_and_strong(image, seed)`, whose first element is `weak(image, seed)`.
    """

    clean: Callable
    weak: Callable
    weak_and_strong: Callable
    finish: Callable


def image_seed(fingerprint, augmentation, index):
    """The seed, in [0, 2⁶³), of one image's views.

    fingerprint: of the dataset; augmentation: number or text that names the set of views; index: position of the image.
    """
    address = f"{fingerprint}/{augmentation}/{index}".encode()
    return int.from_bytes(hashlib.blake2b(address, digest_size=8).digest(), "big") >> 1


def make_views(transform, config):
    """The `Views` of an encoder whose evaluation transform is `transform`, a torchvision `Compose`."""
    from labelbench.common import torchvision_cpu  # noqa: F401  before torchvision

    from PIL import Image  # isort: skip
    from torchvision.transforms import InterpolationMode

    if _first_tensor_stage(transform) is None:
        raise ValueError(f"no stage of the encoder's transform makes a tensor: {transform}")
    stages = in_stages(transform)
    interpolation = next(stage.interpolation for stage in transform.transforms if hasattr(stage, "interpolation"))
    resample = Image.Resampling[InterpolationMode(interpolation).name]
    height, width = transform(Image.new("RGB", (8, 8))).shape[1:]
    operations = _operations()

    def crop(image, rng):
        image = image.resize((width, height), resample, _box(image.size, config.crop_scale, rng))
        if config.flip and rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image

    def distort(image, rng):
        for _ in range(config.strong_ops):
            image = rng.choice(operations)(image, rng.random())
        half = rng.random() * config.cutout * width / 2
        x, y = rng.random() * width, rng.random() * height
        image = image.copy()
        image.paste(GREY, tuple(round(edge) for edge in (x - half, y - half, x + half, y + half)))
        return image

    def weak(image, seed):
        return stages.pixels(crop(image.convert("RGB"), random.Random(seed)))

    def weak_and_strong(image, seed):
        image, rng = image.convert("RGB"), random.Random(seed)
        return stages.pixels(crop(image, rng)), stages.pixels(distort(crop(image, rng), rng))

    def clean(image):
        return stages.pixels(stages.resized(image))

    return Views(clean, weak, weak_and_strong, stages.finish)


@functools.lru_cache(maxsize=4)
def in_stages(transform):
    """The `Stages` of an encoder's evaluation transform, a torchvision `Compose`."""
    import numpy as np
    import torch
    from PIL import Image

    start = _first_tensor_stage(transform)
    if start is None:
        return Stages(lambda image: image, transform, _laid_out)
    resized, to_tensor = _composed(transform.transforms[:start]), _composed(transform.transforms[start:])

    def pixels(image):
        found = torch.from_numpy(np.array(image))
        return found if found.ndim == 3 else found[..., None]

    def finish(batch):
        batch = _laid_out(batch.permute(0, 3, 1, 2))
        for step in arithmetic:
            batch = step(batch)
        return batch

    arithmetic = [_on_batches(stage) for stage in transform.transforms[start:]]
    if None not in arithmetic:
        # Every level in every channel.
        levels = Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3))
        if torch.equal(finish(pixels(levels)[None])[0], to_tensor(levels)):
            return Stages(resized, pixels, finish)
    return Stages(resized, to_tensor, _laid_out)


def _laid_out(batch):
    """The batch in the order in which a GPU's convolutions are faster; a CPU's would round otherwise in it."""
    import torch

    gpu = batch.device.type == "cuda"
    return batch.contiguous(memory_format=torch.channels_last if gpu else torch.contiguous_format)


def _on_batches(stage):
    """A last stage of a transform for a batch (n, 3, H, W) of uint8, and then float32; None for an unknown one."""
    import torch

    kind = type(stage).__name__
    if kind in ("ToTensor", "MaybeToTensor"):
        # Not by a number of Python's: a GPU multiplies by its inverse, and rounds otherwise.
        levels = _on_devices(torch.tensor(255.0))
        return lambda batch: batch.float().div_(levels(batch.device))
    if kind == "PILToTensor":
        return lambda batch: batch
    if kind == "ToDtype" and stage.scale and stage.dtype == torch.float32:
        return lambda batch: batch.float().mul_(1.0 / 255)
    if kind == "Normalize":
        mean, std = (_on_devices(torch.tensor(values)[:, None, None]) for values in (stage.mean, stage.std))
        return lambda batch: batch.sub_(mean(batch.device)).div_(std(batch.device))
    return None


def _on_devices(constant):
    """The constant on a device, moved there once: the host waits while it is."""
    return functools.lru_cache(maxsize=None)(constant.to)


def _first_tensor_stage(transform):
    """Where an evaluation transform turns the image into a tensor, None where no stage is known to do so."""
    kinds = ("ToTensor", "MaybeToTensor", "PILToTensor", "ToImage")
    stages = enumerate(getattr(transform, "transforms", ()))
    return next((position for position, stage in stages if type(stage).__name__ in kinds), None)


def _composed(stages):
    """The stages as one function; normalisation gets its tensors once, because making them is most of its time."""
    import torch

    def normalize(stage):
        mean, std = torch.tensor(stage.mean)[:, None, None], torch.tensor(stage.std)[:, None, None]
        return lambda pixels: (pixels - mean) / std

    steps = [normalize(stage) if type(stage).__name__ == "Normalize" else stage for stage in stages]

    def composed(value):
        for step in steps:
            value = step(value)
        return value

    return composed


def _box(size, crop_scale, rng):
    """(left, top, right, bottom) in pixels and parts of pixels: area share uniform in [crop_scale, 1], aspect ratio
    log-uniform in [3/4, 4/3]; what would stick out of the image is cut off.
    """
    area = rng.uniform(crop_scale, 1) * size[0] * size[1]
    ratio = math.exp(rng.uniform(-1, 1) * math.log(4 / 3))
    width, height = min(math.sqrt(area * ratio), size[0]), min(math.sqrt(area / ratio), size[1])
    left, top = rng.random() * (size[0] - width), rng.random() * (size[1] - height)
    return left, top, left + width, top + height


def _operations():
    """RandAugment's operations, each (image, magnitude in [0, 1)) → image, with the LabelBench code's ranges."""
    from PIL import Image, ImageEnhance, ImageOps

    def enhance(kind):
        return lambda image, u: kind(image).enhance(0.05 + 0.9 * u)

    def affine(coefficients):
        return lambda image, u: image.transform(
            image.size, Image.Transform.AFFINE, coefficients(0.6 * u - 0.3, *image.size)
        )

    return (
        lambda image, u: image,
        lambda image, u: ImageOps.autocontrast(image),
        lambda image, u: ImageOps.equalize(image),
        lambda image, u: ImageOps.posterize(image, 4 + int(5 * u)),
        lambda image, u: ImageOps.solarize(image, int(257 * u)),
        lambda image, u: image.rotate(60 * u - 30),
        enhance(ImageEnhance.Brightness),
        enhance(ImageEnhance.Color),
        enhance(ImageEnhance.Contrast),
        enhance(ImageEnhance.Sharpness),
        affine(lambda v, width, height: (1, v, 0, 0, 1, 0)),
        affine(lambda v, width, height: (1, 0, 0, v, 1, 0)),
        affine(lambda v, width, height: (1, 0, v * width, 0, 1, 0)),
        affine(lambda v, width, height: (1, 0, 0, 0, 1, v * height)),
    )
