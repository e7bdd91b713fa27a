"""Which images of a test set a model had right: a bit per image, as text beside the model's metrics.

Accuracy is their mean. What two models have right image by image says how far their difference would move on other
images, which two accuracies alone do not.
"""

import base64
import re

import numpy as np


def encode(true, predicted, num_classes):
    """Text of the hits of predicted labels (n,) int64: sizes of the true classes, a colon, and the bits in base64.

    Images stand in the order of their true classes, and within a class in that of the split.
    """
    order = np.argsort(true, kind="stable")
    bits = np.packbits((np.asarray(true) == predicted)[order])
    sizes = np.bincount(true, minlength=num_classes)
    return f"{' '.join(map(str, sizes))}:{base64.b64encode(bits.tobytes()).decode()}"


def is_whole(text):
    """Whether a value is a text of `encode`, with as many bits as its sizes say."""
    found = (
        re.fullmatch(r"([0-9]{1,9}(?: [0-9]{1,9})*):([A-Za-z0-9+/]*={0,2})", text) if isinstance(text, str) else None
    )
    if not found:
        return False
    size = (sum(map(int, found[1].split())) + 7) // 8
    return len(found[2]) == 4 * ((size + 2) // 3) and found[2].count("=") == -size % 3


def decode(text):
    """(hits (n,) bool in the order of their true classes, sizes (classes,) int64 of these) of a text by `encode`."""
    sizes, _, bits = text.partition(":")
    sizes = np.array(sizes.split(), dtype=np.int64)
    packed = np.frombuffer(base64.b64decode(bits), dtype=np.uint8)
    return np.unpackbits(packed, count=int(sizes.sum())).astype(bool), sizes
