"""Label set of a round + images → encoder trained end to end: its head as a proxy, the pool's features, its metrics."""

from labelbench.common import jobs, ranks

job = snakemake  # noqa: F821
log = jobs.start(job)
ranks.spread(job, log)

with jobs.slow_imports():
    import torch

    from labelbench.common import hdf5
    from labelbench.embedding import embeddings
    from labelbench.training import finetuning, proxy

trained = finetuning.train(job, log)
pool, predictions = finetuning.evaluate(trained)
head, fingerprint = trained.model[1], trained.data.dataset.fingerprint
with hdf5.create(job.output.features) as file:
    embeddings.write(file, ["pool"], *pool.shape, [(pool.numpy(),)])
    embeddings.describe(file, {"fingerprint": fingerprint, "spec": job.params.spec, "code": job.params.code})
# The head learned on the features as they are, so as a proxy it leaves them so.
settings, dim = {"name": "finetune"}, pool.shape[1]
model = proxy.build(settings, torch.zeros(dim), torch.ones(dim), len(head.bias), seed=0)
model.head.load_state_dict(head.state_dict())
with jobs.written_whole(job.output.proxy) as part:
    proxy.save(part, model, settings, job.params.code)
finetuning.write(job, trained, predictions, "proxy")
