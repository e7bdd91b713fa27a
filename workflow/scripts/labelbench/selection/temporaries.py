"""How many numbers the temporaries of selection hold: that decides its speed and its memory, not what it picks."""

import contextlib
import contextvars

# On a CPU the largest should stay in the cache, on a GPU it should amortise the launches.
_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 26}

_divisor = contextvars.ContextVar("divisor", default=1)


def elements(x) -> int:
    """Elements of the largest temporary beside `x`, a tensor."""
    return _ELEMENTS[x.device.type] // _divisor.get()


def share(number: int) -> int:
    """Its part of another number that bounds memory."""
    return number // _divisor.get()


@contextlib.contextmanager
def divided(divisor: int):
    """Within the block, temporaries have so many times fewer elements: for a GPU whose memory is short."""
    token = _divisor.set(divisor)
    try:
        yield
    finally:
        _divisor.reset(token)
