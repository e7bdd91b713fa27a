"""SVHN (Netzer et al. 2011), format 2: 99,289 colour photos of house numbers, 32×32 around one digit, 10 classes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelbench.common.errors import UserError
from labelbench.data.dataset_file import Dataset
from labelbench.data.datasets import _published, _variants

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZES = _variants.Sizes(73_257, (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659), WORDS)
TEMPLATES = (
    'a photo of the number "{}".',
    'a street view photo of the digit "{}" on a house.',
    "the house number {}.",
    'a blurry close-up of the digit "{}".',
)
TRAIN, TEST = "train_32x32.mat", "test_32x32.mat"
CHECKSUMS = {TRAIN: "e26dedcc434d2e4c54c9b2d4a06d8373", TEST: "eb5a983be6a315427106f1b164d9cef3"}
HOW_TO_GET = (
    f"Get {TRAIN} and {TEST} from http://ufldl.stanford.edu/housenumbers/ and name their folder as `folder` of this "
    "dataset in the config."
)


@dataclass(frozen=True)
class Config(_variants.Variants):
    """folder: where the two .mat files lie; verify: compare them with the published checksums."""

    folder: str
    verify: bool = True


def sources(config):
    """Paths of the two files; the extra training set is not used."""
    return [str(Path(config.folder) / name) for name in CHECKSUMS]


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return _variants.lead_metric(config)


def _read(path):
    """Pixels (n, 32, 32, 3) uint8 and labels (n,) int64 of one file. In it, X is (32, 32, 3, n) and 10 means zero."""
    import scipy.io

    try:
        content = scipy.io.loadmat(path)
        pixels, labels = content["X"].transpose(3, 0, 1, 2), content["y"].reshape(-1).astype(np.int64)
        if pixels.shape != (len(labels), 32, 32, 3):
            raise ValueError(f"X has shape {content['X'].shape} and y {content['y'].shape}")
    except Exception as error:  # a damaged .mat file can raise anything
        raise UserError(f"{path} cannot be read: {type(error).__name__} {error}. {HOW_TO_GET}") from error
    return pixels, labels % 10


def _load(config):
    """Pixels (n, 32, 32, 3) uint8 of training and test set together, labels of each."""
    _published.refuse("SVHN", _published.missing(sources(config)), HOW_TO_GET)
    (train_pixels, train), (test_pixels, test) = (_read(path) for path in sources(config))
    return np.concatenate([train_pixels, test_pixels]), train, test


def prepare(config):
    """The `Dataset`: pool 73,257; validation and test are random halves of the official test set, 13,016 each."""
    problems = _published.missing(sources(config))
    if config.verify:
        problems += _published.altered(dict(zip(sources(config), CHECKSUMS.values(), strict=True)))
    _published.refuse("SVHN", problems, HOW_TO_GET)
    pixels, train, test = _load(config)
    splits, class_names = _variants.apply(config, _published.halves(train, test), WORDS)
    return Dataset(splits, class_names, TEMPLATES, images_hash=hashlib.sha256(pixels.tobytes()).hexdigest())


def images(config):
    """A function from a source position (training images, then test images) to a PIL image, 32×32, RGB."""
    from PIL import Image

    pixels, *_ = _load(config)
    return lambda position: Image.fromarray(pixels[position])
