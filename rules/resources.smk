import functools
import math
import os

# What a job asks a scheduler for, scaled by the size of its dataset. Memory and time grow with every attempt, so that a
# job that was killed for one of them gets more of it when it is retried. On one machine they limit nothing unless
# `--resources mem_mb=…` says so; jobs with several threads get at most the cores there are.

# LABELBENCH_GPU=0: a cluster without GPUs. Jobs learn it by the same variable, which Slurm hands on.
GPUS = int(os.environ.get("LABELBENCH_GPU") != "0")
# Threads of a job with a GPU, which waits for what they read, and MB of decoded images that it keeps.
try:
    GPU_THREADS = requests.from_environment("LABELBENCH_GPU_THREADS", 16, least=1)
    DECODED_MB = requests.from_environment("LABELBENCH_DECODED_MB", 4000, least=0)
except UserError as error:
    raise WorkflowError(str(error)) from None


def here():
    """Whether jobs run on this machine, without a queue. A dry run says what a cluster would be asked for."""
    # Not known before Snakemake has read all rules.
    known = workflow.executor_plugin is not None
    return known and workflow.local_exec and not workflow.dryrun


@functools.cache
def gpus_here():
    """GPUs of this machine, unless `--resources gpu=…` says otherwise, as it does to the process of each job."""
    limit = workflow.global_resources.get("gpu")
    return jobs.gpus() if limit is None or limit.value is None else limit.value


def limit_gpus():
    """Before the first job: here, no more jobs use GPUs at a time than there are, whatever the number of cores."""
    if GPUS and here():
        for limits in (
            workflow.scheduler.global_resources,
            workflow.scheduler.resources,
        ):
            limits.setdefault("gpu", gpus_here())


def asked_gpu(needed=1):
    """What a job asks for that needs so many GPUs, or none: here no more than there are."""
    if not (GPUS and needed):
        return 0
    return min(int(needed), gpus_here()) if here() else int(needed)


def any_gpu(wildcards):
    return asked_gpu()


def gpus_of_encoder(wildcards):
    """GPUs on which an encoder is trained end to end, each by a process of its own."""
    return asked_gpu(STUDY.end_to_end[wildcards.encoder].gpus)


def how_end_to_end(wildcards, input):
    """`EndToEnd` of an encoder. It takes `input` so that Snakemake does not record it: results do not depend on it."""
    return specs.end_to_end(STUDY, wildcards)


def gpu_if_here(wildcards):
    return asked_gpu(here())


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


@functools.cache
def num_classes(path):
    """Classes of a prepared dataset; 1000 of one that is not there, or that is none: the job says so."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            return len(file.attrs["class_names"])
    except (OSError, KeyError):
        return 1000


@functools.cache
def pool_shape(path):
    """Examples of the pool and width of their features in a file of embeddings; None where it is not there yet."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            return file["pool"].shape
    except (OSError, KeyError):
        return None


@functools.cache
def longest():
    """Minutes that the cluster allows a job, in its longest partition with GPUs and in the longest without.

    LABELBENCH_PARTITION names the only one that is used.
    """
    # Here and only for retries: the import takes a third of a second, which every job would wait for.
    from snakemake_executor_plugin_slurm.partitions import read_partition_file

    path = os.environ.get(
        "LABELBENCH_PARTITIONS", _here.parent / "slurm/partitions.yaml"
    )
    partitions = read_partition_file(path)
    named = [p for p in partitions if p.name == os.environ.get("LABELBENCH_PARTITION")]

    def most(gpu):
        times = [
            p.limits.max_runtime
            for p in named or partitions
            if (p.limits.max_gpu > 0) == gpu
        ]
        return max(times, default=math.inf)

    return min(most(gpu=True), most(gpu=False))


def retried(minutes, attempt, submission=0):
    """The minutes of a first attempt, times the attempt: as far as the partitions have room for the whole submission.

    submission: minutes of a first attempt at all jobs that are submitted together with this one, itself included.
    """
    if attempt == 1:
        return minutes
    room = longest() / (submission or minutes)
    return int(minutes * max(1, min(attempt, room)))


# Jobs with images (planning/requests.py says what they take).


def threads_for(gpus, images):
    """Threads of a job with so many GPUs. Here all GPUs share the cores."""
    each = GPU_THREADS
    if gpus and here() and workflow.resource_settings.cores:
        each = min(each, max(workflow.resource_settings.cores // gpus_here(), 1))
    return requests.threads(gpus, images, each)


def image_threads(wildcards, input):
    return threads_for(embed_gpu(wildcards, input), num_images(input))


def weights_mb(input):
    """Size of the files of an encoder; nothing is known of weights that come by name."""
    files = input.get("weights") or []
    files = [files] if isinstance(files, str) else files
    return sum(_size(path) or 0 for path in files) // 1_000_000


def image_mem_mb(wildcards, input, attempt):
    threads = image_threads(wildcards, input)
    estimate = requests.of_images(threads, weights_mb(input), requests.LOADED)
    return requests.asked(estimate, requests.COMPUTING) * attempt


def decoded_mb(wildcards):
    """MB of decoded images that a fine-tune keeps: where GPUs wait for them, the process of each its own."""
    return DECODED_MB * gpus_of_encoder(wildcards)


def finetune_threads(wildcards, input):
    """Each GPU has a process, and processes that decode for it."""
    return threads_for(gpus_of_encoder(wildcards), num_images(input))


def finetune_mem_mb(wildcards, input, attempt):
    """Each GPU's process holds the encoder."""
    threads = finetune_threads(wildcards, input)
    return training_mb(wildcards, threads, weights_mb(input)) * attempt


def training_mb(wildcards, threads, weights):
    gpus = max(gpus_of_encoder(wildcards), 1)
    estimate = requests.of_images(threads // gpus, weights, requests.TRAINED)
    more = requests.COMPUTING + decoded_mb(wildcards) // gpus
    return gpus * requests.asked(estimate, more)


def embed_gpu(wildcards, input):
    """A thousand images are embedded on a CPU before the GPU queue has moved. Here there is none."""
    return asked_gpu(here() or num_images(input) >= 20_000)


def embed_runtime(wildcards, input, attempt):
    """A view at 100 images a second, the pace of one core with a small encoder; a GPU is an order faster."""
    images = num_images(input) // int(wildcards.get("parts", 1))
    return retried(30 + 2 * images // 6000, attempt)


@functools.cache
def prompts_and_images(path):
    """What a zero-shot head has to encode: prompts of all classes, and the images that it is evaluated on.

    Nothing, of a file that is no dataset: the job says so.
    """
    from labelbench.data import dataset_file

    try:
        dataset = dataset_file.read(path)
    except UserError:
        return 0, 0
    evaluated = (len(s.source) for name, s in dataset.splits.items() if name != "pool")
    return dataset.num_classes * len(dataset.templates), sum(evaluated)


def zero_shot_runtime(wildcards, input, attempt):
    """Images at the pace above, prompts at 10 a second: one core reads 14 with ViT-B/32's text tower."""
    known = _size(input.dataset) is not None
    prompts, images = prompts_and_images(input.dataset) if known else (0, SIZE_UNKNOWN)
    return retried(30 + images // 6000 + prompts // 600, attempt)


def finetune_minutes(input):
    """At most 18 hours, so that a round's selection fits in the same day: no partition of a day refuses both."""
    return min(60 + num_images(input) // 500, DAY * 3 // 4)


# A fine-tune asks for the same time at each attempt: one that runs out of it goes on where it was.
def finetune_runtime(wildcards, input):
    return finetune_minutes(input)


# The final model of a run that has trained this very model to select with is copied.


def takes_over(input):
    return bool(input.get("trained"))


def final_threads(wildcards, input):
    return 1 if takes_over(input) else finetune_threads(wildcards, input)


def final_mem_mb(wildcards, input, attempt):
    if takes_over(input):
        return 1000 * attempt
    return finetune_mem_mb(wildcards, input, attempt)


def final_runtime(wildcards, input):
    return 10 if takes_over(input) else finetune_minutes(input)


def final_decoded_mb(wildcards, input):
    return 0 if takes_over(input) else decoded_mb(wildcards)


def final_gpu(wildcards, input):
    return 0 if takes_over(input) else gpus_of_encoder(wildcards)


# Jobs on embeddings. `train_proxy` holds its views, `select_batch` a pool and what its strategy makes of it.
# `initial_labels` does what `select_batch` does, if its strategy looks at the pool at all.


def proxy_mem_mb(wildcards, input, attempt):
    estimate = requests.of_proxy(megabytes(input, "clean", "augmented"))
    on_gpu = requests.COMPUTING if proxy_gpu(wildcards, input) else 0
    return requests.asked(estimate, on_gpu) * attempt


def proxy_minutes(input):
    return 30 + num_images(input) // 2000


def select_minutes(input):
    return 30 + num_images(input) // 5000


def proxy_runtime(wildcards, input, attempt):
    first = proxy_minutes(input)
    return retried(first, attempt, select_minutes(input) + first)


def proxy_gpu(wildcards, input):
    return asked_gpu(num_images(input) >= 200_000)


def select_mem_mb(wildcards, input, attempt):
    """What its strategy says, on a CPU: a GPU that was asked for may be none that torch can use."""
    name, round_ = wildcards.get("strategy"), int(wildcards.get("round", 1))
    strategy = STUDY.strategies[name] if name else STUDY.initial[wildcards.dataset]
    shape = pool_shape(str(input.clean)) if input.clean else None
    examples, dim = shape or (num_images(input), EMBEDDING_BYTES // 2)
    schedule = STUDY.budgets[wildcards.dataset]
    labelled, budget = schedule.before(round_), schedule.batch(round_)
    classes = num_classes(str(input.dataset))
    # Of a pool that is too small for its budget the job itself says so.
    unlabelled = max(examples - labelled, 0)
    sizes = memory.Sizes(unlabelled, labelled, classes, dim, budget)
    estimate = requests.of_selection(strategy, sizes)
    on_gpu = requests.COMPUTING if input.clean and proxy_gpu(wildcards, input) else 0
    return requests.asked(estimate, on_gpu) * attempt


def select_runtime(wildcards, input, attempt):
    first = select_minutes(input)
    training = max(proxy_minutes(input), finetune_minutes(input))
    return retried(first, attempt, first + training)


def initial_gpu(wildcards, input):
    return proxy_gpu(wildcards, input) if input.clean else 0


# Jobs whose need hardly depends on the dataset.


def small(mem_mb):
    return lambda wildcards, attempt: mem_mb * attempt


def minutes(runtime):
    return lambda wildcards, attempt: retried(runtime, attempt)


if _off := snakemake_speed.plan_quickly():
    if workflow.is_main_process:
        logger.warning(_off)
