"""Progress of a Snakemake run as one line that moves: what runs, jobs done of all, time left.

`snakemake --logger=oneline`, with this package's folder on the Python path. On a terminal the line is redrawn each
second; elsewhere a line is printed for every tenth of the jobs. Messages of failed jobs are printed whole; where
several failed, why each of them did is said once more, together, at the end. Snakemake's full text is in its own log
file as always.
"""

import collections
import logging
import re
import sys
import threading
import time
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# Rules in plain words; others by their names.
WORDS = {
    "prepare_dataset": "preparing images",
    "embed": "embedding images",
    "embed_shard": "embedding images",
    "zero_shot_head": "classifying by class names",
    "initial_labels": "choosing the first images to label",
    "select_batch": "choosing images to label",
    "train_proxy": "training classifiers",
    "finetune": "fine-tuning encoders",
    "train_proxy_again": "training classifiers",
    "finetune_again": "fine-tuning encoders",
    "finetune_round": "fine-tuning encoders",
    "collect": "collecting results",
    "tables": "making tables",
    "figures": "drawing figures",
}
# What Snakemake says besides warnings and errors that a reader of the line needs; the beginnings of its texts.
INTERRUPTED = "Terminating processes"
KEPT = ("Nothing to be done", INTERRUPTED, "Will exit after", "Trying to restart", "Complete log")


def words(rule):
    """What a rule does, in plain words."""
    return WORDS.get(rule, rule.replace("_", " "))


def clock(seconds):
    """Seconds as `m:ss`, or `h:mm:ss` from an hour on."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Tally:
    """Jobs of a run: how many of each rule there are, which run, how long those of each rule took."""

    def __init__(self, counts):
        """counts: jobs to run by rule."""
        self.left = collections.Counter(counts)
        self.total = sum(counts.values())
        self.done = 0
        self.running = {}  # job id → (rule, when it began in seconds)
        self.took = {}  # rule → (finished jobs, their seconds together)
        self.began = None

    def start(self, job, rule, now):
        self.began = now if self.began is None else self.began
        if self.left[rule] <= sum(other == rule for other, _ in self.running.values()):
            self.left[rule] += 1  # it became known when a checkpoint was done
            self.total = max(self.total, self.done + sum(self.left.values()))
        self.running[job] = rule, now

    def finish(self, job, now):
        rule, began = self.running.pop(job, (None, now))
        self.done += 1
        if rule:
            count, seconds = self.took.get(rule, (0, 0.0))
            self.took[rule] = count + 1, seconds + now - began
            self.left[rule] -= 1

    def fail(self, job):
        self.running.pop(job, None)

    def seconds_left(self, now):
        """An estimate: seconds of the jobs left, by what those of their rule took, at the pace so far; None at first.

        A rule of which no job has finished counts as the average one, or as long as one of its jobs has run.
        """
        finished = sum(count for count, _ in self.took.values())
        if not finished or now <= self.began:
            return None
        seconds = sum(s for _, s in self.took.values())
        average = seconds / finished
        so_far = sum(now - began for _, began in self.running.values())
        longest = collections.defaultdict(float)
        for rule, began in self.running.values():
            longest[rule] = max(longest[rule], now - began)
        work = 0.0
        for rule, number in self.left.items():
            count, took = self.took.get(rule, (0, 0.0))
            work += number * (took / count if count else max(average, longest[rule]))
        pace = (seconds + so_far) / (now - self.began)  # job seconds per second: about the jobs that run side by side
        return max(0.0, work - so_far) / pace if pace else None

    def stage(self):
        return ", ".join(dict.fromkeys(words(rule) for rule, _ in self.running.values()))

    def text(self, now):
        left = self.seconds_left(now)
        parts = [f"{self.done} of {self.total} jobs", f"about {clock(left)} left" if left is not None else ""]
        return " · ".join(part for part in [*parts, self.stage()] if part)


def message(record, wildcards, interrupted=False):
    """What a failed job left in its logs, whole; of one that Ctrl-C ended, only its name."""
    names = ", ".join(f"{name}={value}" for name, value in wildcards.items())
    job = f"{words(record.rule_name)} (rule {record.rule_name}{': ' if names else ''}{names})"
    if interrupted:
        return f"Interrupted: {job}"
    lines = [f"Failed: {job}"]
    for name in record.log:
        # Snakemake may have added a remark to the name.
        path = Path(name.split(" (", 1)[0])
        said = path.read_text(errors="replace").strip() if path.is_file() else ""
        if said.endswith("KeyboardInterrupt"):
            return f"Interrupted: {job}"
        lines += [f"Its log, {path}, {'says:' if said else 'is empty.'}", *([said] if said else [])]
    return "\n".join(lines)


# How a job's log says why it failed (common/jobs.py): the last entry of this level, to the end.
WHY = re.compile(r"^\d\d:\d\d:\d\d ERROR ", re.MULTILINE)


def shortened(text):
    """A failed job's `message` without what its log says before the reason."""
    name, _, said = text.partition("\n")
    reasons = list(WHY.finditer(said))
    return f"{name}\n{said[reasons[-1].end() :]}" if reasons else text


class LogHandler(LogHandlerBase):
    """The handler that Snakemake makes for `--logger oneline`."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self):
        self.stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self.quiet = {getattr(q, "name", str(q)).lower() for q in self.common_settings.quiet or ()}
        self.shows_line = not self.quiet & {"progress", "all"}
        self.tally = self.bar = None
        self.tenths, self.interrupted = 0, False
        self.wildcards, self.failed = {}, []
        self.ended = threading.Event()
        self.plain = self._snakemake_handler() if self.common_settings.dryrun else None

    def _snakemake_handler(self):
        """Snakemake's own: a dry run has no progress."""
        from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

        given = self.common_settings
        handler = ColorizingTextHandler(nocolor=given.nocolor, stream=self.stream)
        handler.addFilter(
            DefaultFilter(given.quiet, given.debug_dag, given.verbose, given.dryrun, given.printshellcmds)
        )
        handler.setFormatter(DefaultFormatter(given.quiet, given.show_failed_logs))
        return handler

    def emit(self, record):
        try:
            if self.plain:
                self.plain.handle(record)
            else:
                self._take(record)
        except Exception:  # a fault of the display must not end the run
            self.handleError(record)

    def _take(self, record):
        event, now = getattr(record, "event", None), record.created
        if event == LogEvent.RUN_INFO:
            self._begin({rule: n for rule, n in record.stats.items() if rule != "total"})
        elif event == LogEvent.JOB_INFO:
            self.wildcards[record.jobid] = dict(record.wildcards or {})
            if self.tally:
                self.tally.start(record.jobid, record.rule_name, now)
                self._draw(now)
        elif event == LogEvent.JOB_FINISHED:
            self.wildcards.pop(record.job_id, None)
            if self.tally:
                self.tally.finish(record.job_id, now)
                self._draw(now)
        elif event == LogEvent.JOB_ERROR:
            if self.tally:
                self.tally.fail(record.jobid)
            text = message(record, self.wildcards.get(record.jobid, {}), self.interrupted)
            self._print(text)
            if text.startswith("Failed"):
                self.failed.append(shortened(text))
        elif self.interrupted and getattr(record, "exception", None) == "RuleException":
            pass  # the job that Ctrl-C ended, whose JOB_ERROR follows
        elif record.levelno >= logging.WARNING or (event is None and self._kept(record)):
            self.interrupted = self.interrupted or record.getMessage().startswith(INTERRUPTED)
            self._print(self.format(record))

    def _kept(self, record):
        return "all" not in self.quiet and record.getMessage().startswith(KEPT)

    def _begin(self, counts):
        self.tally = Tally(counts)
        if not self.shows_line or not self.stream.isatty():
            return
        from tqdm import tqdm

        self.bar = tqdm(
            total=self.tally.total,
            file=self.stream,
            bar_format="{percentage:3.0f}% |{bar:20}| {desc}",
            dynamic_ncols=True,
            leave=False,
        )
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self):
        while not self.ended.wait(1):
            with self.lock:
                if not self.ended.is_set():
                    self._draw(time.time())

    def _draw(self, now):
        if self.bar is not None:
            self.bar.n, self.bar.total = self.tally.done, self.tally.total
            self.bar.set_description_str(self.tally.text(now))
        elif self.shows_line and self.tally.done * 10 // self.tally.total > self.tenths:
            self.tenths = self.tally.done * 10 // self.tally.total
            self._print(f"{self.tally.done * 100 // self.tally.total:3}% {self.tally.text(now)}")

    def _print(self, text):
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def close(self):
        with self.lock:
            if not self.ended.is_set():
                self.ended.set()
                if self.bar is not None:
                    self.bar.close()
                    self.bar = None
                if len(self.failed) > 1:
                    self._print("\n".join([f"\nAll {len(self.failed)} failed jobs:", *self.failed]))
        super().close()
