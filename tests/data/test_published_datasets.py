"""The published datasets, read from tiny replicas in their published formats: splits, labels, images, and damage."""

import dataclasses
import hashlib
import pickle
import pickletools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch

import replicas
from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.data import dataset_file
from labelbench.data.dataset_file import Dataset, Split
from labelbench.data.datasets import _variants, cifar10, cifar100, digits, fmow, iwildcam, svhn

PHOTOS = ("imagenet", "iwildcam", "fmow", "caltech256")


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Settings of a replica of every published dataset, by name. Do not change their files: take `copy`."""
    folder = tmp_path_factory.mktemp("published")
    return {name: write(folder / name) for name, write in replicas.ALL.items()}


@pytest.fixture
def copy(written, tmp_path):
    """A function from the name of a dataset to settings of a replica that may be changed."""

    def copied(name):
        shutil.copytree(written[name]["folder"], tmp_path / name)
        return {**written[name], "folder": str(tmp_path / name)}

    return copied


def load(name, settings):
    """A dataset, its function from source position to image, and its plug-in's config."""
    plugin, config = registry.configured("datasets", {"name": name, **settings})
    return plugin.prepare(config), plugin.images(config), config


def complaint(name, settings):
    """The message with which preparing the dataset ends, in one line."""
    with pytest.raises(UserError) as error:
        load(name, settings)
    return " ".join(str(error.value).split())


def shown(image):
    """The colour (3,) of a picture of one colour."""
    return np.asarray(image.convert("RGB"), dtype=float).mean((0, 1))


def edit_csv(path, change):
    table = pd.read_csv(path)
    change(table)
    table.to_csv(path, index=False)


@pytest.mark.parametrize("name", replicas.ALL)
def test_a_dataset_goes_through_its_file_and_gives_its_images(name, written, copy, tmp_path):
    dataset, images, _ = load(name, written[name])
    dataset_file.write(tmp_path / "d.h5", dataset, "{}", "abc")
    again = dataset_file.read(tmp_path / "d.h5")
    assert {"pool", "val", "test"} <= set(again.splits)
    assert all(split in ("pool", "val", "test") or split.startswith("test_") for split in again.splits)
    for split, content in dataset.splits.items():
        for field, values in content._asdict().items():
            assert np.array_equal(getattr(again.splits[split], field), values), (split, field)
        assert content.labels.dtype == content.source.dtype == np.int64
        assert 0 <= content.labels.min() <= content.labels.max() < dataset.num_classes
        for at in content.source[:3]:
            assert images(int(at)).mode in ("L", "RGB")
    assert (again.class_names, again.templates) == (dataset.class_names, dataset.templates)
    assert all("{}" in template for template in dataset.templates)
    sources = np.concatenate([split.source for split in dataset.splits.values()])
    assert len(np.unique(sources)) == len(sources)
    # The fingerprint is of what lies in the folder, not of where the folder lies.
    assert load(name, copy(name))[0].fingerprint == again.fingerprint


@pytest.mark.parametrize(("name", "layout"), [("cifar10", cifar10.LAYOUT), ("cifar100", cifar100.LAYOUT)])
def test_cifar_batches(name, layout, written):
    dataset, images, config = load(name, written[name])
    seeds = {"cifar10": ((1, 100), (2, 40)), "cifar100": ((3, 200), (4, 40))}[name]
    content = [replicas.small_images(n, len(dataset.class_names), seed) for seed, n in seeds]
    pixels, labels = (np.concatenate(parts) for parts in zip(*content, strict=True))
    for split in dataset.splits.values():
        assert np.array_equal(split.labels, labels[split.source])
        for at in split.source:
            assert np.array_equal(np.asarray(images(int(at))), pixels[at])
    train = len(content[0][1])
    assert np.array_equal(dataset.splits["pool"].source, np.arange(train))
    halves = train + np.random.RandomState(42).permutation(40)
    assert np.array_equal(dataset.splits["val"].source, halves[:20])
    assert np.array_equal(dataset.splits["test"].source, halves[20:])
    assert dataset.class_names[1] == {"cifar10": "automobile", "cifar100": "fine 1"}[name]
    # The replica asks for what the published pickles ask for.
    for path in layout.paths(config):
        asked = {op[1] for op in pickletools.genops(path.read_bytes()) if op[0].name == "GLOBAL"}
        assert asked <= {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


def test_checksums_are_those_that_torchvision_knows():
    from labelbench.common import torchvision_cpu  # noqa: F401  before torchvision

    from torchvision import datasets  # isort: skip

    for layout, known in ((cifar10.LAYOUT, datasets.CIFAR10), (cifar100.LAYOUT, datasets.CIFAR100)):
        assert layout.train == dict(known.train_list)
        assert layout.test == dict(known.test_list)
        assert layout.meta == {known.meta["filename"]: known.meta["md5"]}
        assert (layout.archive, layout.folder, layout.names) == (known.filename, known.base_folder, known.meta["key"])
    assert {
        datasets.SVHN.split_list[part][1]: datasets.SVHN.split_list[part][2] for part in ("train", "test")
    } == svhn.CHECKSUMS


def test_files_with_the_published_checksums_pass(written, monkeypatch):
    settings = {**written["svhn"], "verify": True}
    sums = {name: hashlib.md5((Path(settings["folder"]) / name).read_bytes()).hexdigest() for name in svhn.CHECKSUMS}
    monkeypatch.setattr(svhn, "CHECKSUMS", sums)
    dataset, images, _ = load("svhn", settings)
    pixels, labels = replicas.small_images(80, 10, seed=5)
    assert np.array_equal(dataset.splits["pool"].labels, labels)  # 10 in the file is the digit zero
    assert np.array_equal(np.asarray(images(7)), pixels[7])
    assert dataset.class_names[0] == "zero"


def test_imagenet_layouts_agree(written, tmp_path):
    from timm.data import ImageNetInfo

    synsets = ImageNetInfo("imagenet-1k").label_names()
    in_folders, in_folders_images, _ = load("imagenet", written["imagenet"])
    flat, flat_images, _ = load("imagenet", replicas.imagenet(tmp_path, flat=True))
    assert in_folders.class_names[:2] == ("tench", "goldfish")
    assert in_folders.class_names.count("missile") == 2
    assert len(in_folders.templates) == 80
    for k, at in enumerate(in_folders.splits["pool"].source):
        assert in_folders.splits["pool"].labels[k] == k
        assert shown(in_folders_images(at)) == pytest.approx(replicas.colour(f"{synsets[k]}_{7 * k}.JPEG"), abs=3)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(42)).tolist()
    for split, drawn in (("val", order[:25]), ("test", order[25:])):
        expected = [10 * k for k in drawn]  # every tenth class has one photo, in the order of classes
        for dataset, images in ((in_folders, in_folders_images), (flat, flat_images)):
            assert dataset.splits[split].labels.tolist() == expected
            for k, at in zip(drawn, dataset.splits[split].source, strict=True):
                name = f"ILSVRC2012_val_{(37 * k) % 100 + 1:08d}.JPEG"
                assert shown(images(at)) == pytest.approx(replicas.colour(name), abs=3)


def test_iwildcam_splits_by_camera(written):
    dataset, images, config = load("iwildcam", written["iwildcam"])
    table = pd.read_csv(iwildcam.sources(config)[0])
    theirs = {"pool": "train", "val": "id_val", "test": "id_test", "test_ood": "test"}
    assert set(dataset.splits) == set(theirs)
    for name, split in dataset.splits.items():
        rows = table[table["split"] == theirs[name]]
        assert np.array_equal(split.labels, rows["y"])
        assert np.array_equal(split.groups, rows["location_remapped"])
        for at, filename in zip(split.source, rows["filename"], strict=True):
            assert shown(images(at)) == pytest.approx(replicas.colour(filename), abs=3)
    assert set(dataset.splits["pool"].groups).isdisjoint(dataset.splits["test_ood"].groups)
    assert len(dataset.class_names) == 182
    assert (dataset.class_names[0], dataset.class_names[13]) == ("empty", "common opossum")
    assert iwildcam.lead_metric(config) == "macro_f1"


def test_iwildcam_of_the_published_runs_has_14_classes(written):
    whole, *_ = load("iwildcam", written["iwildcam"])
    clipped, *_ = load("iwildcam", {**written["iwildcam"], "n_class": 14})
    assert clipped.class_names == (*whole.class_names[:13], "other")
    for name, split in clipped.splits.items():
        assert np.array_equal(split.labels, whole.splits[name].labels.clip(max=13))
        assert np.array_equal(split.groups, whole.splits[name].groups)


def test_fmow_splits_by_year_and_groups_by_continent(written):
    dataset, images, config = load("fmow", written["fmow"])
    table = pd.read_csv(fmow.sources(config)[0])
    year, part = table["timestamp"].str[:4].astype(int), table["split"]
    rows = {
        "pool": (part == "train") & (year <= 2012),
        "val": (part == "val") & (year <= 2012),
        "test": (part == "test") & (year <= 2012),
        "test_ood": (part == "test") & (year >= 2016),
    }
    assert set(dataset.splits) == set(rows)
    region = table["country_code"].map({"FRA": "Europe", "KEN": "Africa"})
    for name, split in dataset.splits.items():
        assert np.array_equal(split.source, np.flatnonzero(rows[name]))
        names = [dataset.class_names[label] for label in split.labels]
        assert names == [category.replace("_", " ") for category in table["category"][rows[name]]]
        groups = [fmow.REGIONS[g] if g >= 0 else None for g in split.groups]
        assert groups == [None if pd.isna(r) else r for r in region[rows[name]]]
        for at in split.source:
            assert shown(images(at)) == pytest.approx(replicas.colour(f"rgb_img_{at}.png"), abs=0.01)
    assert sorted(fmow.CATEGORIES) == list(fmow.CATEGORIES)
    assert fmow.lead_metric(config) == "accuracy"


def test_caltech_without_clutter_and_what_lies_there_by_mistake(written):
    dataset, images, _ = load("caltech256", written["caltech256"])
    photos = [(n, i) for n in range(1, 257) for i in range(1 + (n <= 40))]
    order = np.random.RandomState(42).permutation(len(photos))
    assert len(dataset.class_names) == 256
    assert [dataset.class_names[i] for i in (0, 1, 250)] == ["ak47", "american flag", "airplanes"]
    for name, at in zip(("pool", "val", "test"), np.split(order, [237, 266]), strict=True):
        assert dataset.splits[name].labels.tolist() == [photos[k][0] - 1 for k in at]
        for k, source in zip(at, dataset.splits[name].source, strict=True):
            expected = replicas.colour(f"{photos[k][0]:03d}_{photos[k][1] + 1:04d}.jpg")
            assert shown(images(source)) == pytest.approx(expected, abs=3)


# Damage. Each message names the file and ends with where to get the dataset.


@pytest.mark.parametrize("name", replicas.ALL)
def test_an_empty_folder_says_where_to_get_the_dataset(name, tmp_path):
    message = complaint(name, {"folder": str(tmp_path)})
    assert str(tmp_path) in message
    assert "https://" in message or "http://" in message
    assert "`folder` of this dataset in the config" in message


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_all_missing_and_altered_files_are_named_together(name, copy):
    settings = copy(name)
    plugin, config = registry.configured("datasets", {"name": name, **settings, "verify": True})
    first, *others = plugin.sources(config)
    Path(first).unlink()
    message = complaint(name, {**settings, "verify": True})
    assert f"{first} is missing" in message
    for path in others:
        assert f"{path} is not the published file" in message


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(copy, tmp_path):
    settings = copy("cifar10")
    path = tmp_path / "cifar10/cifar-10-batches-py/data_batch_3"

    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    path.write_bytes(pickle.dumps({"data": Attack()}, protocol=2))
    assert "data_batch_3 cannot be read: it asks for" in complaint("cifar10", settings)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda path: path.read_bytes()[:-30], "data_batch_2 cannot be read"),
        (lambda path: b"", "data_batch_2 cannot be read"),
        (lambda path: pickle.dumps({"labels": [1, 2]}, protocol=2), "does not hold the batches of CIFAR-10: KeyError"),
    ],
)
def test_a_damaged_batch_without_checksums(content, reason, copy, tmp_path):
    settings = copy("cifar10")
    path = tmp_path / "cifar10/cifar-10-batches-py/data_batch_2"
    path.write_bytes(content(path))
    message = complaint("cifar10", settings)
    assert reason in message
    assert "cifar-10-python.tar.gz" in message


@pytest.mark.parametrize("damage", ["cut", "other content", "other shape"])
def test_a_damaged_mat_file_without_checksums(damage, copy, tmp_path):
    settings = copy("svhn")
    path = tmp_path / "svhn/test_32x32.mat"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "other content":
        scipy.io.savemat(path, {"images": np.zeros(3)})
    else:
        scipy.io.savemat(path, {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.ones((5, 1), np.uint8)})
    message = complaint("svhn", settings)
    assert f"{path} cannot be read" in message
    assert "ufldl.stanford.edu" in message


@pytest.mark.parametrize("name", PHOTOS)
def test_missing_and_empty_photos_and_a_short_download_are_named_together(name, copy):
    settings = copy(name)
    plugin, config = registry.configured("datasets", {"name": name, **settings})
    photos, *_ = plugin._photos_of(config)
    gone, empty = (Path(photos.paths[at]) for at in photos.rows["test"][:2])
    gone.unlink()
    empty.write_bytes(b"")
    message = complaint(name, {**settings, "verify": True})
    assert f"{empty}: empty file" in message
    if name in ("iwildcam", "fmow"):  # whose tables still name the photo; elsewhere it leaves a smaller number
        assert f"{gone}: no such file" in message
    for split, published in plugin.COUNTS.items():
        assert f"images, published are {published}" in message, split


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo_that_is_damaged_later_is_named_when_it_is_read(name, copy):
    settings = copy(name)
    plugin, config = registry.configured("datasets", {"name": name, **settings})
    images, (photos, *_) = plugin.images(config), plugin._photos_of(config)
    path = Path(photos.paths[3])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="cannot be read"):
        images(3)


def test_tables_with_other_columns_labels_or_dates(copy, tmp_path):
    settings = copy("iwildcam")
    metadata = tmp_path / "iwildcam/iwildcam_v2.0/metadata.csv"

    def other_labels(table):
        table.loc[0, "y"] = 182
        table.loc[1, "y"] = None

    edit_csv(metadata, other_labels)
    message = complaint("iwildcam", settings)
    assert "has the label -1" in message
    assert "has the label 182" in message
    edit_csv(metadata, lambda table: table.pop("y"))
    assert "metadata.csv cannot be read as a table with the columns split, filename, y" in complaint(
        "iwildcam", settings
    )

    settings = copy("fmow")
    metadata = tmp_path / "fmow/fmow_v1.1/rgb_metadata.csv"

    def other_rows(table):
        table.loc[0, "category"] = "castle"
        table.loc[1, "timestamp"] = "yesterday"

    edit_csv(metadata, other_rows)
    message = complaint("fmow", settings)
    assert "the category 'castle'" in message
    assert "1 rows whose timestamp is no date" in message
    (tmp_path / "fmow/fmow_v1.1/country_code_mapping.csv").unlink()
    metadata.write_bytes(b"\xff\xfe\x00garbage")
    message = complaint("fmow", settings)
    assert "country_code_mapping.csv is missing" in message
    assert "rgb_metadata.csv cannot be read as a table" in message


def test_imagenet_with_other_folders(copy, tmp_path):
    settings = copy("imagenet")
    (tmp_path / "imagenet/train/n01440764").rename(tmp_path / "imagenet/train/n99999999")
    shutil.rmtree(tmp_path / "imagenet/train/n01443537")
    message = complaint("imagenet", settings)
    assert "n99999999 is no class of ImageNet-1k" in message
    assert "train has no photo of class n01440764" in message
    assert "train has no photo of class n01443537" in message
    val = tmp_path / "imagenet/val"
    for path in list(val.glob("*/*.JPEG")):
        path.rename(val / path.name)
    message = complaint("imagenet", settings)
    assert f"{val} has no folder with .JPEG photos" in message
    assert "LOC_val_solution.csv" in message
    assert "solution.csv is missing" in complaint("imagenet", {**settings, "val_solution": f"{val}/solution.csv"})


def test_caltech_with_a_class_missing(copy, tmp_path):
    settings = copy("caltech256")
    base = tmp_path / "caltech256/256_ObjectCategories"
    shutil.rmtree(base / "056.dog")
    (base / "198.spider/198_0001.jpg").unlink()
    message = complaint("caltech256", settings)
    assert f"{base}/056.*, the folder of class 56, is missing" in message
    assert f"{base}/198.spider holds no photo" in message


# Variants.


@dataclasses.dataclass(frozen=True)
class Plain(_variants.Variants):
    pass


def variant(splits, names=("a", "b", "c", "d"), **settings):
    return _variants.apply(Plain(**settings), splits, names)


def some_splits(labels, groups=None):
    whole = Split(np.array(labels), np.arange(len(labels)) + 100, groups)
    return {"pool": whole, "val": whole, "test": whole}


def test_variants_combine_and_leave_validation_and_test_their_images():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], 100))
    splits = some_splits(labels, np.arange(400) % 7)
    found, names = variant(splits, n_class=3, imbalance_ratio=10, pool_size=90)
    assert names == ("a", "b", "other")
    pool = found["pool"]
    assert len(pool.labels) == len(pool.groups) == 90
    assert np.array_equal(pool.labels, np.minimum(labels, 2)[pool.source - 100])
    assert np.array_equal(pool.groups, (pool.source - 100) % 7)
    counts = np.bincount(variant(splits, n_class=3, imbalance_ratio=10)[0]["pool"].labels)
    assert counts.tolist() == [100, 32, 10]
    for split in ("val", "test"):
        assert np.array_equal(found[split].source, splits[split].source)
        assert np.array_equal(found[split].labels, np.minimum(labels, 2))


def test_the_subset_is_a_fixed_random_one():
    splits = some_splits(np.arange(1000) % 4)
    source = variant(splits, pool_size=100)[0]["pool"].source
    assert np.array_equal(source, variant(splits, pool_size=100)[0]["pool"].source)
    assert len(np.unique(source)) == 100
    assert abs(source.mean() - 100 - 500) < 4 * 1000 / np.sqrt(12 * 100)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_class": 4}, "n_class 4 merges nothing: there are 4 classes"),
        ({"pool_size": 401}, "pool_size 401 is more than the pool has: 400"),
        ({"imbalance_ratio": 300}, "leaves class 'd' without an image in the pool"),
    ],
)
def test_a_variant_the_dataset_is_too_small_for(settings, message):
    with pytest.raises(UserError, match=message):
        variant(some_splits(np.arange(400) % 4), **settings)


@pytest.mark.parametrize("settings", [{"n_class": 1}, {"imbalance_ratio": 0.5}, {"pool_size": 0}])
def test_a_variant_that_means_nothing_is_refused_at_once(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Plain(**settings)


def test_balanced_accuracy_leads_where_a_variant_is_imbalanced():
    lead = [_variants.lead_metric(Plain(**s)) for s in ({}, {"n_class": 2}, {"imbalance_ratio": 5}, {"pool_size": 5})]
    assert lead == ["accuracy", "balanced_accuracy", "balanced_accuracy", "accuracy"]


def test_fingerprints_hold_optional_columns_and_are_what_they_were_without(tmp_path):
    assert digits.prepare(digits.Config()).fingerprint == "a03014f7551b397c713b8601b0459711"
    assert digits.prepare(digits.Config(imbalance_ratio=20)).fingerprint == "a38a289164b006a8c5e26ed240b869e6"
    columns, ids = [None, np.array([0, 0, 0]), np.array([0, 0, 1])], np.arange(3)
    kinds = [{"groups": c} for c in columns] + [{"annotated": c} for c in columns[1:]]
    prints = set()
    for kind in kinds:
        dataset = Dataset({"pool": Split(ids, ids, **kind)}, ("a", "b", "c"), ("{}",), "hash")
        dataset_file.write(tmp_path / "d.h5", dataset, "{}", "abc")
        pool = dataset_file.read(tmp_path / "d.h5").splits["pool"]
        assert all(np.array_equal(getattr(pool, name), values) for name, values in kind.items())
        prints.add(dataset.fingerprint)
    assert len(prints) == len(kinds)
