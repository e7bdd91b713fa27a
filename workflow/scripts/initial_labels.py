"""The label set of round 1, shared by every strategy and selector of the trial.

There is no model yet: a strategy that asks for features gets the encoder's embeddings, one that asks for
probabilities those of the zero-shot head.
"""

import json
from dataclasses import replace

import h5py
import numpy as np

from labelbench.common import gpu_memory, jobs, registry, seeds
from labelbench.data import annotator, dataset_file, label_set
from labelbench.data.oracle import Oracle, check_budget
from labelbench.embedding import embeddings
from labelbench.selection import initial, temporaries
from labelbench.selection.pool import Pool

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)
trial = int(job.wildcards.trial)
dataset = dataset_file.read(job.input.dataset)
source = dataset.splits["pool"].source
budget, name = spec["budget"], job.wildcards.dataset
if note := check_budget(name, budget, job.params.total, len(source), dataset.num_classes):
    log.warning(note)
if spec["initial"]["name"] == "labelbench":
    chosen = initial.labelbench(trial, len(source), budget)
else:
    strategy, config = registry.configured("strategies", spec["initial"])
    pool = Pool(
        labelled=np.empty(0),
        labels=np.empty(0),
        unlabelled=np.arange(len(source)),
        num_classes=dataset.num_classes,
    )
    if strategy.USES:
        import torch

        torch.set_grad_enabled(False)
        clean = embeddings.read(job.input.clean, "pool", dataset.fingerprint)
        pool = replace(
            pool,
            embed=lambda indices: torch.from_numpy(clean[indices]),
            device=jobs.device(job),
        )
    if "probabilities" in strategy.USES:
        seen = embeddings.read(job.input.zero_shot, "pool", dataset.fingerprint)
        with h5py.File(job.input.zero_shot, locking=False) as file:
            head = torch.from_numpy(file["head"][()]).T.to(pool.device)

        def guesses(indices, _):
            return (torch.from_numpy(seen[indices]).to(head) @ head).softmax(1)

        pool = replace(pool, classify=guesses)

    def selected(divisor):
        """The batch: with temporaries that are so many times smaller."""
        smaller = pool if divisor == 1 else replace(pool, chunk_size=pool.chunk_size // divisor)
        with temporaries.divided(divisor):
            return strategy.select(smaller, budget, config, seeds.generator(spec["seed"], trial, 1, "initial"))

    chosen = gpu_memory.fitted(selected)
oracle = Oracle(annotator.of_trial(dataset, spec.get("noise"), spec["seed"], trial), budget, source)
labels = label_set.empty(dataset.fingerprint, trial)
labels = labels.extended(chosen, oracle.buy(chosen), round_=1)
with jobs.written_whole(job.output[0]) as part:
    label_set.write(part, labels, job.params.spec, job.params.code)
log.info("bought %d of %d labels", budget, len(source))
