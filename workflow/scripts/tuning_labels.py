"""A random share of the pool's labels, bought outside all budgets to choose settings with (paper, Appendix F.3)."""

import json

from labelbench.common import jobs, seeds
from labelbench.data import annotator, dataset_file, label_set
from labelbench.data.oracle import Oracle
from labelbench.training import tuning

job = snakemake  # noqa: F821
log = jobs.start(job)
spec = json.loads(job.params.spec)
trial, round_ = int(job.wildcards.trial), int(job.wildcards.round)
dataset = dataset_file.read(job.input.dataset)
source = dataset.splits["pool"].source
drawn = tuning.draw(len(source), spec["fraction"], seeds.generator(spec["seed"], trial, round_, "tuning labels"))
if len(drawn) < dataset.num_classes:
    log.warning(
        "tuning on %s draws %d labels, fewer than its %d classes: settings are chosen without knowing all of them",
        job.wildcards.dataset, len(drawn), dataset.num_classes,
    )  # fmt: skip
oracle = Oracle(annotator.of_trial(dataset, spec.get("noise"), spec["seed"], trial), len(drawn), source)
labels = label_set.empty(dataset.fingerprint, trial).extended(drawn, oracle.buy(drawn), round_)
with jobs.written_whole(job.output[0]) as part:
    label_set.write(part, labels, job.params.spec, job.params.code)
log.info("bought %d of %d labels", len(drawn), len(source))
