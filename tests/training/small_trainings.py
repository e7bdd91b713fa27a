"""Small trainings on Gaussian classes, for the tests of the loop and of the trainers."""

import logging

import numpy as np
import torch

from labelbench.data import label_set
from labelbench.training import proxy, training

LOG = logging.getLogger("test")


def a_problem(n=300, d=8, classes=4, labelled=24, seed=0, separation=2.0):
    """Gaussian classes as float16 embeddings: (clean, views, label set, true labels, validation)."""
    rng = np.random.default_rng(seed)
    centres = separation * rng.normal(size=(classes, d))

    def draw(labels, noise=1.0):
        return (centres[labels] + noise * rng.normal(size=(len(labels), d))).astype(np.float16)

    truth, val_labels = rng.integers(classes, size=n), rng.integers(classes, size=100)
    clean = draw(truth)
    views = training.CachedViews([clean + np.float16(0.01), clean], [draw(truth), draw(truth)], "cpu")
    labels = label_set.empty("f", 0).extended(np.arange(labelled), truth[:labelled], 1)
    val = torch.from_numpy(draw(val_labels))
    return clean, views, labels, truth, (lambda: [val], val_labels)


def a_proxy(clean, classes=4, name="linear"):
    x = clean.astype(np.float32)
    return proxy.build({"name": name}, x.mean(0), x.std(0), classes, seed=3)


def fitted(trainer, seed=5, name="linear", problem=None, classes=4, **settings):
    """(model, history, clean embeddings, true labels) of a training; what `fit` takes besides goes there."""
    clean, views, labels, truth, validation = problem or a_problem(classes=classes)
    more = {key: settings.pop(key) for key in ("truth", "checkpoint", "identity") if key in settings}
    model = a_proxy(clean, classes, name)
    config = trainer.Config(
        **{"epochs": 6, "min_steps_per_epoch": 10, "patience": 0, "batch_size": 16, "learning_rate": 0.02} | settings
    )
    rng = np.random.default_rng(seed)
    history = training.fit(
        model, trainer, config, views, labels, len(clean), classes, validation, rng, LOG, **more
    )  # fmt: skip
    return model, history, clean, truth


def accuracy(model, clean, truth):
    return float((model(torch.from_numpy(clean)).argmax(1).numpy() == truth).mean())
