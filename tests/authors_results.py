"""Results as the authors keep them: pickles of plain dicts and lists in their folders."""

import itertools
import pickle
from pathlib import Path

from labelbench.selection.initial import SEEDS


def write_run(folder, curves, labels=None):
    """Write one of their files, `folder` with the file's name: a run with its labels, or an evaluation without."""
    path = Path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(curves if labels is None else [curves, labels]))
    return path


def place(dataset, batch, embed, model, trainer, evaluated, strategy, seed):
    """Path of a run in their folder `results`; `embed` is an encoder, "none", or "proxy:" with a selector."""
    if evaluated:
        folder = f"{dataset}_eval/bs_{batch}/proxy_{embed}/model_{model}/trainer_{trainer}_eval_trainer_{evaluated}"
        return f"{folder}/{strategy}_{seed}.pkl"
    return f"{dataset}/bs_{batch}/embed_{embed}/model_{model}/trainer_{trainer}/{strategy}_sampling_{seed}.pkl"


def from_curves(table, folder):
    """Write all runs of a table of their curves, one row per value, with the columns dataset, batch_size, embed_model,
    model, trainer, eval_trainer, strategy, seed, num_labeled, metric and value."""
    keys = ["dataset", "batch_size", "embed_model", "model", "trainer", "eval_trainer", "strategy", "seed"]
    for (*about, evaluated, strategy, seed), rows in table.fillna({"eval_trainer": ""}).groupby(keys):
        dataset, batch, embed, model, trainer = about
        embed = embed.removeprefix("proxy:").split("(")[0]
        values = rows.pivot_table(index="num_labeled", columns="metric", values="value")
        curves = {name: [None if v != v else v for v in column.tolist()] for name, column in values.items()}
        curves["Num Labeled"] = values.index.tolist()
        path = Path(folder, place(dataset, batch, embed, model, trainer, evaluated, strategy, seed))
        write_run(path, curves, None if evaluated else [])


def curves(gain, trial, rounds=3, extra=0):
    """Metrics of one run in their names; `extra` labels are bought beyond each batch."""
    accuracy = [0.8 + 0.02 * k + gain * k + 0.001 * trial for k in range(rounds)]
    return {
        "Num Labeled": [1000 * (k + 1) + extra * k for k in range(rounds)],
        "Test Accuracy": accuracy,
        "Pool Accuracy": [a - 0.01 for a in accuracy],
        "Test Macro F1": [None] * rounds,
        "Test Loss": ["NaN"] * rounds,
        "Min Class Test Accuracy": [0.0] * rounds,
        "_runtime": [60.0 * (k + 1) for k in range(rounds)],
    }


def a_clone(folder):
    """A clone's `results`: two selectors and end to end, evaluations of one selector, three strategies, two trials."""
    kinds = [("clip_ViTB32", "linear", ""), ("clip_ViTB32", "shallow", ""), ("none", "clip_ViTB32", "")]
    kinds.append(("shallow", "clip_ViTB32", "flexmatch"))
    gains = {"random": 0.0, "margin": 0.01, "badge": 0.005}
    for (embed, model, evaluated), strategy, trial in itertools.product(kinds, gains, (0, 3)):
        path = place("cifar10", 1000, embed, model, "flexmatch", evaluated, strategy, SEEDS[trial])
        labels = None if evaluated else list(range(trial, 3000 + trial))
        values = curves(gains[strategy], trial, extra=strategy == "badge")
        if model == "shallow":  # a proxy is less than the encoder fine-tuned on its labels
            values["Test Accuracy"] = [value - 0.01 for value in values["Test Accuracy"]]
        write_run(folder / path, values, labels)
    return folder
