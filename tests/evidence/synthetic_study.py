"""Studies with known shape for the tests of tables and figures: files as the jobs leave them, in a folder."""

import itertools
import json
import math
from pathlib import Path

import numpy as np

GAIN = {"random": 0.0, "margin": 0.55, "badge": 0.45, "entropy": 0.2, "confidence": 0.4, "coreset": -0.35}
KINDS = dict.fromkeys(GAIN, "batch")
ERROR = {"passive": 1.3, "fixmatch": 1.04, "uda": 1.1, "finetune": 0.9}  # of trainers and selectors; others 1
SECONDS = {"finetune": 40.0, "shallow": 2.5}  # training of a selector's model; others 1.5


def record(**changes):
    """One metrics record with every field; `changes` replace some."""
    identity = {
        "dataset": "digits",
        "encoder": "glyphclip",
        "selector": "linear",
        "trainer": "flexmatch",
        "strategy": "initial",
        "trial": 0,
        "round": 1,
        "num_labels": 30,
        "stage": "proxy",
        "model": "",
        "pair": "p0",
        "metrics": {"test": {"accuracy": 0.5}},
        "spec": {},
        "code": "",
    }
    return {**identity, **changes}


def write(
    folder,
    datasets=("digits", "digits_longtail"),
    strategies=("random", "margin", "badge"),
    trials=4,
    labels=(30, 40, 50, 60, 70, 80),
    settings=(("linear", "flexmatch"),),
    finetune=("flexmatch", "passive"),
    zero_shot=0.87,
    noise=0.006,
):
    """Write metrics.json, cost.json, select_cost.json and zero-shot files of a study; their three lists of paths.

    Error rates fall as a power of the labels, faster for strategies with a gain. A trial shifts all strategies alike,
    as a shared start does. `settings` are (selector, trainer). The fine-tuned models stand at the first and the last
    round. A selector called blend refreshes its embeddings in round 3.
    """
    folder = Path(folder)
    metrics_files, cost_files, zero_shot_files = [], [], []

    def leave(content, cost, select_cost=None):
        path = folder / "-".join(
            str(content[k]) for k in ("dataset", "selector", "trainer", "strategy", "trial", "round", "stage", "model")
        )
        path.mkdir(parents=True)
        for name, values in (("metrics", content), ("cost", cost), ("select_cost", select_cost)):
            if values is not None:
                (path / f"{name}.json").write_text(json.dumps(values))
                (metrics_files if name == "metrics" else cost_files).append(str(path / f"{name}.json"))

    for (d, dataset), trial, (i, setting) in itertools.product(enumerate(datasets), range(trials), enumerate(settings)):
        luck = np.random.default_rng([d, trial]).normal(0, noise)
        factor = math.prod(ERROR.get(name, 1.0) for name in setting)
        identity = {"dataset": dataset, "selector": setting[0], "trainer": setting[1], "pair": f"{dataset}-{trial}"}
        for s, strategy in enumerate(strategies):
            rng = np.random.default_rng([d, trial, s, 7 + i])
            for round_, n in enumerate(labels, start=1):
                if round_ == 1 and s > 0:
                    continue
                share = (n - labels[0]) / n
                error = 0.12 * factor * (n / labels[0]) ** -0.8 / (1 + GAIN[strategy] * share)
                stages = [("proxy", "", 0.0)]
                if round_ in (1, len(labels)):
                    stages += [("finetune", m, 0.01 - 0.025 * i) for i, m in enumerate(finetune)]
                if setting[0] == "blend" and round_ == 3:
                    stages.append(("refresh", "", 0.01))
                for stage, model, lift in stages:
                    test = 1 - error + lift + luck + rng.normal(0, noise)
                    pool = 1 - 0.8 * error * (1 - n / 1000) + lift + luck + rng.normal(0, noise / 2)
                    content = record(
                        **identity,
                        strategy="initial" if round_ == 1 else strategy,
                        trial=trial,
                        round=round_,
                        num_labels=n,
                        stage=stage,
                        model=model,
                        metrics={
                            "test": _kinds(test) | {"loss": 2 * max(1 - test, 0.0)},
                            "val": _kinds(test - 0.003),
                            "pool": {f"pool_{k}": v for k, v in _kinds(pool).items()}
                            | {"pool_model_accuracy": min(pool, 1.0) - 0.004},
                            "": {"mask_rate": 0.8, "epochs": 12},
                        },
                    )
                    cost = {"train_seconds": SECONDS.get(setting[0], 1.5), "peak_memory_mb": 400.0}
                    if stage != "proxy":
                        cost["train_seconds"] = 40.0
                    if stage == "refresh":
                        cost["embed_seconds"] = 5.0
                    bought = {"select_seconds": 0.2, "peak_memory_mb": 300.0}
                    leave(content, cost, bought if stage == "proxy" and round_ > 1 else None)
    for dataset in datasets:
        if zero_shot is not None:
            path = folder / f"{dataset}-zero_shot.json"
            content = {"dataset": dataset, "encoder": "glyphclip", "metrics": {"test": _kinds(zero_shot)}}
            path.write_text(json.dumps(content))
            zero_shot_files.append(str(path))
    return metrics_files, cost_files, zero_shot_files


def _kinds(accuracy):
    accuracy = min(accuracy, 0.9999)
    return {
        "accuracy": accuracy,
        "balanced_accuracy": accuracy - 0.01,
        "macro_f1": accuracy - 0.012,
        "worst_class_accuracy": accuracy - 0.2,
    }


def table(folder, **kwargs):
    """The study's table of metrics as the workflow reads it (`study.load`)."""
    from labelbench.evidence import study

    strategies = kwargs.get("strategies", ("random", "margin", "badge"))
    settings = kwargs.get("settings", ())
    order = {"strategy": strategies, "model": kwargs.get("finetune", ())}
    order |= {column: dict.fromkeys(pair[i] for pair in settings) for i, column in enumerate(("selector", "trainer"))}
    rows = study.read(*write(folder, **kwargs))
    study.write(study.in_order(study.share_first_round(rows, strategies), order), Path(folder) / "metrics.csv")
    return study.load(Path(folder) / "metrics.csv")
