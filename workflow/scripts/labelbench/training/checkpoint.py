"""A training that can go on after a kill: one file, replaced whole after each epoch."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from labelbench.common import jobs


def save(path, identity, tensors, facts):
    """Write `tensors` (part → name → tensor) and `facts` (a JSON value), under an `identity` to be resumed by."""
    flat = {
        f"{part}/{name}": tensor.detach().cpu().contiguous()
        for part, named in tensors.items()
        for name, tensor in named.items()
    }
    with jobs.written_whole(path) as file:
        save_file(flat, file, metadata={"progress": json.dumps({"identity": identity, "facts": facts})})


def load(path, identity, log):
    """(tensors, facts) as `save` got them, or None if there is no file, or none that is whole and of this identity."""
    if not Path(path).exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["progress"])
            if progress["identity"] != identity:
                log.info("%s is of another training: begin anew", path)
                return None
            tensors = {}
            for key in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                part, _, name = key.partition("/")
                tensors.setdefault(part, {})[name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        log.info("%s is no readable checkpoint (%s): begin anew", path, error)
        return None
    return tensors, progress["facts"]
