"""Progress lines in a job's log."""

import logging
import re

from labelbench.common import progress


def test_long_work_logs_what_is_done_the_rate_and_the_time_left(caplog):
    with caplog.at_level(logging.INFO, "labelbench"), progress.track(400, "coreset", every=0) as done:
        for _ in range(3):
            done.update(100)
    lines = [record.getMessage() for record in caplog.records]
    assert re.search(r"coreset: 300 of 400 picks in 00:00, .* picks/s, .* left", lines[-1])


def test_short_work_logs_nothing(caplog):
    with caplog.at_level(logging.INFO, "labelbench"), progress.track(400, "coreset") as done:
        done.update(400)
    assert not caplog.records
