"""What is known of datasets and models before they are read is said before anything runs."""

import copy
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import REPO, merged
from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.data import dataset_file
from labelbench.data.datasets import _variants, digits
from labelbench.planning import plan, sizes

FOLDER = {"folder": "nowhere"}
CIFAR = {"name": "cifar10", **FOLDER}


@functools.cache
def default():
    return yaml.safe_load((REPO / "config/config.yaml").read_text())


def study(settings, **budget):
    """The default study on one dataset `mine`."""
    overlay = {
        "datasets": {"mine": settings},
        "run": {"datasets": ["mine"]},
        "budgets": {"mine": {"initial": 200, "batches": [10], "rounds": 3, **budget}},
    }
    return plan.study(merged(copy.deepcopy(default()), overlay))


@pytest.mark.parametrize(("short", "settings", "words"), [
    ({"size": 5}, {"name": "digits"}, "5 examples by margin are fewer than the batch of 20. Raise its size to 20 or "),
    ({"size": 5}, {"name": "image_folder", **FOLDER}, "than the batch of 20."),  # whatever its size is
    ({"size": 30, "by": ["margin", "random"]}, {"name": "digits"}, "15 examples by each of margin, random are fewer"),
    ({"size": 30, "by": ["margin", "random"]}, {"name": "image_folder", **FOLDER}, None),
    ({"size": 20}, {"name": "digits"}, None),
    # A pool that is no longer than the list is taken whole.
    ({"size": 95, "by": ["margin", "random", "kmeans"]}, {"name": "digits", "pool_size": 300}, None),
    ({"size": 89, "by": ["margin", "random", "kmeans"]}, {"name": "digits", "pool_size": 300}, "than the batch of 35"),
])  # fmt: skip
def test_a_shortlist_that_is_too_short_for_a_batch_is_refused(tmp_path, short, settings, words):
    batch = 35 if "pool_size" in settings else 20
    overlay = {
        "datasets": {"mine": settings},
        "strategies": {"few": {"name": "coreset", "shortlist": short}, "unused": {"name": "badge", "shortlist": short}},
        "run": {"datasets": ["mine"], "strategies": ["random", "few"]},
        "budgets": {"mine": {"initial": 200, "batches": [5, batch], "rounds": 3}},
    }
    study = plan.study(merged(copy.deepcopy(default()), overlay))
    if words is None:
        sizes.check(study, tmp_path)
        return
    with pytest.raises(UserError) as caught:
        sizes.check(study, tmp_path)
    message = str(caught.value)
    assert message.startswith("config, strategies: few: shortlist: ") and words in message
    assert message.endswith("(Round 3 of mine.)")


MATRIX = {"kind": "matrix", "matrix": [[0.9, 0.1], [0.1, 0.9]]}


@pytest.mark.parametrize(
    ("settings", "budget", "words"),
    [
        ({**CIFAR, "n_class": 10}, {}, "config, datasets: mine: n_class 10 merges nothing: there are 10 classes"),
        ({**CIFAR, "n_class": 99}, {}, "n_class 99 merges nothing"),
        ({**CIFAR, "pool_size": 50_001}, {}, "pool_size 50001 is more than the pool has: 50000 images"),
        ({**CIFAR, "imbalance_ratio": 20_000}, {}, "imbalance_ratio 20000 leaves class '10' without an image"),
        ({**CIFAR, "imbalance_ratio": 50, "pool_size": 20_000}, {}, "pool_size 20000 is more than the pool has"),
        ({"name": "digits", "n_class": 11}, {}, "n_class 11 merges nothing"),
        ({"name": "digits", "imbalance_ratio": 200}, {}, "leaves class 'nine' without an image"),
        ({"name": "digits", "pool_size": 1001}, {}, "pool_size 1001 is more than the pool has: 1000"),
        ({"name": "svhn", **FOLDER, "pool_size": 73_258}, {}, "has: 73257 images"),
        ({"name": "imagenet", **FOLDER, "pool_size": 2_000_000}, {}, "has: 1281167 images"),
        ({**CIFAR}, {"batches": [30_000]}, "budget of mine is larger than its pool: 60200 labels in all rounds"),
        ({"name": "digits", "pool_size": 100}, {}, "larger than its pool: 220 labels in all rounds together, of 100"),
        ({**CIFAR, "noise": {"kind": "column"}}, {}, "config, datasets: mine: Noise of kind column asks for a second"),
        ({**CIFAR, "noise": MATRIX}, {}, "has shape (2, 2), but the dataset has 10 classes"),
        ({**CIFAR, "noise": {"kind": "matrix", "matrix": "no.csv"}}, {}, "the file no.csv cannot be read as rows"),
        ({**CIFAR, "n_class": 2, "noise": {"kind": "matrix", "matrix": [[1, 1], [0, 1]]}}, {}, "does not sum to 1"),
    ],
)
def test_what_a_published_dataset_cannot_be(tmp_path, settings, budget, words):
    with pytest.raises(UserError) as caught:
        sizes.check(study(settings, **budget), tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "budget"),
    [
        ({**CIFAR, "n_class": 9, "imbalance_ratio": 100}, {}),
        ({**CIFAR, "n_class": 2, "noise": MATRIX}, {"initial": 2}),
        ({**CIFAR, "imbalance_ratio": 9_000}, {}),
        ({"name": "imagenet", **FOLDER, "n_class": 100, "imbalance_ratio": 100}, {}),
        ({"name": "table", "table": "x.csv", "noise": {"kind": "column"}}, {"initial": 2}),
        ({"name": "image_folder", **FOLDER}, {"initial": 10**6}),
    ],
)
def test_what_may_be_or_is_not_known(tmp_path, settings, budget):
    assert sizes.check(study(settings, **budget), tmp_path) == []


@pytest.mark.parametrize(
    ("settings", "budget", "words"),
    [
        ({"name": "imagenet", **FOLDER}, {}, "buys 200 labels, fewer than its 1000 classes"),
        ({"name": "iwildcam", **FOLDER}, {"initial": 181}, "buys 181 labels, fewer than its 182 classes"),
        ({"name": "caltech256", **FOLDER}, {}, "fewer than its 256 classes"),
        ({"name": "fmow", **FOLDER}, {"initial": 61}, "fewer than its 62 classes"),
        ({"name": "cifar100", **FOLDER}, {"initial": 99}, "fewer than its 100 classes"),
        ({**CIFAR}, {"initial": 9}, "The first round of mine buys 9 labels, fewer than its 10 classes: no model knows"),
    ],
)
def test_a_cold_start_is_noted(tmp_path, settings, budget, words):
    (note,) = sizes.check(study(settings, **budget), tmp_path)
    assert words in note


@pytest.mark.parametrize(
    "variant",
    [{}, {"n_class": 4}, {"imbalance_ratio": 20.0}, {"n_class": 3, "imbalance_ratio": 7.5}, {"pool_size": 77}],
)
def test_sizes_are_those_of_the_prepared_dataset(variant):
    config = digits.Config(**variant)
    made, told = digits.prepare(config), _variants.sizes(config, digits.SIZES)
    assert (told.pool, told.class_names) == (len(made.splits["pool"].labels), made.class_names)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "fashion_mnist", "imagenet", "iwildcam", "fmow"])
def test_published_sizes_add_up(name):
    found = registry.load("datasets", name).SIZES
    pools = {"cifar10": 50_000, "cifar100": 50_000, "svhn": 73_257, "fashion_mnist": 60_000, "imagenet": 1_281_167}
    assert found.pool == pools.get(name, found.pool)
    if found.counts is not None:
        assert (sum(found.counts), len(found.counts)) == (found.pool, len(found.class_names))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "image_folder", **FOLDER}, "config, datasets: mine: The image folder nowhere does not exist"),
        ({"name": "image_folder", "folder": __file__}, "is a file. For a table of paths and labels write"),
        ({"name": "table", "table": "no.csv"}, "config, datasets: mine: The table no.csv does not exist"),
        ({"name": "table", "table": "."}, "is a folder. For one folder of images per class write"),
    ],
)
def test_a_source_that_is_not_there(tmp_path, settings, words):
    with pytest.raises(UserError) as caught:
        sizes.check_sources(study(settings), tmp_path)
    assert words in str(caught.value)


def test_features_that_are_not_there(tmp_path):
    settings = {"name": "features", "features": str(tmp_path / "x.npy"), "label": str(tmp_path / "y.npy")}
    overlay = {"datasets": {"mine": settings}, "run": {"datasets": ["mine"], "finetune": {"trainers": []}}}
    asked = plan.study(merged(copy.deepcopy(default()), overlay))
    for name in ("x.npy", "y.npy"):
        with pytest.raises(UserError, match=f"config, datasets: mine: .*{name} does not exist. Name the file"):
            sizes.check_sources(asked, tmp_path)
        (tmp_path / name).touch()
    sizes.check_sources(asked, tmp_path)


def encoder(**settings):
    """The default study with this encoder."""
    return plan.study(merged(copy.deepcopy(default()), {"encoders": {"mine": settings}, "run": {"encoders": ["mine"]}}))


@pytest.mark.parametrize(
    ("name", "model", "words"),
    [
        ("open_clip", "ViT-B-3", "config, encoders: mine: open_clip knows no model 'ViT-B-3'. Close to it: ViT-B-32"),
        ("open_clip", "resnet50", "open_clip knows no model 'resnet50'"),
        (
            "timm",
            "resnet51",
            "config, encoders: mine: timm knows no model 'resnet51'. Close to it: resnet51q",
        ),
        ("timm", "ViT-B-32", "timm knows no model 'ViT-B-32'"),
    ],
)
def test_models_that_nobody_knows(name, model, words):
    weights = {"pretrained": "openai"} if name == "open_clip" else {"weights": "pretrained"}
    with pytest.raises(UserError) as caught:
        sizes.check_models(encoder(name=name, model=model, **weights))
    assert words in str(caught.value)


# In a process of its own: other tests show models of theirs to open_clip.
LISTED = """
import json, pathlib, sys
from labelbench.common import torchvision_cpu
import open_clip, timm
for module in (open_clip, timm):
    print(json.dumps([str(pathlib.Path(module.__file__).parent), module.list_models()]))
print(json.dumps([name for name in ("adv_inception_v3", "convnext_base_in22k") if timm.is_model(name)]))
"""


def test_models_that_the_packages_know():
    """All that they list, and former names, which they still take."""
    environment = {**os.environ, "PYTHONPATH": str(REPO / "workflow/scripts")}
    done = subprocess.run([sys.executable, "-c", LISTED], env=environment, capture_output=True, text=True, check=True)
    *listed, former = map(json.loads, done.stdout.splitlines())
    for (place, models), package, more in zip(listed, ("open_clip", "timm"), ([], former), strict=True):
        knows, names = sizes._KNOWN[package]
        assert set(names(Path(place))) == set(models)
        assert all(knows(Path(place), name) for name in (*sorted(models)[::50], *more))
    sizes.check_models(encoder(name="timm", model="vit_small_patch14_dinov2.lvd142m", weights="pretrained"))
    sizes.check_models(encoder(name="open_clip", model="ViT-B/32", pretrained="openai"))
    sizes.check_models(encoder(name="open_clip", model="mine", pretrained="a.pt", model_config="mine.json"))


def test_a_prepared_dataset_says_its_sizes_itself(tmp_path):
    settings = {"name": "image_folder", **FOLDER}
    entry = study(settings).datasets["mine"]
    path = tmp_path / "datasets/mine.h5"
    dataset_file.write(path, digits.prepare(digits.Config()), entry.spec, "")
    sizes.check(study(settings), tmp_path)
    sizes.check_sources(study(settings), tmp_path)  # the folder may be gone
    with pytest.raises(UserError, match="budget of mine is larger than its pool: 2020 labels .* of 1000 examples"):
        sizes.check(study(settings, batches=[910]), tmp_path)
    (note,) = sizes.check(study(settings, initial=9), tmp_path)
    assert "buys 9 labels, fewer than its 10 classes" in note
    with pytest.raises(UserError, match=r"has shape \(2, 2\), but the dataset has 10 classes"):
        sizes.check(study({**settings, "noise": MATRIX}), tmp_path)
    # One that was made with other settings says nothing, nor does a broken one.
    assert sizes.check(study({**settings, "val": 0.3}, initial=9), tmp_path) == []
    path.write_bytes(path.read_bytes()[:100])
    assert sizes.check(study(settings, initial=9), tmp_path) == []
