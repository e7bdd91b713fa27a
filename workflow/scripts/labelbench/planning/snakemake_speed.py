"""Large studies planned in half the time, without a storm of timers or useless retries: repairs of Snakemake 9.27.

The repairs replace methods, because it is used as published. What plans save is work done for every job that gives the
same for every job here.
"""

import functools
import gc
import inspect
import itertools
import threading
import types
from pathlib import Path

from labelbench.common.gpu_memory import NOT_RETRIED

REPAIRED = "9.27."  # the version of Snakemake whose classes these are; another one plans at its own pace
OFF = (
    f"Snakemake {{version}} is not the {REPAIRED}* that this workflow repairs (docs/developing.md): planning takes "
    "about twice as long, and a job for which a GPU's memory is too small is tried again."
)


def remember_signatures(values):
    """Let Snakemake know the parameters of these functions of rules, those among `values` that are functions.

    It inspects a function at each of its calls, several for every job: an eighth of the time to plan a large study.
    """
    from snakemake.resources import Resource

    for function in [*values, Resource.evaluate]:
        if isinstance(function, types.FunctionType):
            function._overwrite_params = inspect.signature(function).parameters


def look_for_scripts_once():
    """Let Snakemake look for the script of a rule once, and not for each of its jobs: a tenth of the time of a plan.

    No script's path here holds a wildcard.
    """
    from snakemake.dag import ScriptProcessor

    process, seen = ScriptProcessor.process_job, set()

    def process_job(self, job):
        if (self.script_type, job.rule) not in seen:
            seen.add((self.script_type, job.rule))
            process(self, job)

    ScriptProcessor.process_job = process_job


def know_environments():
    """Let Snakemake ask a rule for its software environment without working out the parameters of each of its jobs.

    No environment here depends on them. A dry run of what was never run then needs no parameters at all.
    """
    from snakemake.jobs import Job
    from snakemake.rules import _NOT_CACHED

    published = Job.conda_env_spec

    def conda_env_spec(self):
        known = self.rule._expanded_conda_env
        return published.fget(self) if known is _NOT_CACHED else known

    Job.conda_env_spec = property(conda_env_spec)


def look_for_producers_once():
    """Let Snakemake look for the rules that make a file once, and not for each job that reads it."""
    from snakemake.output_index import OutputIndex

    look = OutputIndex.match_producers

    def match_producers(self, targetfile):
        known, name = self.__dict__.setdefault("known_producers", {}), str(targetfile)
        if name not in known:
            known[name] = look(self, targetfile)
        return known[name]

    OutputIndex.match_producers = match_producers


def read_one_record_per_job():
    """Let Snakemake read what it recorded of a job once, and not once for each of its outputs: a tenth of the time.

    It records the same for all of them, for the last one last, and they count as incomplete until it has.
    """
    from snakemake.persistence import RECORD_FORMAT_VERSION, PersistenceBase

    def has_metadata(self, job):
        return all(self.metadata(path) is not None for path in job.output[-1:])

    def has_outdated_metadata(self, job):
        records = [self.metadata(path) for path in job.output[-1:]]
        return any(record.record_format_version < RECORD_FORMAT_VERSION for record in records if record is not None)

    def of_last_output(changed):
        @functools.wraps(changed)
        def of_job(self, job, file=None):
            return changed(self, job, file) if file else [path for path in job.output[-1:] if changed(self, job, path)]

        return of_job

    def params_changed(self, job, file=None, compare=PersistenceBase.params_changed):
        return compare(self, job, file or (job.output[-1] if job.output else None))

    PersistenceBase.has_metadata = has_metadata
    PersistenceBase.has_outdated_metadata = has_outdated_metadata
    PersistenceBase.params_changed = params_changed
    for name in ("code_changed", "input_changed", "software_stack_changed"):
        setattr(PersistenceBase, name, of_last_output(getattr(PersistenceBase, name)))


def look_at_files_once():
    """Let Snakemake ask for the date of a file once, and not for each job that reads it."""
    from snakemake.io import IOCache

    look = IOCache.mtime_inventory

    async def mtime_inventory(self, jobs, n_workers=8):
        files = dict.fromkeys(itertools.chain.from_iterable((*job.input, *job.output) for job in jobs))
        # No rule here has a benchmark.
        await look(self, [types.SimpleNamespace(input=list(files), output=(), benchmark=None)], n_workers)

    IOCache.mtime_inventory = mtime_inventory


def share_wildcards():
    """Let all input functions of a job have the same wildcards, which none of them changes, and not each its copy."""
    from snakemake import rules

    @functools.lru_cache(maxsize=64)
    def of_items(items, make=rules.Wildcards):
        return make(fromdict=dict(items))

    rules.Wildcards = lambda fromdict: of_items(tuple(fromdict.items()))


def know_storage():
    """Let a file without flags say at once that it is not on remote storage: jobs ask it a hundred times each."""
    from snakemake.io import _IOFile

    asked = _IOFile.is_storage.fget
    _IOFile.is_storage = property(lambda self: bool(getattr(self._file, "flags", None)) and asked(self))


def take_logs_as_valid():
    """Let Snakemake not work out the path of a job's log only to see that it can: no log's path here could fail."""
    from snakemake.jobs import Job

    Job.is_valid = lambda self: None


def check_no_directories():
    """Let Snakemake not check for each output that it lies in no directory that is an output: no rule here has one."""
    from snakemake.dag import DAG

    DAG.check_directory_outputs = lambda self: None


def say_nothing_unseen():
    """Let a dry run that shows no jobs (`--quiet rules`) not put together what it would say of each of them."""
    from snakemake.jobs import Job
    from snakemake.settings.enums import Quietness

    say = Job.log_info

    def log_info(self, *args, **kwargs):
        workflow = self.dag.workflow
        if not workflow.dryrun or not {Quietness.RULES, Quietness.ALL} & set(workflow.output_settings.quiet or ()):
            say(self, *args, **kwargs)

    Job.log_info = log_info


def give_up_where_no_retry_helps():
    """Let Snakemake not try a job again whose log says so: at the next attempt a GPU has no more memory.

    Groups of jobs are one submission: none of its jobs is tried again then.
    """
    from snakemake.jobs import GroupJob, Job

    def says_so(job):
        return any(NOT_RETRIED in Path(path).read_text(errors="replace") for path in job.log if Path(path).exists())

    def of_group(self):
        return 0 if any(map(says_so, self.jobs)) else max(job.rule.restart_times for job in self.jobs)

    Job.restart_times = property(lambda self: 0 if says_so(self) else self.rule.restart_times)
    GroupJob.restart_times = property(of_group)


def plan_quickly(values):
    """All repairs; what to tell where there are none. `values`: those of the namespace that holds rules' functions.

    And let Python search less often for cycles among the millions of objects, which all stay: a quarter of the time.
    """
    import snakemake

    gc.set_threshold(100_000, 50, 100)
    if not snakemake.__version__.startswith(REPAIRED):
        return OFF.format(version=snakemake.__version__)
    remember_signatures(values)
    look_for_scripts_once()
    know_environments()
    look_for_producers_once()
    read_one_record_per_job()
    look_at_files_once()
    share_wildcards()
    know_storage()
    take_logs_as_valid()
    check_no_directories()
    say_nothing_unseen()
    give_up_where_no_retry_helps()
    return ""


def one_timer(scheduler):
    """Let a scheduler with a limit of jobs per second have one timer at a time.

    It starts one at every look for ready jobs, and every timer makes it look again: the looks per second grow with the
    jobs done, and after 200 short jobs they cost as much as the jobs.
    """
    pending = threading.Event()

    def reevaluate_later(delay):
        if pending.is_set():
            return
        pending.set()

        def look():
            pending.clear()
            scheduler._open_jobs.release()

        timer = threading.Timer(delay, look)
        timer.daemon = True
        timer.start()

    scheduler._schedule_reevalutation = reevaluate_later
