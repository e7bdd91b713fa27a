"""When the memory of a GPU is too small: smaller pieces where work has pieces, else a message that says what helps."""

import logging
import sys

# With this a job's log says that it need not be tried again (`planning.snakemake_speed.give_up_where_no_retry_helps`).
NOT_RETRIED = "The job is not tried again: a retry asks for more memory of the host, which cannot help."

_IMAGES = "A smaller `image_size` or encoder, and `precision: bfloat16`, need less."
_TRAINING = (
    "With the same result, `end_to_end: {accumulation: 4, checkpoint_activations: true}` of the encoder needs less, "
    "and `gpus` share it. A smaller `batch_size` or `unlabelled_ratio` of the trainer, `precision: bfloat16`, a "
    "smaller `image_size` and the trainer `lora` need less, too."
)
_SELECTION = "docs/strategies.md says which strategies hold less of the pool; `pca_dim` and `largest_part` lessen it."
_PROXY = "A smaller `batch_size` or `unlabelled_ratio`, or the selector `linear`, need less."
HELP = {
    **dict.fromkeys(
        ["embed", "embed_shard", "embed_images", "zero_shot_head", "zero_shot_pool", "predict_images"], _IMAGES
    ),
    **dict.fromkeys(["finetune", "finetune_round", "refresh", "finetune_again", "try_finetune"], _TRAINING),
    "finetune_answers": _TRAINING,
    **dict.fromkeys(["select_batch", "initial_labels"], _SELECTION),
    **dict.fromkeys(["train_proxy", "train_proxy_again", "try_proxy"], _PROXY),
}


def is_short(error):
    """Whether an exception says that a GPU has no memory left. Imports nothing: without torch there is no GPU."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    )


def message(error, rule):
    """What a job that ran out of GPU memory says: what was held, by whom, what was free, and what helps."""
    import torch

    held = torch.cuda.memory_reserved()
    free, total = torch.cuda.mem_get_info()
    others = max(total - free - held, 0)
    return (
        f"The memory of the GPU ({torch.cuda.get_device_name()}, {_gb(total)}) is too small for this job. It held "
        f"{_gb(torch.cuda.max_memory_allocated())} at most and {_gb(held)} at last, other programs {_gb(others)}; "
        f"{_gb(free)} were free. torch says: {str(error).splitlines()[0].rstrip('.')}. "
        f"{HELP.get(rule, 'A GPU with more memory is needed.')} {NOT_RETRIED}"
    )


def _gb(size):
    return f"{size / 1e9:.1f} GB"


def fitted(work, first=1, last=64):
    """`work(divisor)` for the smallest divisor of `first`, twice that, … `last` that fits into the GPU's memory.

    work: a function that holds about 1/divisor as much, with the same result; begun anew each time.
    Raises what it raises, and torch's error where even the last does not fit.
    """
    divisor = first
    while True:
        try:
            return work(divisor)
        except Exception as error:
            if not is_short(error) or divisor >= last:
                raise
            said = str(error).splitlines()[0]
        # Outside of the handler, where the traceback holds the tensors no more.
        release()
        divisor *= 2
        logging.getLogger("labelbench").warning(
            "the memory of the GPU is too small for pieces of this size: again in pieces 1/%d as large (%s)",
            divisor,
            said,
        )


def release():
    """Give back what torch keeps of the GPU for later."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free(device):
    """Bytes of a device that are free; None for a CPU."""
    import torch

    device = torch.device(device)
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
