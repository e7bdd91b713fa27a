"""Weights in safetensors files, with what made them and a digest of the tensors."""

import hashlib
import json

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from labelbench.common import json_files
from labelbench.common.errors import UserError


def hash_tensors(tensors):
    """SHA-256 (hexadecimal) of tensors by name: their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save(path, tensors, facts):
    """Write tensors by name, with `facts` (a dict of JSON values) in the header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One entry: safetensors writes several in any order, and the same model should be the same file.
    made_by = json_files.sealed({**facts, "tensors": hash_tensors(tensors)})
    save_file(tensors, path, metadata={"made_by": json.dumps(made_by, sort_keys=True)})


def load(path, what, names=(), facts=()):
    """(tensors by name, facts) of a file made by `save`.

    Raises `UserError`, calling the file `what`, where it cannot be read, is another one (without these tensors and
    facts), or does not hold what was saved.
    """
    cure = "Delete it and run Snakemake again."
    try:
        with safe_open(path, "pt") as file:
            made_by = json.loads((file.metadata() or {}).get("made_by", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
            digest = made_by.get("tensors")
    except (OSError, SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a readable {what} ({error}). {cure}") from None
    if missing := [name for name in names if name not in tensors] + [fact for fact in facts if fact not in made_by]:
        raise UserError(f"{path} is no {what}: it lacks {', '.join(missing)}. {cure}")
    # Results of older versions have no digest.
    if not json_files.is_whole(made_by) or digest not in (None, hash_tensors(tensors)):
        raise UserError(f"{path} is damaged: it does not hold what was written into it. {cure}")
    return tensors, made_by
