"""What a trained model leaves for the tables: `metrics.json`, deterministic, and `cost.json`, which is not."""

import hashlib
import math

import numpy as np

from labelbench import jobs


def pair(labels, seed):
    """12 hex digits that all runs to be compared within a trial share: the first round's labels and the study seed."""
    first = labels.round == 1
    h = hashlib.sha256(f"{seed}/{labels.trial}/{labels.fingerprint}".encode())
    h.update(np.stack([labels.index[first], labels.label[first]]).astype("<i8").tobytes())
    return h.hexdigest()[:12]


def write(job, labels, seed, stage, metrics, history, model=""):
    """Write `metrics.json` of a trained model: what it is (from the job's wildcards), its metrics by split, its epochs.

    stage: `proxy` or `finetune`; model: the trainer variant of a fine-tune. `spec` and `code` say what made it, so that
    a result explains itself without Snakemake's metadata.
    """
    at = job.wildcards
    # JSON has no NaN: null stands for "no unlabelled loss in this epoch".
    epochs = [{k: None if math.isnan(v) else v for k, v in epoch.items()} for epoch in history]
    masks = [epoch["mask_rate"] for epoch in epochs if epoch["mask_rate"] is not None]
    training = {"epochs": len(epochs), "steps": epochs[-1]["steps"]}
    if masks:
        training["mask_rate"] = float(np.mean(masks))
    jobs.write_json(
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
            "history": epochs,
            "spec": job.params.spec,
            "code": job.params.code,
        },
    )
