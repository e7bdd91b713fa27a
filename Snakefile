import sys

# Rounds are a chain of jobs, and Snakemake walks it recursively: with Python's default of 1000
# a study of more than about 490 rounds × rules deep fails as a "cyclic dependency".
sys.setrecursionlimit(1_000_000)

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/embed.smk"
include: "rules/rounds.smk"
include: "rules/finetune.smk"
include: "rules/tune.smk"
include: "rules/noise.smk"
include: "rules/results.smk"
include: "rules/pretrain.smk"


onstart:
    # With a job rate limit (100 per second unless told otherwise) Snakemake 9.27 starts a timer at
    # every look for ready jobs, and every timer makes it look again: the looks per second grow with
    # the jobs done, and after 200 short jobs they cost as much as the jobs. Local jobs need no limit.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


localrules:
    all,
    report,


# The study: every model of the grid, and the tables and figures that are made of them.
rule all:
    default_target: True
    input:
        study_results,


# The same as `all`, by the name under which readers look for it.
rule report:
    input:
        study_results,
