"""The archive of a study of one dataset, two strategies and two rounds, made without running it."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from labelbench.data import label_set
from labelbench.evidence import archive
from labelbench.training import results

FINGERPRINT = "ab" * 16
ENCODER, SELECTOR, TRAINER = "clip", "linear", "flexmatch"
STRATEGIES = ("random", "margin")
PLACE = f"runs/digits/{ENCODER}/{SELECTOR}-{TRAINER}"
ROUND_2 = f"{PLACE}/margin/trial0/round02"
TUNED = f"tuned/digits/{ENCODER}/{SELECTOR}-{TRAINER}.json"


def _labels(counts):
    size = sum(counts)
    rounds = np.repeat(np.arange(1, len(counts) + 1), counts)
    return label_set.LabelSet(np.arange(size), np.arange(size) % 3, rounds, FINGERPRINT, 0)


def members(folder):
    """Content by name of all members but the checksums; `folder` is for files on the way."""
    found = {}
    label_set.write(Path(folder, "labels.h5"), _labels([3, 2]), "{}", "")
    labels = Path(folder, "labels.h5").read_bytes()
    pair = results.pair(_labels([3]), 0)
    for strategy, round_ in [("initial", 1), *((name, 2) for name in STRATEGIES)]:
        record = {
            "dataset": "digits",
            "encoder": ENCODER,
            "selector": SELECTOR,
            "trainer": TRAINER,
            "strategy": strategy,
            "trial": 0,
            "round": round_,
            "num_labels": 1 + 2 * round_,
            "stage": "proxy",
            "model": "",
            "pair": pair,
            "metrics": {"test": {"accuracy": 0.5, "loss": 1.5}, "": {"epochs": 3}},
        }
        place = f"{PLACE}/{strategy}/trial0/round{round_:02d}"
        found[f"{place}/metrics.json"] = json.dumps(record).encode()
        found[f"{place}/cost.json"] = json.dumps({"train_seconds": 1.5, "threads": 1}).encode()
        found[f"{place}/history.csv"] = b"epoch,loss\n1,0.5\n"
        if round_ > 1:
            found[f"{place}/labels.h5"] = labels
    tuned = {
        "dataset": "digits",
        "encoder": ENCODER,
        "selector": SELECTOR,
        "trainer": TRAINER,
        "num_labels": 9,
        "metric": "accuracy",
        "chosen": {"learning_rate": 0.1},
        "candidates": [{"settings": {}, "score": 0.5}],
    }
    found[TUNED] = json.dumps(tuned).encode()
    found[archive.MANIFEST] = json.dumps(manifest()).encode()
    return found


def manifest():
    """What `manifest.json` says."""
    return {
        "format": archive.FORMAT,
        "datasets": {
            "digits": {"fingerprint": FINGERPRINT, "pool_size": 9, "splits": {"pool": 9}, "class_names": ["a", "b"]}
        },
        "tuned": [TUNED],
        "contents": {
            "digits": {
                "lead": "accuracy",
                "runs": [[ENCODER, SELECTOR, TRAINER, strategy] for strategy in STRATEGIES],
                "kinds": dict.fromkeys(STRATEGIES, "batch"),
                "models": [[ENCODER, "passive"]],
                "passive": ["passive"],
                "end_to_end": ["finetune"],
                "trials": 1,
                "evaluations": False,
                "curves": True,
                "costs": True,
                "published": {},
            }
        },
        "definitions": {
            "seed": 0,
            "datasets": {"digits": {"budget": [3, [2], 2], "noise": {}, "views": {"flip": True}}},
            **{kind: {} for kind in ("encoders", "selectors", "trainers", "strategies")},
        },
    }


def write(path, found, **options):
    """Write an archive of these members, with their checksums unless they bring some; the path.

    options: by member name, changes of its `zipfile.ZipInfo`.
    """
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    sums = {archive.CHECKSUMS: json.dumps(sums).encode()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (sums | found).items():
            member = zipfile.ZipInfo(name)
            for field, value in options.get(name, {}).items():
                setattr(member, field, value)
            file.writestr(member, content, zipfile.ZIP_DEFLATED)
    return path
