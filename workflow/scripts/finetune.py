"""Label set of a round + images → encoder trained end to end with its classifier; its metrics and cost."""

from labelbench.common import jobs, ranks
from labelbench.training import results

job = snakemake  # noqa: F821
log = jobs.start(job)

if job.input.get("trained"):
    results.take_over(job, job.input.trained, "finetune", job.wildcards.model)
    log.info("the run has trained this model to select with: %s", job.input.trained)
else:
    ranks.spread(job, log)
    with jobs.slow_imports():
        from labelbench.training import finetuning

    trained = finetuning.train(job, log)
    _, predictions = finetuning.evaluate(trained)
    finetuning.write(job, trained, predictions, "finetune", job.wildcards.model)
