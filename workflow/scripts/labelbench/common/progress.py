"""Progress of long work as lines of the job's log."""

import io
import logging


class _Log(io.TextIOBase):
    def write(self, text):
        if line := text.strip("\r\n "):
            logging.getLogger("labelbench").info("%s", line)
        return len(text)


def track(total, what, unit="picks", every=10):
    """A tqdm counter of `total` things; call `update(n)`. It logs what is done, the rate and the time left.

    A line at most every `every` seconds, and none for work that is done before the first is due.
    """
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=what,
        unit=f" {unit}",
        file=_Log(),
        delay=every,
        mininterval=every,
        maxinterval=every,
        miniters=1,
        leave=False,
        bar_format="{desc}: {n_fmt} of {total_fmt}{unit} in {elapsed}, {rate_fmt}, {remaining} left",
    )
