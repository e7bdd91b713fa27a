"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747): 70,000 photos, 28×28 grey levels, 10 classes."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelbench.common.errors import UserError
from labelbench.data.dataset_file import Dataset
from labelbench.data.datasets import _published, _variants

CLASSES = (
    "t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
SIZES = _variants.Sizes(60_000, (6_000,) * 10, CLASSES)
TEMPLATES = ("a photo of a {}.", "a product photo of a {} on a white background.")
FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
HOW_TO_GET = (
    "Get them with `apt-get install dataset-fashion-mnist` (folder /usr/share/datasets/fashion-mnist) or from "
    "https://github.com/zalandoresearch/fashion-mnist, and name their folder as `folder` of this dataset in the config."
)


@dataclass(frozen=True)
class Config(_variants.Variants):
    """folder: where the four idx.gz files lie; invert: dark on white, as in shop photos."""

    folder: str
    invert: bool = True


def sources(config):
    """Paths of the four files."""
    return [str(Path(config.folder) / name) for name in FILES.values()]


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return _variants.lead_metric(config)


def _read_idx(path, dims):
    """Array of an idx file: big-endian header (0, 0, type 8 = uint8, number of dimensions), sizes, then the bytes.

    Raises `UserError` for a file that is truncated or no idx file.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise UserError(f"{path} is damaged or truncated ({error}). Download it again. {HOW_TO_GET}") from None
    header = 4 + 4 * dims
    if len(content) < header or content[:4] != bytes([0, 0, 8, dims]):
        raise UserError(f"{path} is not an idx file of bytes with {dims} dimensions. {HOW_TO_GET}")
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims))
    if len(content) - header != np.prod(shape):
        raise UserError(
            f"{path} is truncated: its header announces {np.prod(shape)} values and {len(content) - header} follow. "
            f"Download it again. {HOW_TO_GET}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _pixels(config):
    paths = {key: Path(config.folder) / name for key, name in FILES.items()}
    return np.concatenate([_read_idx(paths["train_images"], 3), _read_idx(paths["test_images"], 3)])


def prepare(config):
    """The `Dataset`: the pool is all of the official training set; validation and test are random halves of the test
    set, as the LabelBench paper splits CIFAR.
    """
    if absent := [path for path in sources(config) if not Path(path).is_file()]:
        raise UserError(f"Fashion-MNIST is not complete: {', '.join(absent)} not found. {HOW_TO_GET}")
    pixels = _pixels(config)
    train = _read_idx(Path(config.folder) / FILES["train_labels"], 1).astype(np.int64)
    test = _read_idx(Path(config.folder) / FILES["test_labels"], 1).astype(np.int64)
    if len(pixels) != len(train) + len(test):
        raise UserError(f"{config.folder}: {len(pixels)} images but {len(train) + len(test)} labels. {HOW_TO_GET}")
    splits, class_names = _variants.apply(config, _published.halves(train, test), CLASSES)
    return Dataset(splits, class_names, TEMPLATES, images_hash=hashlib.sha256(pixels.tobytes()).hexdigest())


def images(config):
    """A function from a source position (training images, then test images) to a PIL image, 28×28, mode L."""
    from PIL import Image

    pixels = _pixels(config)
    if config.invert:
        pixels = 255 - pixels
    return lambda position: Image.fromarray(pixels[position])
