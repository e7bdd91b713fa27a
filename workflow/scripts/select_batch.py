"""Label set and proxy of the round before + clean embeddings → label set of this round."""

import importlib
import json
from dataclasses import replace

import numpy as np

from labelbench.common import gpu_memory, jobs, registry, seeds
from labelbench.common.errors import UserError
from labelbench.data import annotator, dataset_file, label_set
from labelbench.data.oracle import Oracle
from labelbench.embedding import embeddings
from labelbench.selection import temporaries
from labelbench.selection.pool import Head, Pool

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)
trial, round_ = int(job.wildcards.trial), int(job.wildcards.round)
dataset = dataset_file.read(job.input.dataset)
labels = label_set.read(job.input.labels, dataset)
settings = dict(spec["strategy"])
short = settings.pop("shortlist", None)
# By name, so that its code concerns those alone that have one (`specs.select_code`).
shortlist = importlib.import_module("labelbench.selection.shortlist") if short else None
strategy, config = registry.configured("strategies", settings)
true_labels = dataset.splits["pool"].labels
budget, left = spec["budget"], len(true_labels) - len(labels.index)
if budget > left:
    raise UserError(
        f"Round {round_} of {job.wildcards.dataset} buys {budget} labels, but only {left} of the pool's "
        f"{len(true_labels)} examples are unlabelled. Lower batches or rounds under `budgets` in the config."
    )

# The rule names a model where the strategy looks at one.
if job.input.proxy:
    with jobs.slow_imports():
        import torch

        from labelbench.training import proxy

watch = jobs.Stopwatch()
pool = Pool(
    labelled=labels.index,
    labels=labels.label,
    unlabelled=np.setdiff1d(np.arange(len(true_labels)), labels.index),
    num_classes=dataset.num_classes,
)
if job.input.proxy:
    torch.set_grad_enabled(False)
    device = jobs.device(job)
    model = proxy.load(job.input.proxy).to(device)
    clean = embeddings.read(job.input.clean, "pool", dataset.fingerprint)
    pool = replace(
        pool,
        embed=lambda indices: model.features(torch.from_numpy(clean[indices]).to(device)),
        classify=lambda _, features: model.head(features).softmax(1),
        head=Head(model.head.weight, model.head.bias),
        device=device,
    )
given = annotator.of_trial(dataset, spec.get("noise"), spec["seed"], trial)
extra = {}
if getattr(strategy, "UPPER_BOUND", False):
    if (true_labels < 0).any():
        raise UserError(
            f"{spec['strategy']['name']} looks at the true labels of all of the pool, and "
            f"{(true_labels < 0).sum()} images of {job.wildcards.dataset} have none. Leave the strategy out of this "
            "study, or fill the labels in."
        )
    extra["true_labels"] = true_labels


def selected(divisor):
    """The batch, and the oracle that has sold it or will: with temporaries that are so many times smaller."""
    oracle = Oracle(given, budget, dataset.splits["pool"].source)
    needs = extra | ({"oracle": oracle} if getattr(strategy, "SEQUENTIAL", False) else {})
    smaller = pool if divisor == 1 else replace(pool, chunk_size=pool.chunk_size // divisor)
    rng = seeds.generator(spec["seed"], trial, round_, "selection")
    with temporaries.divided(divisor):
        if short:
            smaller = shortlist.shortened(smaller, budget, shortlist.Config(**short), rng)
        return strategy.select(smaller, budget, config, rng, **needs), oracle


chosen, oracle = gpu_memory.fitted(selected)
cost = watch.cost(job, pool.device if job.input.proxy else "cpu", select_seconds=watch.seconds())
if not getattr(strategy, "SEQUENTIAL", False):
    oracle.buy(chosen)
if len(chosen) != budget or oracle.bought != chosen.tolist():
    raise ValueError(f"the strategy chose {len(chosen)} examples, the oracle sold {len(oracle.bought)} of {budget}")
bought = labels.extended(chosen, oracle.answers, round_)
jobs.write_result(job.output.cost, cost)
with jobs.written_whole(job.output.labels) as part:
    label_set.write(part, bought, job.params.spec, job.params.code)
log.info("chose %d of %d unlabelled examples in %.3f s", budget, left, cost["select_seconds"])
