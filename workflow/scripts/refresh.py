"""Label set of a round + images → encoder trained end to end, and the images' embeddings by it; its metrics."""

import json

from labelbench.common import jobs, ranks

job = snakemake  # noqa: F821
log = jobs.start(job)
ranks.spread(job, log)

with jobs.slow_imports():
    from labelbench.common.tensor_files import hash_tensors
    from labelbench.embedding import embedder
    from labelbench.training import finetuning

trained = finetuning.train(job, log)
made = {
    "encoder": json.loads(job.params.spec)["encoder"]["name"],
    "weights": hash_tensors(trained.model[0].state_dict()),
    "spec": job.params.spec,
    "code": job.params.code,
}
watch = jobs.Stopwatch()
embedder.embed(job.output.clean, trained.data, "clean", None, made)
for seed, path in enumerate(job.output.augmented):
    embedder.embed(path, trained.data, f"aug{seed}", trained.views, made)
trained.cost["embed_seconds"] = watch.seconds()
_, predictions = finetuning.evaluate(trained)
finetuning.write(job, trained, predictions, "refresh")
