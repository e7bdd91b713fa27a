"""What a trained model leaves for the tables: `metrics.json`, `history.csv`, both deterministic, and `cost.json`."""

import csv
import hashlib
import math
import shutil
from pathlib import Path

import numpy as np

from labelbench.common import jobs, json_files
from labelbench.common.errors import UserError
from labelbench.training import collapse


def pair(labels, seed):
    """12 hex digits that all runs to be compared within a trial share: the first round's labels and the study seed."""
    first = labels.round == 1
    h = hashlib.sha256(f"{seed}/{labels.trial}/{labels.fingerprint}".encode())
    h.update(np.stack([labels.index[first], labels.label[first]]).astype("<i8").tobytes())
    return h.hexdigest()[:12]


def write(job, labels, seed, stage, metrics, history, settings, model=""):
    """Write `metrics.json` of a trained model: what it is (from the job's wildcards), its metrics by split; and
    `history.csv`, the records of `training.fit`, one line per epoch, whose digest the metrics hold.

    stage: `proxy`, `refresh` or `finetune`; model: the trainer variant of a fine-tune. `spec` and `code` say what made
    it, so that a result explains itself without Snakemake's metadata; settings: the trainer's, which differ from the
    spec's where they were tuned.
    """
    at = job.wildcards
    masks = [epoch["mask_rate"] for epoch in history if not math.isnan(epoch["mask_rate"])]
    training = {"epochs": len(history), "steps": history[-1]["steps"], "collapsed": collapse.collapsed(history)}
    if masks:
        training["mask_rate"] = float(np.mean(masks))
    with jobs.written_whole(job.output.history) as part, part.open("w", newline="") as file:
        table = csv.DictWriter(file, history[0], lineterminator="\n")
        table.writeheader()
        # An empty cell: no unlabelled loss in this epoch.
        table.writerows({k: "" if math.isnan(v) else v for k, v in epoch.items()} for epoch in history)
    jobs.write_result(
        job.output.metrics,
        {
            "dataset": at.dataset,
            "encoder": at.encoder,
            "selector": at.selector,
            "trainer": at.trainer,
            "strategy": at.strategy,
            "trial": int(at.trial),
            "round": int(at.round),
            "num_labels": len(labels.index),
            "stage": stage,
            "model": model,
            "pair": pair(labels, seed),
            "metrics": {**metrics, "": training},
            "settings": settings,
            "spec": job.params.spec,
            "code": job.params.code,
            "history": _sha256(job.output.history),
        },
    )


def _sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def history_of(metrics):
    """The `history.csv` beside a `metrics.json`, which holds its digest. Raises `UserError` where it is another."""
    found, history = json_files.read(metrics), Path(metrics).with_name("history.csv")
    if not history.exists() or found.get("history", _sha256(history)) != _sha256(history):
        raise UserError(
            f"{history} is not the one that was written with {metrics}. Delete it, so that its job runs again."
        )
    return history


def take_over(job, metrics, stage, model):
    """Write what `write` would for a model that this run has trained already, under another stage.

    metrics: the file `metrics.json` of the model, with its `history.csv` and `cost.json` beside it.
    """
    history_of(metrics)
    jobs.write_result(job.output.metrics, {**json_files.read(metrics), "stage": stage, "model": model})
    for path in map(Path, (job.output.history, job.output.cost)):
        with jobs.written_whole(path) as part:
            shutil.copyfile(Path(metrics).with_name(path.name), part)
