"""The label set of round 1: drawn at random, shared by every strategy and selector of the trial."""

import json

from labelbench import dataset_file, jobs, label_set, seeds
from labelbench.errors import UserError
from labelbench.oracle import Oracle

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)
trial = int(job.wildcards.trial)
dataset = dataset_file.read(job.input.dataset)
pool = dataset.splits["pool"].labels
budget, name = spec["initial"], job.wildcards.dataset
if job.params.total > len(pool):
    raise UserError(
        f"The budget of {name} is larger than its pool: {job.params.total} labels in all rounds together, of "
        f"{len(pool)} examples. Lower initial, batches or rounds under `budgets` in the config."
    )
if budget < dataset.num_classes:
    raise UserError(
        f"The first round of {name} buys {budget} labels, fewer than its {dataset.num_classes} classes. "
        "Raise `initial` under `budgets` in the config."
    )
chosen = seeds.generator(spec["seed"], trial, 1, "initial").choice(len(pool), budget, replace=False)
labels = label_set.empty(dataset.fingerprint, trial)
labels = labels.extended(chosen, Oracle(pool, budget).buy(chosen), round_=1)
with jobs.written_whole(job.output[0]) as part:
    label_set.write(part, labels, job.params.spec, job.params.code)
log.info("bought %d of %d labels", budget, len(pool))
