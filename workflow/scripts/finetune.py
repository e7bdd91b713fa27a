"""Label set of a round + images → encoder fine-tuned end to end with its classifier; its metrics and cost."""

import json

from labelbench import dataset_file, jobs, label_set, metrics, registry, results, seeds

job = snakemake  # noqa: F821
log = jobs.start(job)

with jobs.slow_imports():
    import torch
    from safetensors.torch import load_file

    from labelbench import images as image_batches
    from labelbench import training, views

watch = jobs.Stopwatch()
spec = json.loads(job.params.spec)
trial, round_ = int(job.wildcards.trial), int(job.wildcards.round)
device = "cuda" if torch.cuda.is_available() else "cpu"
dataset = dataset_file.read(job.input.dataset)
labels = label_set.read(job.input.labels, dataset)
encoder_plugin, encoder_config = registry.configured("encoders", spec["encoder"])
encoder = encoder_plugin.load(encoder_config, device)
images_plugin, images_config = registry.configured("datasets", spec["dataset"])
images = images_plugin.images(images_config)
head = load_file(job.input.head)["weight"] if job.input.get("head") else None
seed = seeds.integer(spec["seed"], trial, round_, "head initialisation")
model = image_batches.classifier(encoder, head, dataset.num_classes, seed).to(device)
trainer, trainer_config = registry.configured("trainers", spec["trainer"])


def clean_batches(split):
    return image_batches.clean_batches(images, dataset.splits[split].source, encoder.transform, device)


history = training.fit(
    model,
    trainer,
    trainer_config,
    image_batches.LiveViews(
        images,
        dataset.splits["pool"].source,
        views.make_views(encoder.transform, views.Config(**spec["views"])),
        dataset.fingerprint,
        address=f"{spec['seed']}/{trial}/{round_}/finetune",
        device=device,
    ),
    labels,
    pool_size=len(dataset.splits["pool"].labels),
    num_classes=dataset.num_classes,
    validation=(lambda: clean_batches("val"), dataset.splits["val"].labels),
    rng=seeds.generator(spec["seed"], trial, round_, "finetune training"),
    log=log,
    device=device,
)
seconds = watch.seconds()
logits = {split: training.predict(model, clean_batches(split)).numpy() for split in dataset.splits}
jobs.write_json(
    job.output.cost,
    {"startup_seconds": watch.startup, "train_seconds": seconds, "peak_memory_mb": watch.peak_memory_mb()},
)
results.write(
    job,
    labels,
    spec["seed"],
    "finetune",
    metrics.evaluate(dataset, logits, labels),
    history,
    model=job.wildcards.model,
)
