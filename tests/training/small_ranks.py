"""Trainings of the tests of several ranks: each of them by name, in one process or as one rank of several.

As a script it trains the named ones in the rank that it is, and the first rank writes all results as JSON.
"""

import contextlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

if __name__ == "__main__":
    tests = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(tests.parent / "workflow/scripts"), str(tests), str(tests / "training")]

import numpy as np
import torch
from PIL import Image

import small_trainings
from labelbench.common import ranks, registry, torchvision_cpu  # noqa: F401
from labelbench.data import label_set
from labelbench.embedding import embedder, images
from labelbench.embedding.workers import Workers
from labelbench.training import training

torch.set_num_threads(1)


class Stop(Exception):
    pass


class StoppedViews:
    """Views that fail before the last step of the second epoch."""

    def __init__(self, views):
        self._views = views

    def batches(self, epoch, first_step, plan):
        for number, batch in enumerate(self._views.batches(epoch, first_step, plan)):
            if (epoch, number) == (1, len(plan) - 1):
                raise Stop
            yield batch


class Tower(torch.nn.Module):
    """Layers that let no example see another, or one BatchNorm among them."""

    def __init__(self, norm):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            # Without a bias, which BatchNorm would take away: its gradient is the noise of rounding.
            layers = torch.nn.Linear(8, 16, bias=False), norm(16), torch.nn.GELU(), torch.nn.Linear(16, 4)
            self.layers = torch.nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.float())


SEMI = {"supervised_warmup": 0.1, "unlabelled_ratio": 3}
# What no other trainer has: per class or over the batch as a whole.
TRAININGS = {
    "passive": {"mixup": 0.5, "class_weights": True, "label_smoothing": 0.1, "max_gradient_norm": 0.5},
    "pseudolabel": SEMI,
    "uda": SEMI,
    "fixmatch": SEMI,
    "flexmatch": SEMI | {"threshold": 0.7},
    "freematch": SEMI | {"fairness_weight": 0.5},
    "softmatch": SEMI,
}


def trained(name, norm=torch.nn.LayerNorm, parts=1, checkpoint=None, labelled=21, stopped=False, **settings):
    """(weights, history) of a training whose batches are not all of one size; in each rank the same.

    stopped: whether it fails on its way, and leaves its checkpoint.
    """
    _, views, _, truth, (batches, val) = small_trainings.a_problem(labelled=labelled)
    labels = label_set.empty("f", 0).extended(np.arange(labelled), truth[:labelled], 1)
    trainer, model = registry.load("trainers", name), Tower(norm)
    config = trainer.Config(
        **{"epochs": 3, "batch_size": 8, "min_steps_per_epoch": 7, "learning_rate": 0.02, "patience": 0}
        | TRAININGS[name]
        | settings
    )

    def of_rank():
        (x,) = batches()
        return x[ranks.dealt(len(x), 32)].split(32)

    if stopped:
        views = StoppedViews(views)
    history = training.fit(
        model, trainer, config, views, labels, 300, 4, (of_rank, val), np.random.default_rng(5), small_trainings.LOG,
        truth=truth, checkpoint=checkpoint, identity="a", parts=parts,
    )  # fmt: skip
    return {name: value.tolist() for name, value in model.state_dict().items()}, history


CASES = {
    **{name: {"name": name} for name in TRAININGS},
    "flexmatch with BatchNorm": {"name": "flexmatch", "norm": "BatchNorm1d"},
    "passive with BatchNorm": {"name": "passive", "norm": "BatchNorm1d", "batch_size": 10},
    "freematch in parts": {"name": "freematch", "parts": 3},
    "fewer examples than ranks": {"name": "passive", "labelled": 9},
    "no example of a BatchNorm for a rank": {"name": "passive", "norm": "BatchNorm1d", "labelled": 10},
}
RESUMED = {"name": "freematch", "patience": 2}


def run(name, norm="LayerNorm", **settings):
    return trained(name, norm=getattr(torch.nn, norm), **settings)


def stopped(checkpoint):
    """Train up to where views fail."""
    with contextlib.suppress(Stop):
        run(**RESUMED, checkpoint=checkpoint, stopped=True)


class Scaled:
    """The transform of an encoder of pictures as they are."""

    transforms = ("scaled",)

    def __call__(self, image):
        return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def embed(folder, view):
    """Write the embeddings of 300 noisy images by an encoder that averages them."""
    splits = {name: SimpleNamespace(source=np.arange(at, 300)) for name, at in (("pool", 0), ("test", 290))}
    encoder = SimpleNamespace(
        embed=lambda x: x.mean((2, 3)), dim=3, weights_hash="w", precision="float32", transform=Scaled()
    )
    data = images.Data(SimpleNamespace(splits=splits, fingerprint="f"), encoder, a_picture, "cpu", Workers(0))
    views = SimpleNamespace(
        weak_and_strong=lambda image, seed: [encoder.transform(image) * factor for factor in (seed % 7, 2)],
        finish=lambda batch: batch,
    )
    return embedder.embed(folder / f"{view}.h5", data, view, None if view == "clean" else views, {})


def a_picture(at):
    return Image.fromarray(np.random.default_rng(at).integers(0, 256, (8, 8, 3), dtype=np.uint8))


if __name__ == "__main__":
    ranks.settle()
    ranks.join("cpu")
    folder = Path(sys.argv[1])
    found = {case: run(**settings) for case, settings in CASES.items()}
    found["resumed"] = run(**RESUMED, checkpoint=folder / "of_one")
    stopped(folder / "of_two")
    found["embedded"] = [embed(folder, view) for view in ("clean", "aug0")]
    ranks.leave()
    (folder / "found.json").write_text(json.dumps(found))
