"""ImageNet-1k (ILSVRC 2012; Russakovsky et al. 2015, arXiv 1409.0575): 1,281,167 + 50,000 photos, 1000 classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelbench.data.datasets import _photos, _published, _variants

COUNTS = {"pool": 1_281_167, "val": 12_500, "test": 37_500}
SIZES = _variants.Sizes(COUNTS["pool"], None, tuple(map(str, range(1, 1001))))
HOW_TO_GET = (
    "ImageNet-1k needs an account at https://image-net.org or https://www.kaggle.com/c/imagenet-object-localization-"
    "challenge. Name the folder that holds train/ and val/ as `folder` of this dataset in the config. train/ has one "
    "folder for each class, and so has val/, or else all photos lie in val/ itself, as Kaggle publishes them, and "
    "`val_solution` names Kaggle's LOC_val_solution.csv."
)


@dataclass(frozen=True)
class Config(_variants.Variants):
    """folder: what holds train/ and val/, with a folder for each class, named by its WordNet number (n01440764).

    val_solution: Kaggle's LOC_val_solution.csv, for a val/ in which all photos lie together.
    verify: compare the numbers of images with the published ones.
    """

    folder: str
    val_solution: str | None = None
    verify: bool = True


def sources(config):
    """Path of the table of validation labels, if there is one; the photos are too many to be tracked."""
    return [config.val_solution] if config.val_solution else []


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return _variants.lead_metric(config)


def _by_folder(folder):
    """(path, class folder) of the photos in the folders of a folder, in this order."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    return [(f"{path}/{photo}", path.name) for path in classes for photo in _photos.names(path, ".JPEG")]


def _by_table(folder, path):
    """(path, class) of the photos in a folder, in the order of `_by_folder`, by Kaggle's table."""
    (table,) = _published.tables("ImageNet", path.parent, {path.name: ["ImageId", "PredictionString"]}, HOW_TO_GET)
    # n03995372 85 1 499 272 n03481172 131 0 499 254: the class and a box around it, for each object
    classes = table["PredictionString"].fillna("").str.split(" ").str[0]
    pairs = sorted(zip(classes, table["ImageId"], strict=True))
    return [(f"{folder}/{photo}.JPEG", name) for name, photo in pairs]


def _photos_of(config):
    """The `Photos`, training images first, and their class folders (K,) in the order of labels.

    Validation and test are a quarter and three quarters of the official validation set, drawn from the order of its
    classes and file names as the LabelBench paper's code draws them.
    """
    import torch

    train, val = Path(config.folder) / "train", Path(config.folder) / "val"
    _published.refuse("ImageNet", [f"{path} is no folder" for path in (train, val) if not path.is_dir()], HOW_TO_GET)
    in_train = _by_folder(train)
    in_val = _by_table(val, Path(config.val_solution)) if config.val_solution else _by_folder(val)
    empty = [
        f"{path} has no folder with .JPEG photos" for path, found in ((train, in_train), (val, in_val)) if not found
    ]
    _published.refuse("ImageNet", empty, HOW_TO_GET)
    paths = [path for path, _ in in_train + in_val]
    classes, labels = np.unique([name for _, name in in_train + in_val], return_inverse=True)
    drawn = torch.randperm(len(in_val), generator=torch.Generator().manual_seed(42)).numpy() + len(in_train)
    quarter, rest = np.split(drawn, [len(drawn) // 4])
    return _photos.Photos(paths, labels, {"pool": np.arange(len(in_train)), "val": quarter, "test": rest}), classes


def prepare(config):
    """The `Dataset`: pool 1,281,167, validation 12,500, test 37,500; labels in the order of WordNet numbers.

    The names are CLIP's, in which two pairs of classes share one: missile and sunglasses.
    """
    prompts = _published.imagenet_prompts()  # before timm, which imports torchvision too
    import open_clip
    from timm.data import ImageNetInfo

    photos, classes = _photos_of(config)
    known = ImageNetInfo("imagenet-1k").label_names()
    in_train = classes[np.unique(photos.labels[photos.rows["pool"]])]
    problems = [f"{name} is no class of ImageNet-1k" for name in sorted(set(classes) - set(known))]
    problems += [f"train has no photo of class {name}" for name in sorted(set(known) - set(in_train))]
    return _photos.dataset(
        "ImageNet", config, photos, open_clip.IMAGENET_CLASSNAMES, prompts, COUNTS, problems, HOW_TO_GET
    )


def images(config):
    """A function from a source position to a PIL image of any size, RGB or L."""
    photos, _ = _photos_of(config)
    return _photos.reader(photos, HOW_TO_GET)
