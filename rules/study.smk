# What the study as a whole consists of: its runs, and all that tables, figures and archives are made of.
from labelbench.evidence import contents
from labelbench.planning import grid, shown
from labelbench.planning.shown import overall_files, result_files

MODELS = grid.final_models(STUDY)
try:
    SHOWN = shown.shown(STUDY, MODELS)
except UserError as error:
    raise WorkflowError(str(error)) from None
FILES = shown.files(SHOWN)
# What the report says was run.
config["run"] |= shown.ran(SHOWN)
# The report opens with what the study says, once it says something.
config["run"]["summary"] = shown.summary(workflow.pathvars.apply("<results>"))
config["run"]["figure"] = shown.opening_figure(
    FILES, workflow.pathvars.apply("<results>")
)


def of_models(function):
    """An input function of a rule, from one of planning/grid.py that takes the study and its models."""
    return lambda wildcards: function(STUDY, MODELS)


def study_metrics(wildcards):
    return grid.metrics(grid.model_folders(STUDY, MODELS))


def replicate_metrics(wildcards):
    return grid.metrics(grid.replicates(STUDY, MODELS))


def imported_tuned(wildcards):
    return shown.imported_tuned(STUDY)


def study_results(wildcards):
    tuned = grid.tuned_settings(STUDY, MODELS) or shown.imported_tuned(STUDY)
    return [
        *rules.collect.output,
        *(rules.tuning_table.output if tuned else []),
        *rules.tables.output,
        *rules.figures.output,
    ]


def imported_files(wildcards):
    return shown.imported_files(STUDY, wildcards.source)


def own_datasets(wildcards):
    """Files of the datasets that the study itself runs and the import holds too."""
    shared = [name for name in SHOWN.imported[wildcards.source] if name in SHOWN.own]
    return [f"<results>/datasets/{name}.h5" for name in shared]


def study_datasets(wildcards):
    return [f"<results>/datasets/{name}.h5" for name in SHOWN.own]


def import_spec(wildcards):
    source = wildcards.source
    return spec(importer=STUDY.imports[source], renames=SHOWN.renames[source])


def import_code(wildcards):
    return provenance.digest(
        "import_results.py", STUDY.imports[wildcards.source].source
    )


def in_report(path, place, kind, dataset, title):
    return report(
        path,
        caption=f"../workflow/report/{place}_{kind}.rst",
        category=place.capitalize(),
        labels={"dataset": dataset, place.removesuffix("s"): title},
    )


def reported(place, names, format):
    """The same files as `result_files`, shown in the report."""
    return [
        in_report(
            f"<results>/{place}/{kind}_{dataset}.{format}", place, kind, dataset, title
        )
        for (kind, dataset), title in names.items()
    ]


def overall_reported(place, kinds, format):
    """The same files as `overall_files`, shown in the report."""
    return [
        in_report(f"<results>/{place}/{kind}.{format}", place, kind, "all", title)
        for kind, title in kinds.items()
    ]
