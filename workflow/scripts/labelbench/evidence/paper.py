"""The LabelBench paper's printed values (resources/published/), and which of its settings a study repeats.

Asked while the Snakefile is parsed: nothing heavy here.
"""

import csv
import functools
from pathlib import Path

SCORES = Path(__file__).resolve().parents[4] / "resources/published/scores.csv"
ENCODERS = {("ViT-B-32", "openai"): "clip_vitb32", ("coca_ViT-B-32", "laion2b_s13b_b90k"): "coca_vitb32"}
SELECTORS = ("linear", "shallow", "finetune")
TRAINER = "flexmatch"


@functools.cache
def cells():
    """The printed cells: dicts with the columns of `scores.csv`, numbers as the texts they were printed as."""
    with SCORES.open(newline="") as file:
        return list(csv.DictReader(file))


def printed(dataset, batch):
    """Whether there are cells of a dataset, by the paper's name, with that many labels per round."""
    return any(cell["dataset"] == dataset and cell["batch"] == str(batch) for cell in cells())


def setting(dataset, noise, schedule, encoders, selectors, trainers, strategies):
    """What `published.comparison` has to know: names here → names there; empty where this is no setting of the paper's.

    dataset: a `plan.Entry`; noise: its annotator's mistakes; schedule: a `plan.Schedule`; the others: entries by name,
    those of selectors without the ones that blend. The paper's data sets are whole; its iWildCam has 14 classes.
    """
    config = dataset.config
    variant = (
        getattr(config, "n_class", None),
        getattr(config, "imbalance_ratio", 1),
        getattr(config, "pool_size", None),
    )
    published = variant == ((14 if dataset.name == "iwildcam" else None), 1, None) and not noise
    steady = set(schedule.batches) == {schedule.initial}
    if not (published and steady and printed(dataset.name, schedule.initial)):
        return {}
    models = {
        name: (getattr(entry.config, "model", None), getattr(entry.config, "pretrained", None))
        for name, entry in encoders.items()
        if entry.name == "open_clip"
    }
    found = {
        "dataset": dataset.name,
        "encoders": {name: ENCODERS[model] for name, model in models.items() if model in ENCODERS},
        "selectors": {name: entry.name for name, entry in selectors.items() if entry.name in SELECTORS},
        "trainers": [name for name, entry in trainers.items() if entry.name == TRAINER],
        "strategies": {name: entry.name for name, entry in strategies.items()},
    }
    return found if all(found.values()) else {}


def repeated(setting, runs, models):
    """Whether cells can be held against any of these runs and final models, as in `contents.Contents`."""
    finals = {encoder for encoder, model in models if model in setting.get("trainers", ())}
    return bool(setting) and any(
        trainer in setting["trainers"]
        and encoder in setting["encoders"]
        and selector in setting["selectors"]
        and (encoder in finals or setting["selectors"][selector] == "finetune")
        for encoder, selector, trainer, _ in runs
    )
