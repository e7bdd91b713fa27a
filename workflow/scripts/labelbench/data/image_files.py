"""Datasets whose images are files: opening one, checking all of them, and a fingerprint that reads none of them."""

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from labelbench.common.progress import track

# Checking waits for the disk, often for a network, as much as it computes; Pillow decodes without Python's lock.
THREADS = 8
TOGETHER = 4096


def opened(path):
    """The image in a file as a PIL image of mode L (grey) or RGB, fully loaded and upright.

    A photo that its camera stored lying on its side is turned as its EXIF orientation says. Of 16-bit grey levels the
    high byte is kept (Pillow's own conversion would cut everything above 255 to white); transparency is dropped, of an
    animation the first frame is taken.
    Raises OSError (`PIL.UnidentifiedImageError` among them) or ValueError for a file that is no such image.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        file.load()
        image = ImageOps.exif_transpose(file)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}) have no known white: save it with 8 or 16 bits")
    return image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB")


def check(paths, dataset, level):
    """What is wrong with image files: a list of (index into `paths`, reason), by index.

    level: `exists` looks whether each is there and not empty, `decode` reads and decodes each in full. dataset: its
    name, for the lines of progress in the log.
    """
    look = {"exists": _missing, "decode": undecodable}[level]
    found = []
    with ThreadPoolExecutor(THREADS) as threads, track(len(paths), f"checking {dataset}", unit="images") as progress:
        # Handed over piece by piece: a task object for each of a million files would take more memory than the job.
        for begin in range(0, len(paths), TOGETHER):
            for index, reason in enumerate(threads.map(look, paths[begin : begin + TOGETHER]), start=begin):
                if reason:
                    found.append((index, reason))
                progress.update()
    return found


def _missing(path):
    try:
        found = os.stat(path)  # noqa: PTH116  a million Paths cost more than their stats
    except OSError as error:
        return error.strerror.lower()
    if not stat.S_ISREG(found.st_mode):
        return "not a file"
    return "" if found.st_size else "empty file"


def undecodable(path):
    """Why a file is no image that can be read and decoded in full; empty where it is one."""
    from PIL import UnidentifiedImageError

    if reason := _missing(path):
        return reason
    try:
        opened(path)
    except UnidentifiedImageError:
        return "not an image that Pillow can read"
    except Exception as error:  # damaged files end in every kind of error, SyntaxError and struct.error among them
        return str(error) or type(error).__name__
    return ""


def fingerprint(root, paths):
    """SHA-256 (hexadecimal) of the files' paths relative to `root`, in this order, and of their sizes in bytes.

    Contents are not read: of a million photos that would take an hour, and a file that changes mostly changes its size.
    """
    digest = hashlib.sha256()
    for path in paths:
        name = os.path.relpath(path, root).replace(os.sep, "/")
        digest.update(f"{name}\0{os.stat(path).st_size}\n".encode())  # noqa: PTH116  as above
    return digest.hexdigest()
