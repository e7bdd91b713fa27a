"""Images as they were decoded, in memory that forked processes share: a second look costs no decoding."""

import mmap
import multiprocessing

import numpy as np

_ENTRY = np.dtype([("offset", np.int64), ("height", np.int32), ("width", np.int32), ("channels", np.int32)])


class Kept:
    """`images`, a function from a position below `count` to a PIL image, which keeps what it gave in `room` bytes.

    What finds no room is decoded each time. Memory is taken as it is filled, from that of the process and not from
    /dev/shm, and processes that are forked later share it.
    """

    def __init__(self, images, count, room):
        self._images, self._room = images, room
        self._pixels = mmap.mmap(-1, room)
        self._entries = np.frombuffer(mmap.mmap(-1, max(count, 1) * _ENTRY.itemsize), _ENTRY)
        self._used = np.frombuffer(mmap.mmap(-1, 8), np.int64)
        self._lock = multiprocessing.get_context("fork").Lock()

    def __call__(self, position):
        from PIL import Image

        entry = self._entries[position]
        if entry["channels"]:
            begin, size = int(entry["offset"]), (int(entry["width"]), int(entry["height"]))
            mode, end = {1: "L", 3: "RGB"}[int(entry["channels"])], size[0] * size[1] * int(entry["channels"])
            return Image.frombytes(mode, size, self._pixels[begin : begin + end])
        image = self._images(position)
        if image.mode in ("L", "RGB"):
            self._keep(position, image)
        return image

    def _keep(self, position, image):
        content, channels = image.tobytes(), len(image.getbands())
        with self._lock:
            begin = int(self._used[0])
            if self._entries["channels"][position] or begin + len(content) > self._room:
                return
            self._used[0] = begin + len(content)
            self._pixels[begin : begin + len(content)] = content
            # Who sees the channels, sees the rest.
            for name, value in {"offset": begin, "height": image.height, "width": image.width}.items():
                self._entries[name][position] = value
            self._entries["channels"][position] = channels
