"""CIFAR-10 (Krizhevsky 2009): 60,000 colour photos, 32×32, of 10 classes, from the archive for Python."""

from labelbench.data.datasets import _cifar, _variants
from labelbench.data.datasets._cifar import Config  # noqa: F401

SIZES = _variants.even(10, 5_000)
LAYOUT = _cifar.Layout(
    title="CIFAR-10",
    archive="cifar-10-python.tar.gz",
    folder="cifar-10-batches-py",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
    meta={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
    labels="labels",
    names="label_names",
)


def sources(config):
    """Paths of the seven files."""
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
