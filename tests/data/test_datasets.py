"""Datasets: splits, fingerprints, long tails, and files that are missing or damaged."""

import gzip

import numpy as np
import pytest

from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.data import dataset_file
from labelbench.data.datasets import digits, fashion_mnist
from replicas import write_fashion_mnist


def test_digits_are_split_once_and_for_all():
    dataset = digits.prepare(digits.Config())
    assert {name: len(split.labels) for name, split in dataset.splits.items()} == {
        "pool": 1000,
        "val": 200,
        "test": 597,
    }
    sources = np.concatenate([split.source for split in dataset.splits.values()])
    assert sorted(sources) == list(range(1797))
    assert digits.lead_metric(digits.Config()) == "accuracy"
    assert dataset.fingerprint == digits.prepare(digits.Config()).fingerprint


def test_long_tail_is_exponential_and_leaves_validation_and_test_alone():
    whole, tail = digits.prepare(digits.Config()), digits.prepare(digits.Config(imbalance_ratio=20))
    counts = np.bincount(tail.splits["pool"].labels, minlength=10)
    assert counts[0] / counts[9] == pytest.approx(20, rel=0.1)
    ratios = counts[1:] / counts[:-1]
    assert ratios == pytest.approx(np.full(9, 20 ** (-1 / 9)), abs=0.12)
    assert set(tail.splits["pool"].source) < set(whole.splits["pool"].source)
    for split in ("val", "test"):
        assert np.array_equal(tail.splits[split].source, whole.splits[split].source)
    assert digits.lead_metric(digits.Config(imbalance_ratio=20)) == "balanced_accuracy"
    assert tail.fingerprint != whole.fingerprint


def test_digit_images_are_the_labelled_ones():
    from sklearn.datasets import load_digits

    dataset, images = digits.prepare(digits.Config()), digits.images(digits.Config())
    at = dataset.splits["test"].source[5]
    assert np.allclose(np.asarray(images(at)) / 255 * 16, load_digits().images[at], atol=0.04)
    assert load_digits().target[at] == dataset.splits["test"].labels[5]


def test_shifted_test_sets_show_the_test_digits_in_another_light():
    config = digits.Config(shifted=True)
    dataset, images = digits.prepare(config), digits.images(config)
    plain = digits.prepare(digits.Config())
    assert list(dataset.splits) == ["pool", "val", "test", "test_inverted", "test_blurred"]
    for split in ("test_inverted", "test_blurred"):
        assert np.array_equal(dataset.splits[split].labels, plain.splits["test"].labels)
    normal, inverted, blurred = (
        np.asarray(images(dataset.splits[name].source[7]), dtype=int) for name in list(dataset.splits)[2:]
    )
    assert np.array_equal(inverted, 255 - normal)
    assert blurred.max() < normal.max()
    assert abs(blurred.mean() - normal.mean()) < 0.15 * normal.mean()


def test_fashion_mnist_reads_the_published_format(tmp_path):
    write_fashion_mnist(tmp_path)
    config = fashion_mnist.Config(folder=str(tmp_path), invert=False)
    dataset, images = fashion_mnist.prepare(config), fashion_mnist.images(config)
    assert {name: len(split.labels) for name, split in dataset.splits.items()} == {"pool": 60, "val": 10, "test": 10}
    with gzip.open(tmp_path / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(20, 28, 28)
    with gzip.open(tmp_path / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read()[8:], np.uint8)
    at = dataset.splits["test"].source[3]
    assert np.array_equal(np.asarray(images(at)), pixels[at - 60])
    assert dataset.splits["test"].labels[3] == labels[at - 60]
    inverted = fashion_mnist.images(fashion_mnist.Config(folder=str(tmp_path)))
    assert np.array_equal(np.asarray(inverted(at)), 255 - pixels[at - 60])


def test_missing_folder_says_how_to_get_the_files(tmp_path):
    config = fashion_mnist.Config(folder=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="train-images-idx3-ubyte.gz.*apt-get install dataset-fashion-mnist"):
        fashion_mnist.prepare(config)


@pytest.mark.parametrize("name", list(fashion_mnist.FILES.values()))
@pytest.mark.parametrize("damage", ["cut gzip", "cut content", "not idx"])
def test_damaged_idx_file_is_named(tmp_path, name, damage):
    write_fashion_mnist(tmp_path)
    path = tmp_path / name
    if damage == "cut gzip":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        with gzip.open(path) as file:
            content = file.read()
        with gzip.open(path, "wb") as file:
            file.write(content[:-7] if damage == "cut content" else b"PNG" + content)
    with pytest.raises(UserError, match=f"{name}.*(truncated|not an idx file).*apt-get install"):
        fashion_mnist.prepare(fashion_mnist.Config(folder=str(tmp_path)))


def test_dataset_file_round_trip(tmp_path):
    dataset = digits.prepare(digits.Config(imbalance_ratio=20))
    dataset_file.write(tmp_path / "d.h5", dataset, "{}", "abc")
    again = dataset_file.read(tmp_path / "d.h5")
    assert again.fingerprint == dataset.fingerprint
    assert again.class_names == dataset.class_names
    assert again.templates == dataset.templates
    dataset_file.write(tmp_path / "e.h5", dataset, "{}", "abc")
    assert (tmp_path / "d.h5").read_bytes() == (tmp_path / "e.h5").read_bytes()


def test_unreadable_dataset_file_says_what_remakes_it(tmp_path):
    (tmp_path / "d.h5").write_bytes(b"not hdf5")
    with pytest.raises(UserError, match="prepare_dataset remakes it"):
        dataset_file.read(tmp_path / "d.h5")


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_every_dataset_offers_the_contract(name):
    plugin = registry.load("datasets", name)
    assert all(callable(getattr(plugin, f)) for f in ("sources", "lead_metric", "prepare", "images"))
    assert plugin.__doc__
