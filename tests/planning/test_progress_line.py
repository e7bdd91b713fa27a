"""The progress line: what it counts, when it prints, what it says of failed jobs."""

import io
import logging
import sys
import types
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "workflow/plugins"
sys.path.insert(0, str(PLUGINS))

import snakemake_logger_plugin_oneline as oneline  # noqa: E402
from snakemake_interface_logger_plugins.common import LogEvent  # noqa: E402
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry  # noqa: E402


class Stream(io.StringIO):
    terminal = False

    def isatty(self):
        return self.terminal


def handler(monkeypatch, quiet=(), terminal=False):
    stream = Stream()
    stream.terminal = terminal
    monkeypatch.setattr(sys, "stderr", stream)
    settings = types.SimpleNamespace(stdout=False, dryrun=False, quiet=quiet)
    made = oneline.LogHandler(settings, None)
    return made, stream


def say(made, event, created=0.0, level=logging.INFO, text="", **values):
    record = logging.LogRecord("snakemake", level, "", 0, text, None, None)
    record.__dict__.update(values, event=event, created=created)
    made.handle(record)


def run(made, jobs, counts=None):
    say(made, LogEvent.RUN_INFO, stats=counts or {"embed": jobs, "total": jobs})
    for job in range(jobs):
        say(made, LogEvent.JOB_INFO, job * 2.0, jobid=job, rule_name="embed", wildcards={"view": job})
        say(made, LogEvent.JOB_FINISHED, job * 2.0 + 2, job_id=job)


def test_a_line_for_every_tenth_where_nothing_moves(monkeypatch):
    made, stream = handler(monkeypatch)
    run(made, 40)
    lines = stream.getvalue().splitlines()
    assert [line.split("%")[0].strip() for line in lines] == [str(10 * n) for n in range(1, 11)]
    assert lines[0] == " 10% 4 of 40 jobs · about 1:12 left"


def test_one_line_on_a_terminal_that_goes_away(monkeypatch):
    made, stream = handler(monkeypatch, terminal=True)
    run(made, 4)
    assert "4 of 4 jobs" in stream.getvalue()
    made.close()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r")


def test_quiet_progress_prints_no_line(monkeypatch):
    made, stream = handler(monkeypatch, quiet=("progress",), terminal=True)
    run(made, 20)
    assert stream.getvalue() == ""


def test_messages_of_failed_jobs_whole_and_together_at_the_end(monkeypatch, tmp_path):
    made, stream = handler(monkeypatch)
    say(made, LogEvent.RUN_INFO, stats={"embed": 2, "total": 2})
    for job in (1, 2):
        log = tmp_path / f"{job}.log"
        log.write_text(f"06:45:43 INFO begins\n06:45:44 ERROR The dataset {job}\nall of the message {job}\n")
        say(made, LogEvent.JOB_INFO, jobid=job, rule_name="embed", wildcards={"view": f"aug{job}"})
        say(made, LogEvent.JOB_ERROR, level=logging.ERROR, jobid=job, rule_name="embed", log=[str(log)])
    first = stream.getvalue()
    assert "Failed: embedding images (rule embed: view=aug1)" in first
    assert first.count("begins\n06:45:44 ERROR The dataset 1\nall of the message 1\n") == 1
    made.close()
    repeated = stream.getvalue().removeprefix(first)
    assert "All 2 failed jobs:" in repeated
    for job in (1, 2):
        name = f"Failed: embedding images (rule embed: view=aug{job})"
        assert repeated.count(f"{name}\nThe dataset {job}\nall of the message {job}\n") == 1
    assert "begins" not in repeated


def test_a_failed_job_without_a_word_is_named_with_its_log(tmp_path):
    record = types.SimpleNamespace(rule_name="some_rule", log=[str(tmp_path / "none.log")])
    assert oneline.message(record, {}) == f"Failed: some rule (rule some_rule)\nIts log, {tmp_path}/none.log, is empty."


def test_an_interrupted_job_is_named_without_a_traceback(monkeypatch, tmp_path):
    made, stream = handler(monkeypatch)
    (tmp_path / "log").write_text("Traceback ...\nKeyboardInterrupt\n")
    for job in (1, 2):
        say(made, LogEvent.JOB_ERROR, level=logging.ERROR, jobid=job, rule_name="embed", log=[f"{tmp_path}/log"])
    made.close()
    assert stream.getvalue() == "Interrupted: embedding images (rule embed)\n" * 2


def test_after_ctrl_c_jobs_are_named_and_their_errors_are_not_shown(monkeypatch, tmp_path):
    made, stream = handler(monkeypatch)
    (tmp_path / "log").write_text("half way\n")
    say(made, None, text="Terminating processes on user request", msg="Terminating processes on user request")
    say(made, LogEvent.ERROR, level=logging.ERROR, text="died", msg="died", exception="RuleException")
    say(made, LogEvent.JOB_ERROR, level=logging.ERROR, jobid=1, rule_name="embed", log=[f"{tmp_path}/log"])
    made.close()
    assert stream.getvalue().splitlines()[1:] == ["Interrupted: embedding images (rule embed)"]


def test_warnings_and_the_end_are_said_and_the_wall_is_not(monkeypatch):
    made, stream = handler(monkeypatch)
    for text in ("Select jobs to execute...", "Execute 1 jobs...", "Nothing to be done (all is there)."):
        say(made, None, text=text, msg=text)
    say(made, None, level=logging.WARNING, text="look out", msg="look out")
    assert stream.getvalue() == "Nothing to be done (all is there).\nlook out\n"


def test_time_left_goes_by_what_jobs_of_each_rule_took():
    tally = oneline.Tally({"quick": 4, "slow": 2})
    for job in range(2):
        tally.start(job, "quick", job)
        tally.finish(job, job + 1)
    tally.start(2, "slow", 2)
    tally.finish(2, 12)
    assert tally.seconds_left(12) == pytest.approx(2 * 1 + 1 * 10)
    assert oneline.Tally({"quick": 1}).seconds_left(0) is None


def test_jobs_that_a_checkpoint_adds_are_counted_when_they_begin():
    tally = oneline.Tally({"index": 1, "assess": 1})
    tally.start(1, "index", 0.0)
    tally.finish(1, 1.0)
    for job in (2, 3):
        tally.start(job, "train", 1.0)
    assert (tally.done, tally.total) == (1, 4)
    tally.finish(2, 2.0)
    tally.finish(3, 2.0)
    tally.start(4, "assess", 2.0)
    tally.finish(4, 3.0)
    assert (tally.done, tally.total) == (4, 4)


def test_snakemake_accepts_the_plugin():
    registry = LoggerPluginRegistry()
    registry.register_plugin("snakemake_logger_plugin_oneline", oneline)
    assert registry.is_installed("oneline")


@pytest.mark.parametrize("rule", oneline.WORDS)
def test_every_rule_with_words_exists(rule):
    root = PLUGINS.parents[1]
    text = "\n".join(path.read_text() for path in root.glob("rules/*.smk"))
    assert f"rule {rule}:" in text or f" as {rule} with:" in text
