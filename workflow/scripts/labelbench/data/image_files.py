"""Datasets whose images are files: opening one, what is wrong with it, and a fingerprint that reads none of them."""

import contextlib
import hashlib
import io
import logging
import os
import stat
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelbench.common.progress import track

# Checking waits for the disk, often for a network, as much as it computes; Pillow decodes without Python's lock.
THREADS = 8
TOGETHER = 4096
AT_ONCE = 100_000_000  # pixels that threads decode side by side, at up to 9 bytes each

# Endings of still images. Pillow knows more, films, documents and containers of arrays among them.
SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm"]
    + [".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".ico", ".tga", ".pcx", ".heic", ".heif", ".mpo"]
)
# How files begin that Pillow reads as still images: what has no ending is told by these.
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")


@dataclass(frozen=True)
class Decoding:
    """How the pixels of a file become an image.

    background: what lies behind transparent pixels, a colour by name or as #rrggbb. max_pixels: the largest image that
    is decoded. shortest: images are reduced by a whole factor as long as their shorter side keeps this many pixels,
    JPEG files while they are decoded, which is cheap; None for full size.
    """

    background: str = "white"
    max_pixels: int = 178_956_970
    shortest: int | None = None


AS_IS = Decoding()
# Photos of the user's own are decoded no larger than they are used: no encoder here sees half of these pixels.
SHORTEST = 1024
TRANSPARENT, DARK = "transparent", "16 bits, nothing above 4095"


def opened(file, decoding=AS_IS):
    """The image in a file as a PIL image of mode L (grey) or RGB, fully loaded and upright.

    file: a path, or the bytes of the file. A photo that its camera stored lying on its side is turned as its EXIF
    orientation says; of an animation the first frame is taken. Transparent pixels show `decoding.background`. Of 16-bit
    grey levels the high byte is kept (Pillow's own conversion would cut everything above 255 to white); where none is
    above 4095 they are taken for 8 to 12 bits, as few as hold all of them.
    Raises OSError (`PIL.UnidentifiedImageError` among them) or ValueError for a file that is no such image.
    """
    _reading.path = "" if isinstance(file, bytes) else str(file)
    return _decoded(file, decoding)[0]


def _decoded(file, decoding):
    """(image, notes): as `opened`, and what was done to it, TRANSPARENT and DARK among others."""
    from PIL import Image, UnidentifiedImageError

    _prepare_pillow()
    try:
        image = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)
    except UnidentifiedImageError:
        raise UnidentifiedImageError(_unidentified(file)) from None
    with image as source:
        if decoding.shortest and source.format == "JPEG":
            scale = min(source.size) / decoding.shortest
            if scale >= 2:
                source.draft(None, (int(source.width / scale), int(source.height / scale)))
        if source.width * source.height > decoding.max_pixels:
            raise ValueError(
                f"{source.width} × {source.height} pixels, {source.width * source.height / 1e6:.0f} million, are more "
                f"than max_pixels, {decoding.max_pixels / 1e6:.0f} million: raise max_pixels, or save it smaller"
            )
        with _few_pixels_at_once(source.width * source.height):
            return _upright(source, decoding)


def _unidentified(file):
    """Why Pillow knows no image in a file, a path or bytes."""
    head = file[:12] if isinstance(file, bytes) else Path(file).read_bytes()[:12]
    if _is_heic(head) and not reads_heif():
        return "HEIC needs one more package: pip install pillow-heif"
    return "not an image that Pillow can read"


def _is_heic(head):
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def _upright(image, decoding):
    """(image, notes) of an open file, as `_decoded`."""
    from PIL import Image, ImageOps

    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        levels = np.asarray(image)
        bits = int(levels.max()).bit_length()
        dark = bits <= 12
        shift = max(bits - 8, 0) if dark else 8
        return Image.fromarray((levels >> shift).astype(np.uint8)), (DARK,) if dark else ()
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}) have no known white: save it with 8 or 16 bits")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image, notes = _composed(image, grey, decoding.background)
    else:
        image, notes = image.convert("L" if grey else "RGB"), ()
    if decoding.shortest and (factor := min(image.size) // decoding.shortest) > 1:
        image = image.reduce(factor)
    return image, notes


def _composed(image, grey, background):
    """(image before a background, notes): of mode L where both are grey; TRANSPARENT where any of it shows."""
    from PIL import Image, ImageColor

    if image.mode != "RGBA":
        image = image.convert("RGBA")
    colour = ImageColor.getrgb(background)[:3]
    mode = "L" if grey and len(set(colour)) == 1 else "RGB"
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return image.convert(mode), ()
    shown = Image.new("RGB", image.size, colour)
    shown.paste(image, mask=alpha)
    return shown.convert(mode) if mode == "L" else shown, (TRANSPARENT,)


_memory = threading.Condition()
_taken = 0


@contextlib.contextmanager
def _few_pixels_at_once(pixels):
    """Wait until this process decodes few enough pixels besides these: scans take gigabytes, and threads are eight."""
    global _taken
    with _memory:
        _memory.wait_for(lambda: _taken == 0 or _taken + pixels <= AT_ONCE)
        _taken += pixels
    try:
        yield
    finally:
        with _memory:
            _taken -= pixels
            _memory.notify_all()


def is_colour(text):
    """Whether Pillow knows a colour of this name."""
    from PIL import ImageColor

    try:
        ImageColor.getrgb(text)
    except ValueError:
        return False
    return True


_prepared = False
_reading = threading.local()


def _prepare_pillow():
    """Once in a process: our own limit of pixels in place of Pillow's, HEIC where there is a plug-in, its warnings.

    Pillow warns of damaged EXIF, palettes and more. Whoever runs a study wants to know which file is meant, once, in
    the log.
    """
    global _prepared
    if warnings.showwarning is not _show_warning:  # whoever catches warnings puts the former ones back
        warnings.filterwarnings("always", module=r"PIL\b")
        _show_otherwise.append(warnings.showwarning)
        warnings.showwarning = _show_warning
    if _prepared:
        return
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    reads_heif()
    _prepared = True


_show_otherwise, _said = [], set()


def _show_warning(message, category, filename, lineno, file=None, line=None):
    if "PIL" not in filename:
        _show_otherwise[-1](message, category, filename, lineno, file, line)
        return
    path = getattr(_reading, "path", "")  # none for the bytes of a file that was looked at before
    if path and (path, str(message)) not in _said:
        _said.add((path, str(message)))
        logging.getLogger("labelbench").warning("%s: %s", path, message)


def reads_heif():
    """Whether HEIC files can be read: Pillow does it with the package pillow-heif."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def looks_like_image(path):
    """Whether a file begins as an image does; False for one that cannot be read, or is none, such as a pipe."""
    if _missing(path):
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(12)
    except OSError:
        return False
    webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    avif = head[4:8] == b"ftyp" and head[8:] in (b"avif", b"avis")
    return head.startswith(_MAGIC) or webp or avif or _is_heic(head)


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


EMPTY = "empty file"


def _missing(path):
    try:
        found = os.stat(path)  # noqa: PTH116  a million Paths cost more than their stats
    except OSError as error:
        return error.strerror.lower()
    except ValueError:
        return "no path: it holds a character that no path can have"
    if not stat.S_ISREG(found.st_mode):
        return "not a file"
    return "" if found.st_size else EMPTY


def undecodable(path):
    """Why a file is no image that can be read and decoded in full; empty where it is one."""
    return examined(path)[1]


def examined(path, decoding=AS_IS):
    """(SHA-256 of the file, why it cannot be decoded or empty, notes) of one file, which is read once.

    The hash is 64 hex digits, empty for a file that cannot be read. notes: TRANSPARENT and DARK where they hold.
    """
    reason, digest = _missing(path), ""
    if reason and reason != EMPTY:  # a pipe, say, would be waited for
        return digest, reason, ()
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            content = file.read()
        digest = hashlib.sha256(content).hexdigest()
    except OSError as error:
        reason = reason or error.strerror.lower()
    if reason:
        return digest, reason, ()
    _reading.path = str(path)
    try:
        return digest, "", _decoded(content, decoding)[1]
    except Exception as error:  # damaged files end in every kind of error, SyntaxError and struct.error among them
        return digest, str(error) or type(error).__name__, ()
    finally:
        _reading.path = ""


def fingerprint(root, paths):
    """SHA-256 (hexadecimal) of the files' paths relative to `root`, in this order, and of their sizes in bytes.

    Contents are not read: of a published dataset they are known, and of a million photos that would take an hour.
    """
    digest = hashlib.sha256()
    for path in paths:
        name = os.path.relpath(path, root).replace(os.sep, "/")
        digest.update(f"{name}\0{os.stat(path).st_size}\n".encode())  # noqa: PTH116  as above
    return digest.hexdigest()
