import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.pathvars import Pathvars

# workflow/scripts holds both the job scripts and the library they import. Adding it
# here serves this file; Snakemake hands its own sys.path on to every script job.
_here = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
sys.path.insert(0, str(_here.parent / "workflow" / "scripts"))

from labelbench.common import jobs, provenance, shipped
from labelbench.planning import (
    cluster,
    paths,
    plan,
    requests,
    sizes,
    snakemake_speed,
    specs,
)
from labelbench.planning.specs import spec
from labelbench.selection import memory
from labelbench.common.errors import UserError

try:
    # Snakemake has read them already, but keeps the last of two entries of one name.
    for file in [] if workflow.modifier.skip_configfile else workflow.configfiles:
        plan.read(file)
    # What an overlay includes lies between config.yaml and the overlay.
    config |= plan.with_names_as_text(
        plan.merged(
            plan.merged(config, plan.included(config.get("include"))),
            workflow.config_settings.overwrite_config,
        )
    )
    config |= plan.check(config, _here.parent / "workflow/schemas/config.schema.yaml")
    if config.get("include"):
        # Snakemake took them from the config before it knew what the overlay includes.
        workflow.pathvars.update(Pathvars.from_config(config))
    STUDY = plan.study(config)
    _notes = sizes.check(STUDY, workflow.pathvars.apply("<results>"))
    if workflow.is_main_process:
        sizes.check_sources(STUDY, workflow.pathvars.apply("<results>"))
        sizes.check_models(STUDY)
except UserError as error:
    raise WorkflowError(str(error)) from None

for _note in _notes if workflow.is_main_process else []:
    logger.warning(_note)

CONFIG = provenance.canonical(config)


_RUN, _LOG = paths.RUN, paths.LOG
RESULTS = workflow.pathvars.apply("<results>")


def of_study(function):
    """An input or params function of a rule, from one of planning/ that takes the study and the wildcards."""
    return lambda wildcards: function(STUDY, wildcards)


wildcard_constraints:
    dataset=paths.one_of(STUDY.datasets),
    encoder=paths.one_of(STUDY.encoders),
    selector=paths.one_of(STUDY.selectors),
    trainer=paths.one_of(STUDY.trainers),
    model=paths.one_of(STUDY.trainers),
    strategy=paths.one_of(["initial", *STUDY.strategies]),
    trial="[0-9]+",
    round="[0-9][0-9]+",
    replicate="[0-9]+",
    view="clean|aug[0-9]+",


def initial_total(wildcards, input):
    # All rounds' labels, checked against the pool before anything is trained. It takes `input` so
    # that Snakemake does not record it: more rounds must not invalidate the first.
    return STUDY.budgets[wildcards.dataset].total
