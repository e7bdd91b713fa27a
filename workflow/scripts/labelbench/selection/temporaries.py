"""The temporaries of selection, and how many numbers they hold: that decides speed and memory, not what is picked."""

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


def joined(results, count: int):
    """The tensors that `results` yields, first to last in one of `count` rows: for small results of large temporaries.

    A list of them, joined at the end, would hold the memory of the temporaries as well: each result lies above the
    holes that its temporaries left, and the next ones, aligned as torch wants them, fit into none.
    """
    whole, end = None, 0
    for result in results:
        whole = result.new_empty((count, *result.shape[1:])) if whole is None else whole
        whole[end : end + len(result)] = result
        end += len(result)
    return whole


@contextlib.contextmanager
def divided(divisor: int):
    """Within the block, temporaries have so many times fewer elements: for a GPU whose memory is short."""
    token = _divisor.set(divisor)
    try:
        yield
    finally:
        _divisor.reset(token)
