"""Label set of a round + embeddings → proxy, its metrics on pool, validation and test, its cost."""

import json

from labelbench.common import jobs, registry, seeds
from labelbench.data import dataset_file, label_set
from labelbench.embedding import embeddings
from labelbench.training import metrics, results, tuning

job = snakemake  # noqa: F821
log = jobs.start(job)

with jobs.slow_imports():
    import torch

    from labelbench.training import proxy, training

watch = jobs.Stopwatch()
spec = json.loads(job.params.spec)
trial, round_ = int(job.wildcards.trial), int(job.wildcards.round)
device = jobs.device(job)
dataset = dataset_file.read(job.input.dataset)
labels = label_set.read(job.input.labels, dataset)
clean = {split: embeddings.read(job.input.clean, split, dataset.fingerprint) for split in dataset.splits}
mean, std = embeddings.standardisation(job.input.clean)


def batches(split):
    for begin in range(0, len(clean[split]), training.EVALUATION_BATCH):
        yield torch.from_numpy(clean[split][begin : begin + training.EVALUATION_BATCH]).to(device)


views = training.CachedViews(
    weak=[embeddings.read(path, "weak", dataset.fingerprint) for path in job.input.augmented],
    strong=[embeddings.read(path, "strong", dataset.fingerprint) for path in job.input.augmented],
    device=device,
)


def trained(settings, learned):
    """A proxy trained from scratch on a label set, and its history."""
    trainer, config = registry.configured("trainers", settings)
    seed = seeds.integer(spec["seed"], trial, round_, "proxy initialisation")
    model = proxy.build(spec["selector"], mean, std, dataset.num_classes, seed).to(device)
    history = training.fit(
        model,
        trainer,
        config,
        views,
        learned,
        pool_size=len(clean["pool"]),
        num_classes=dataset.num_classes,
        validation=(lambda: batches("val"), dataset.splits["val"].labels),
        rng=seeds.generator(spec["seed"], trial, round_, "proxy training"),
        log=log,
        device=device,
        truth=dataset.splits["pool"].labels,
    )
    return model, history


def classes(settings, learned, at):
    """Classes of the pool's examples `at`, by a proxy trained on a label set."""
    model, _ = trained(settings, learned)
    return training.predict(model, [torch.from_numpy(clean["pool"][at]).to(device)]).argmax(1).numpy()


rng = seeds.generator(spec["seed"], trial, round_, "tuning folds")
settings = tuning.settled(spec, job.input.get("tuned"), labels, dataset.num_classes, rng, classes, log)
model, history = trained(settings, labels)
seconds = watch.seconds()
predictions = {name: training.predictions(model, batches(name), dataset.splits[name].labels) for name in clean}
with jobs.written_whole(job.output.proxy) as part:
    proxy.save(part, model, spec["selector"], job.params.code)
jobs.write_result(job.output.cost, watch.cost(job, device, train_seconds=seconds))
results.write(job, labels, spec["seed"], "proxy", metrics.evaluate(dataset, predictions, labels), history, settings)
