import sys

# Rounds are a chain of jobs, and Snakemake walks it recursively: with Python's default of 1000
# a study of more than about 490 rounds × rules deep fails as a "cyclic dependency".
sys.setrecursionlimit(1_000_000)

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


# For `--software-deployment-method apptainer`, see docs/cluster.md.
if "container" in config:

    container: config["container"]


include: "rules/common.smk"
include: "rules/study.smk"
include: "rules/resources.smk"
include: "rules/data.smk"
include: "rules/embed.smk"
include: "rules/rounds.smk"
include: "rules/finetune.smk"
include: "rules/tune.smk"
include: "rules/noise.smk"
include: "rules/results.smk"
include: "rules/stage.smk"
include: "rules/campaign.smk"
include: "rules/label.smk"
include: "rules/rehearse.smk"
include: "rules/pretrain.smk"


onstart:
    cluster.prepare(workflow, Path.cwd())
    limit_gpus()


# The study: every model of the grid, and the tables and figures that are made of them.
rule all:
    default_target: True
    input:
        study_results,
    localrule: True


# The same as `all`, by the name under which readers look for it.
rule report:
    input:
        study_results,
    localrule: True
