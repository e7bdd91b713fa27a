"""CIFAR-100 (Krizhevsky 2009): 60,000 colour photos, 32×32, of 100 (fine) classes, from the archive for Python."""

from labelbench.data.datasets import _cifar, _variants
from labelbench.data.datasets._cifar import Config  # noqa: F401

SIZES = _variants.even(100, 500)
LAYOUT = _cifar.Layout(
    title="CIFAR-100",
    archive="cifar-100-python.tar.gz",
    folder="cifar-100-python",
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    meta={"meta": "7973b15100ade9c7d40fb424638fde48"},
    labels="fine_labels",
    names="fine_label_names",
)


def sources(config):
    """Paths of the three files."""
    return [str(path) for path in LAYOUT.paths(config)]


def lead_metric(config):
    """The metric that leads the dataset's tables."""
    return _variants.lead_metric(config)


def prepare(config):
    """The `Dataset`: pool 50,000, validation 5,000, test 5,000."""
    return _cifar.prepare(config, LAYOUT)


def images(config):
    """A function from a source position to a PIL image, 32×32, RGB."""
    return _cifar.images(config, LAYOUT)
