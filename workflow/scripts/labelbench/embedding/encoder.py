"""What every encoder plug-in returns, and what several of them need. Imported inside `load` only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Encoder:
    """A pretrained image encoder, ready to embed images and to be fine-tuned.

    `embed`         images (B, 3, H, W) float32 → (B, dim) float32 on the encoder's device, without gradient: the
                    embedding that proxies are trained on. It runs on the weights that `backbone` trains.
    `precision`     what `embed` computes in, `float32` or `bfloat16`; nothing else does.
    `dim`           width of the embedding.
    `backbone`      images (B, 3, H, W) float32 → the features (B, backbone_dim) float32 that a classifier head
                    multiplies in end-to-end training; of a CLIP, the L2-normalised image embedding of the joint
                    space. Every parameter trainable, none of them a text tower's; in evaluation mode.
    `backbone_dim`  width of these features.
    `transform`     the encoder's evaluation transform, a torchvision `Compose`: PIL image → (3, H, W) float32.
    `weights_hash`  `tensor_files.hash_tensors` of the whole model.
    `zero_shot_head`  (class names, templates holding "{}") → head weights (K, backbone_dim) float32 on the CPU;
                    None where there is no text tower.
    """

    embed: Callable[[Tensor], Tensor]
    precision: str
    dim: int
    backbone: nn.Module
    backbone_dim: int
    transform: Callable
    weights_hash: str
    zero_shot_head: Callable[[Sequence[str], Sequence[str]], Tensor] | None


def resolved_precision(setting, device):
    """`float32` or `bfloat16` for a plug-in's setting; `auto` is the latter on a GPU that has it natively.

    On a CPU `auto` is float32 whatever the CPU has, so that the same study gives the same numbers on most machines.
    """
    if setting != "auto":
        return setting
    native = torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native else "float32"


def embedding(features, precision, device):
    """`Encoder.embed` for a function or module `features` from images on `device` to embeddings (B, dim)."""
    kind = torch.device(device).type

    @torch.inference_mode()
    def embed(images):
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16"):
            return features(images.to(device)).float()

    return embed


def preprocessing(transform):
    """Text that says what an evaluation transform does: its stages with their settings."""
    # A function's repr has its address in memory.
    return "; ".join(getattr(stage, "__name__", None) or repr(stage) for stage in transform.transforms)


def disagreements(model_state, checkpoint, at_most=3):
    """Lines naming the first tensors in which a checkpoint and a model differ: other shape, missing, superfluous."""
    shapes, names = [], []
    for name in dict.fromkeys([*model_state, *checkpoint]):
        if name not in checkpoint:
            names.append(f"{name} is missing in the checkpoint")
        elif name not in model_state:
            names.append(f"{name} of the checkpoint does not exist in the model")
        elif checkpoint[name].shape != model_state[name].shape:
            there, here = tuple(checkpoint[name].shape), tuple(model_state[name].shape)
            shapes.append(f"{name} is {there} in the checkpoint and {here} in the model")
    lines = shapes + names
    more = [f"and {len(lines) - at_most} more"] if len(lines) > at_most else []
    return lines[:at_most] + more
