import os

# What a job asks a scheduler for, scaled by the size of its dataset. Both numbers grow with every attempt, so that a job
# that was killed for its memory or its time gets more of it when it is retried. On one machine they limit nothing
# unless `--resources mem_mb=…` says so; jobs with several threads get at most the cores there are.

# Bytes of an image in a dataset file (a label and a position) and in an embedding 512 numbers wide.
DATASET_BYTES, EMBEDDING_BYTES = 16, 1024
# Before a dataset is prepared, which only a dry run sees: nothing that asks for its size is submitted earlier.
SIZE_UNKNOWN = 50_000
DAY = 24 * 60


_sizes = {}


def _size(path):
    """Bytes of a file that is there, else None; asked once per file, for a plan of many jobs asks for few files."""
    path = str(path)
    if path not in _sizes and os.path.exists(path):
        _sizes[path] = os.path.getsize(path)
    return _sizes.get(path)


def num_images(input):
    """Images of all splits, from the size of the prepared dataset's file: the largest number it can hold."""
    size = _size(input.dataset)
    return SIZE_UNKNOWN if size is None else size // DATASET_BYTES


def megabytes(input, *names):
    """Size of those of a job's inputs that are embeddings, as it will be where they are not there yet."""
    size, unknown = 0, num_images(input) * EMBEDDING_BYTES
    for name in names:
        files = input.get(name) or []
        for path in [files] if isinstance(files, str) else files:
            size += _size(path) or unknown
    return size // 1_000_000


# Jobs with images: decoding takes a thread and up to 4 GB each, and a GPU waits for it.


def image_threads(wildcards, input):
    size = num_images(input)
    return 1 if size < 20_000 else min(16, 2 + size // 50_000)


def image_mem_mb(wildcards, input, attempt):
    return 4000 * image_threads(wildcards, input) * attempt


def embed_gpu(wildcards, input):
    """A thousand images are embedded on a CPU before the GPU queue has moved."""
    return int(num_images(input) >= 20_000)


def embed_runtime(wildcards, input, attempt):
    """A view at 100 images a second, the pace of one core with a small encoder; a GPU is an order faster."""
    images = num_images(input) // int(wildcards.get("parts", 1))
    return (30 + 2 * images // 6000) * attempt


def finetune_runtime(wildcards, input, attempt):
    """At most a day: a fine-tune that runs out of time goes on after its last epoch when it is retried."""
    return min(60 + num_images(input) // 500, DAY) * attempt


# Jobs on embeddings. `train_proxy` holds its views, `select_batch` a pool and what a strategy makes of it: BADGE, which
# takes most, about ten times the embeddings at 1000 classes.


def proxy_mem_mb(wildcards, input, attempt):
    return (1500 + 2 * megabytes(input, "clean", "augmented")) * attempt


def proxy_runtime(wildcards, input, attempt):
    return (30 + num_images(input) // 2000) * attempt


def proxy_gpu(wildcards, input):
    return int(num_images(input) >= 200_000)


def select_mem_mb(wildcards, input, attempt):
    return (1500 + 11 * megabytes(input, "clean")) * attempt


def select_runtime(wildcards, input, attempt):
    return (30 + num_images(input) // 5000) * attempt


# Jobs whose need hardly depends on the dataset.


def small(mem_mb):
    return lambda wildcards, attempt: mem_mb * attempt


def minutes(runtime):
    return lambda wildcards, attempt: runtime * attempt


snakemake_speed.plan_quickly(globals().values())
