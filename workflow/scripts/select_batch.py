"""Label set and proxy of the round before + clean embeddings → label set of this round."""

import json

import numpy as np

from labelbench import dataset_file, embeddings, jobs, label_set, registry, seeds
from labelbench.errors import UserError
from labelbench.oracle import Oracle
from labelbench.pool import Pool

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)
trial, round_ = int(job.wildcards.trial), int(job.wildcards.round)
dataset = dataset_file.read(job.input.dataset)
labels = label_set.read(job.input.labels, dataset)
strategy, config = registry.configured("strategies", spec["strategy"])
true_labels = dataset.splits["pool"].labels
budget, left = spec["budget"], len(true_labels) - len(labels.index)
if budget > left:
    raise UserError(
        f"Round {round_} of {job.wildcards.dataset} buys {budget} labels, but only {left} of the pool's "
        f"{len(true_labels)} examples are unlabelled. Lower batches or rounds under `budgets` in the config."
    )

if strategy.USES_MODEL:
    with jobs.slow_imports():
        import torch

        from labelbench import proxy

watch = jobs.Stopwatch()
if strategy.USES_MODEL:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = proxy.load(job.input.proxy).to(device)
    clean = embeddings.read(job.input.clean, "pool", dataset.fingerprint)

    @torch.inference_mode()
    def outputs(indices):
        features = model.features(torch.from_numpy(clean[indices]).to(device))
        return features, model.head(features).softmax(1)
else:
    device, outputs = "cpu", None

pool = Pool(
    labelled=labels.index,
    labels=labels.label,
    unlabelled=np.setdiff1d(np.arange(len(true_labels)), labels.index),
    num_classes=dataset.num_classes,
    outputs=outputs,
    device=device,
)
rng = seeds.generator(spec["seed"], trial, round_, "selection")
chosen = strategy.select(pool, budget, config, rng)
cost = {
    "startup_seconds": watch.startup,
    "select_seconds": watch.seconds(),
    "peak_memory_mb": watch.peak_memory_mb(),
}
bought = labels.extended(chosen, Oracle(true_labels, budget).buy(chosen), round_)
if len(chosen) != budget:
    raise ValueError(f"the strategy chose {len(chosen)} examples for a budget of {budget}")
jobs.write_json(job.output.cost, cost)
with jobs.written_whole(job.output.labels) as part:
    label_set.write(part, bought, job.params.spec, job.params.code)
log.info("chose %d of %d unlabelled examples in %.3f s", budget, left, cost["select_seconds"])
