"""Large studies planned in half the time, without a storm of timers or useless retries: repairs of Snakemake 9.27.

The repairs replace methods, because it is used as published. What plans save is work done for every job that gives the
same for every job here.
"""

import functools
import gc
import itertools
import threading
import types
from pathlib import Path

from labelbench.common.errors import UserError
from labelbench.common.gpu_memory import NOT_RETRIED

REPAIRED = "9.27."  # the version of Snakemake whose classes these are; another one plans at its own pace
OFF = (
    f"Snakemake {{version}} is not the {REPAIRED}* that this workflow repairs (docs/developing.md): planning takes "
    "about twice as long, a job for which a GPU's memory is too small is tried again, and where a job failed whose "
    "settings had changed, the next run may go on with what was made of the old ones. Some mistakes are told with a "
    "traceback."
)


def remember_signatures():
    """Let Snakemake inspect the parameters of a function once, and not at each of its calls, several for every job."""
    from snakemake import common, rules

    inspected, known = common.get_function_params, {}

    def get_function_params(func):
        plain = func.__func__ if isinstance(func, types.MethodType) else func
        if not isinstance(plain, types.FunctionType) or plain.__dict__:  # a wrapper's are those of what it wraps
            return inspected(func)
        # Functions that one line makes have the same names and kinds of parameters, which is all that is asked for.
        key = plain.__code__, plain is func
        if key not in known:
            known[key] = inspected(func)
        return known[key]

    common.get_function_params = rules.get_function_params = get_function_params


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


def remember_producers():
    """Let Snakemake remember which job makes a file: in a place where it only notes what no job makes."""
    from snakemake.dag import DAG

    look = DAG.update

    async def update(self, jobs, file=None, visited=None, known_producers=None, **kwargs):
        producer = await look(self, jobs, file=file, visited=visited, known_producers=known_producers, **kwargs)
        if known_producers is not None:
            known_producers[file] = [producer]
        return producer

    DAG.update = update


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


def _flags(file):
    """Flags of a file, or None: they are those of the text in it, which may be a file again."""
    while (inner := getattr(file, "_file", None)) is not None:
        file = inner
    return getattr(file, "_flags", None)


def share_files():
    """Let the jobs of a rule share the files that they all read: each path is made into a file three times per job.

    Files with flags are not shared.
    """
    from snakemake import io, rules

    make, fill = rules.IOFile, io._IOFile.apply_wildcards
    made, filled, wildcards_of = {}, {}, {}

    def plain(file, rule):
        # Flags are set while the workflow is read.
        return rule is not None and rule.workflow._dag is not None and not _flags(file)

    def iofile(file, rule=None):
        if not isinstance(file, str) or not plain(file, rule):
            return make(file, rule=rule)
        key = rule, str(file)
        if key not in made:
            made[key] = make(file, rule=rule)
        return made[key]

    def apply_wildcards(self, wildcards):
        if self.is_callable() or not plain(self, self.rule):
            return fill(self, wildcards)
        pattern = str(self)
        if pattern not in wildcards_of:
            wildcards_of[pattern] = tuple(io.get_wildcard_names(pattern))
        key = self.rule, pattern, *map(wildcards.get, wildcards_of[pattern])
        if key not in filled:
            filled[key] = fill(self, wildcards)
        return filled[key]

    rules.IOFile = iofile
    io._IOFile.apply_wildcards = apply_wildcards


def compare_paths_as_texts():
    """Let a file be compared and looked up as the text that it is, and not by two functions in Python."""
    from snakemake.io import _IOFile

    _IOFile.__eq__, _IOFile.__hash__ = str.__eq__, str.__hash__


def know_flags():
    """Let a file without flags say at once that it has none, of which each is asked a hundred times."""
    from snakemake import dag, io, jobs, rules

    published, on_storage = io.is_flagged, io._IOFile.is_storage.fget

    def is_flagged(value, flag):
        return bool(_flags(value)) and published(value, flag)

    io._IOFile.is_storage = property(lambda self: bool(_flags(self._file)) and on_storage(self))
    io.is_flagged = dag.is_flagged = jobs.is_flagged = rules.is_flagged = is_flagged


def name_items_at_once():
    """Let a list with names, of which each job has six, take names of which it knows that they can be given."""
    from snakemake import iocontainers

    give, known = iocontainers.Namedlist._set_name, set()

    def set_name(self, name, index, end=None):
        key = type(self), name
        if key not in known:
            known.add(key)
            give(self, name, index, end)
            return
        self._names[name] = index, end
        items = list.__getitem__(self, index if end is None else slice(index, end))
        self.__dict__[name] = items if end is None else iocontainers.Namedlist(toclone=items)

    iocontainers.Namedlist._set_name = set_name


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


def free_nothing_in_a_dry_run():
    """Let a dry run not work out what each job asks for, only to free it: it takes nothing."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    free = JobScheduler._free_resources
    JobScheduler._free_resources = lambda self, job: self.dryrun or free(self, job)


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


def keep_records_where_jobs_fail():
    """Let Snakemake not record a job that failed as if its outputs, which are gone or the former ones, were new.

    Where what is made of these outputs is there still, it would not run the job again.
    """
    from snakemake.jobs import Job

    published = Job.postprocess

    async def postprocess(self, *args, error=False, **kwargs):
        records = self.dag.workflow.persistence
        before = [(records._get_key(file), records.metadata(file)) for file in self.output] if error else []
        await published(self, *args, error=error, **kwargs)
        for key, record in before:
            if record is None:
                records._delete_record(key)
            else:
                records._write_record(key, record)
        records._clear_cache()

    Job.postprocess = postprocess


def tell_mistakes_in_words():
    """Let Snakemake tell a mistake of the user that a function of a rule finds (`UserError`) by its sentence alone.

    Whatever such a function raises, it wraps in lines about wildcards and a traceback.
    """
    from snakemake import rules
    from snakemake.exceptions import WorkflowError

    published = rules.InputFunctionException

    class InputFunctionException(published):
        def __new__(cls, error, **place):
            return WorkflowError(str(error)) if isinstance(error, UserError) else published(error, **place)

    rules.InputFunctionException = InputFunctionException


def plan_quickly():
    """All repairs; what to tell where there are none.

    And let Python search less often for cycles among the millions of objects, which all stay: a quarter of the time.
    """
    import snakemake

    gc.set_threshold(1_000_000, 50, 100)
    if not snakemake.__version__.startswith(REPAIRED):
        return OFF.format(version=snakemake.__version__)
    remember_signatures()
    look_for_scripts_once()
    know_environments()
    remember_producers()
    read_one_record_per_job()
    look_at_files_once()
    share_wildcards()
    share_files()
    compare_paths_as_texts()
    know_flags()
    name_items_at_once()
    take_logs_as_valid()
    check_no_directories()
    say_nothing_unseen()
    free_nothing_in_a_dry_run()
    give_up_where_no_retry_helps()
    keep_records_where_jobs_fail()
    tell_mistakes_in_words()
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
