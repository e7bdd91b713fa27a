"""Import this before anything that imports torchvision (open_clip and timm do).

PyPI's torchvision wheels for Linux are CUDA builds. Beside a torch without CUDA their extension library cannot be
loaded, and `import torchvision` then fails while it describes two detection operators that the library would have
brought. Declaring the two, without an implementation, is all it takes: transforms and models work, and nothing here
detects objects. Where the extension loads, nothing is declared.
"""

import importlib.util
from pathlib import Path

import torch


def _extension_loads():
    package = Path(importlib.util.find_spec("torchvision").origin).parent
    library = next(package.glob("_C.*"), None)
    try:
        torch.ops.load_library(library)
    except (OSError, TypeError):  # TypeError: a wheel that ships no extension at all
        return False
    return True


if not _extension_loads():
    torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
