"""Tiny replicas of the published datasets in the formats in which they are published, for tests.

Each function writes one into a folder and returns the settings that its plug-in takes. The content can be told: photos
have the one colour that `colour` gives for their name, small images are random.
"""

import csv
import gzip
import pickle
import struct
import zlib

import numpy as np
import scipy.io
from PIL import Image

from labelbench.data.datasets.fmow import CATEGORIES

CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def colour(name):
    """A colour (R, G, B) for a file name."""
    return tuple(64 + byte // 2 for byte in zlib.crc32(name.encode()).to_bytes(4, "big")[:3])


def photo(path, size=(32, 24), **options):
    """A picture of one colour, by the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour(path.name)).save(path, **options)


class _Python2Pickler(pickle._Pickler):
    """Pickles as Python 2 with numpy 1 did, in which CIFAR was published: strings are bytes, modules have old names."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, text):
        content = text.encode("latin1") if isinstance(text, str) else text
        if len(content) < 256:
            self.write(pickle.SHORT_BINSTRING + struct.pack("<B", len(content)) + content)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string

    def save_global(self, thing, name=None):
        if thing.__name__ == "_reconstruct":
            self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
            self.memoize(thing)
        else:
            super().save_global(thing, name)


def python2_pickle(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        _Python2Pickler(file, protocol=2).dump(content)


def small_images(n, classes, seed):
    """Random pixels (n, 32, 32, 3) uint8 and labels (n,) in which every class occurs."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(n, 32, 32, 3), dtype=np.uint8), rng.permutation(np.arange(n) % classes)


def _batch(pixels, labels, key, title):
    rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1))
    names = [f"image_{i}.png" for i in range(len(pixels))]
    return {"batch_label": title, key: [int(label) for label in labels], "data": rows, "filenames": names}


def cifar10(folder):
    base = folder / "cifar-10-batches-py"
    pixels, labels = small_images(100, 10, seed=1)
    for i in range(5):
        part = slice(20 * i, 20 * (i + 1))
        title = f"training batch {i + 1} of 5"
        python2_pickle(base / f"data_batch_{i + 1}", _batch(pixels[part], labels[part], "labels", title))
    python2_pickle(base / "test_batch", _batch(*small_images(40, 10, seed=2), "labels", "testing batch 1 of 1"))
    meta = {"num_cases_per_batch": 20, "label_names": CIFAR10_CLASSES, "num_vis": 3072}
    python2_pickle(base / "batches.meta", meta)
    return {"folder": str(folder), "verify": False}


def cifar100(folder):
    base = folder / "cifar-100-python"
    for name, n, seed in (("train", 200, 3), ("test", 40, 4)):
        pixels, labels = small_images(n, 100, seed)
        coarse = {"coarse_labels": [int(label) % 20 for label in labels]}
        python2_pickle(base / name, _batch(pixels, labels, "fine_labels", f"{name} batch 1 of 1") | coarse)
    names = {"fine_label_names": [f"fine_{i}" for i in range(100)], "coarse_label_names": [f"c{i}" for i in range(20)]}
    python2_pickle(base / "meta", names)
    return {"folder": str(folder), "verify": False}


def svhn(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, n, seed in (("train", 80, 5), ("test", 40, 6)):
        pixels, labels = small_images(n, 10, seed)
        content = {"X": pixels.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]}
        scipy.io.savemat(folder / f"{name}_32x32.mat", content, do_compression=True)
    return {"folder": str(folder), "verify": False}


def imagenet(folder, flat=False):
    """One training photo of each class, a validation photo of every tenth; `flat` as Kaggle has the latter."""
    from labelbench.common import torchvision_cpu  # noqa: F401  before timm

    from timm.data import ImageNetInfo  # isort: skip

    wnids = ImageNetInfo("imagenet-1k").label_names()
    for k, wnid in enumerate(wnids):
        photo(folder / f"train/{wnid}/{wnid}_{7 * k}.JPEG", size=(16, 12))
    rows = []
    for k, wnid in enumerate(wnids[::10]):
        # Neither order of the numbers is that of the classes.
        name = f"ILSVRC2012_val_{(37 * k) % 100 + 1:08d}"
        photo(folder / ("val" if flat else f"val/{wnid}") / f"{name}.JPEG", size=(12, 16))
        rows.append((name, f"{wnid} 85 1 10 12 {wnids[0]} 1 1 5 5 "))
    if flat:
        write_csv(folder / "LOC_val_solution.csv", ["ImageId", "PredictionString"], sorted(rows))
        return {"folder": str(folder), "val_solution": str(folder / "LOC_val_solution.csv"), "verify": False}
    return {"folder": str(folder), "verify": False}


def write_csv(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def iwildcam(folder):
    """Cameras 0 to 2 in the pool and its validation and test sets, 3 and 4 in those of new cameras."""
    base = folder / "iwildcam_v2.0"
    rng = np.random.default_rng(7)
    rows, sizes = [], {"train": 60, "val": 8, "test": 16, "id_val": 12, "id_test": 12}
    for split, n in sizes.items():
        for i in range(n):
            name = f"{split}-{i:04d}-21bc-11ea-a13a-137349068a90.jpg"
            camera = int(rng.integers(3, 5) if split in ("val", "test") else rng.integers(0, 3))
            rows.append([split, camera, 500 + camera, i // 3, f"seq{i // 3}", (5 * i) % 182, i, "2013-06-05", name])
            photo(base / "train" / name, size=(64, 48))
    order = rng.permutation(len(rows))
    header = ["", "split", "location_remapped", "location", "sequence_remapped", "seq_id", "y", "category_id"]
    rows = [[i, *rows[at]] for i, at in enumerate(order)]
    write_csv(base / "metadata.csv", [*header, "datetime", "filename"], rows)
    categories = [*((y, y, f"species {y}") for y in range(182)), (99999, 200, "species unseen")]
    write_csv(base / "categories.csv", ["y", "category_id", "name"], categories)
    return {"folder": str(folder), "verify": False}


def fmow(folder):
    """Images of all years and splits; of four countries one is in Africa, one in Europe, two on no continent."""
    base = folder / "fmow_v1.1"
    countries = [("France", "FR", "FRA", "Europe"), ("Kenya", "KE", "KEN", "Africa"), ("Antarctica", "AQ", "ATA", "")]
    write_csv(base / "country_code_mapping.csv", ["name", "alpha-2", "alpha-3", "region"], countries)
    plan = [("train", 2005, 62), ("train", 2013, 5), ("val", 2010, 12), ("val", 2013, 6), ("val", 2016, 3)]
    plan += [("test", 2012, 12), ("test", 2013, 2), ("test", 2015, 3), ("test", 2016, 9), ("test", 2017, 5)]
    plan += [("seq", 2008, 7)]
    rows = [
        [
            split,
            CATEGORIES[(7 * i) % 62],
            48.1,
            2.3,
            f"{year}-12-31T23:59:5{i % 10}Z",
            ("FRA", "KEN", "ATA", "XKX")[i % 4],
        ]
        for split, year, n in plan
        for i in range(n)
    ]
    order = np.random.default_rng(8).permutation(len(rows))
    header = ["split", "category", "lat", "lon", "timestamp", "country_code"]
    write_csv(base / "rgb_metadata.csv", header, [rows[at] for at in order])
    for i in range(len(rows)):
        photo(base / f"images/rgb_img_{i}.png", size=(56, 56))
    return {"folder": str(folder), "verify": False}


def caltech256(folder):
    """One photo of each class, two of the first forty, and what lies in the archive by mistake."""
    base = folder / "256_ObjectCategories"
    names = {1: "ak47", 2: "american-flag", 56: "dog", 198: "spider", 251: "airplanes-101", 257: "clutter"}
    for number in range(1, 258):
        for i in range(1 + (number <= 40)):
            name = f"{number:03d}.{names.get(number, f'thing-{number}')}"
            photo(base / name / f"{number:03d}_{i + 1:04d}.jpg", size=(30, 20))
    photo(base / "056.dog/greg/vision309/056_0001.jpg")
    (base / "198.spider/RENAME2").write_text("#!/bin/sh\n")
    return {"folder": str(folder), "verify": False}


def write_fashion_mnist(folder, train=60, test=20, seed=0):
    """The four files of Fashion-MNIST in their true format, with random content."""
    rng = np.random.default_rng(seed)
    for part, n in (("train", train), ("t10k", test)):
        pixels = rng.integers(0, 256, size=(n, 28, 28), dtype=np.uint8)
        labels = rng.permutation(np.arange(n) % 10).astype(np.uint8)
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">IIII", 0x803, n, 28, 28) + pixels.tobytes())
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 0x801, n) + labels.tobytes())


ALL = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "svhn": svhn,
    "imagenet": imagenet,
    "iwildcam": iwildcam,
    "fmow": fmow,
    "caltech256": caltech256,
}
