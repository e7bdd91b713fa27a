"""Results as the authors keep them: pickles of plain dicts and lists in their folders."""

import pickle
from pathlib import Path


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
