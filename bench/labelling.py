"""Time and memory of a labelling campaign's jobs on a large pool with given embeddings (synthetic).

    python bench/labelling.py --images 1000000 --dimensions 512

Each step runs in a process of its own, one after the other, on one thread; seconds with start-up, and peak memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
CLASSES = [f"class {n}" for n in range(100)]

SETUP = """
import sys, time, types, resource
sys.path.insert(0, {scripts!r})
import numpy as np
from labelbench.common import registry
from labelbench.labelling import campaign, identity, models, proposal, standing
folder, classes = {folder!r}, {classes!r}
trainer = {{"name": "passive", "learning_rate": 3e-3, "batch_size": 64, "epochs": 15, "min_steps_per_epoch": 20}}
settings = types.SimpleNamespace(
    name="large", seed=0, batch=200, audit=200, near_copies=0.98, classes=classes, selector={{"name": "linear"}},
    trainer=trainer, target=95.0, confidence=95.0, looks=10, budget=0, price=0.0, mistake=0.0, currency="USD")
images_csv, clean, answers = (f"{{folder}}/{{n}}" for n in ("images.csv", "clean.h5", "answers.csv"))
"""

MAKE = """
from labelbench.common import hdf5
from labelbench.embedding import embeddings
import h5py
rng = np.random.default_rng(0)
images = [identity.Image(f"{{n:064x}}", f"{{n // 1000}}/{{n}}.jpg") for n in range({count})]
identity.write_index(images_csv, images)
centres = rng.normal(0, 1, (100, {dim})).astype(np.float32)
with hdf5.create(clean) as file:
    out = embeddings.create(file, "pool", {count}, {dim})
    for begin in range(0, {count}, 50000):
        end = min(begin + 50000, {count})
        label = np.arange(begin, end) % 100
        out[begin:end] = centres[label] + 2 * rng.normal(0, 1, (end - begin, {dim})).astype(np.float32)
    file["mean"], file["std"] = np.zeros({dim}, np.float32), np.full({dim}, 2.2, np.float32)
    file["embedded"] = np.ones({count}, bool)
    embeddings.describe(file, {{"view": "clean", "fingerprint": identity.fingerprint(images)}})
"""

READ = """
images = identity.read_index(images_csv)
space = models.space(clean, [], identity.fingerprint(images))
state = campaign.state(campaign.batches(folder), campaign.read_answers(answers), 0)
def model():
    last = state.rounds[-1]
    index = [int(name, 16) for name in last.labels]
    return models.train(space, vars(settings), index, [classes.index(c) for c in last.labels.values()], 100, 1)
"""

FIRST = (
    """
import pathlib
identity.write_table(answers, campaign.ANSWERS, [])
"""
    + READ
    + """
strategy, config = registry.configured("strategies", {{"name": {first!r}}})
batch = proposal.propose(images, state, space, None, settings, strategy, config, 1)
place = pathlib.Path(folder, "batch01"); place.mkdir(exist_ok=True)
campaign.write_batch(place / "batch.json", batch)
given = [campaign.Answered(a.sha256, "label", classes[int(a.sha256, 16) % 100]) for a in batch.images]
campaign.write_answers(answers, given, images)
"""
)

NEXT = (
    READ
    + """
strategy, config = registry.configured("strategies", {{"name": {strategy!r}}})
batch = proposal.propose(images, state, space, model(), settings, strategy, config, 2)
assert len(batch.images) == 200
"""
)

TRAIN = READ + "model()\n"

ASSESS = (
    READ
    + """
found, _ = standing.status(images, folder, state, space, {{1: model()}}, settings, 0, folder)
"""
)

END = """
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
"""


def run(name, code, values):
    """Run a step; prints its wall seconds and its peak memory."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = "import time; began = time.perf_counter()\n" + (SETUP + code).format(**values) + END
    program += "print(time.perf_counter() - began)\n"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, text=True, stdout=subprocess.PIPE, check=True
    )
    memory, seconds = map(float, done.stdout.split()[-2:])
    print(f"{name:28} {seconds:8.1f} s {memory:6.1f} GB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--first", default="kmeans")
    parser.add_argument("--strategies", nargs="+", default=["margin", "badge"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        values = {"scripts": str(REPO / "workflow/scripts"), "folder": folder, "classes": CLASSES,
                  "count": options.images, "dim": options.dimensions, "first": options.first}  # fmt: skip
        run("(making the pool)", MAKE, values)
        run(f"first batch, {options.first}", FIRST, values)
        run("train on 100 labels", TRAIN, values)
        for strategy in options.strategies:
            run(f"next batch, {strategy}", NEXT, {**values, "strategy": strategy})
        run("assess", ASSESS, values)


if __name__ == "__main__":
    main()
