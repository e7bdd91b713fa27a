# Whole campaigns of simulated people (config/rehearsal.yaml): how often what campaigns claim is true.
try:
    REHEARSAL, REHEARSED = (
        campaigns.rehearsal(config["rehearsal"], STUDY)
        if config.get("rehearsal")
        else (None, {})
    )
except UserError as error:
    raise WorkflowError(str(error)) from None

if REHEARSAL:

    rule rehearse:
        input:
            dataset="<results>/datasets/{dataset}.h5",
            clean=f"<results>/embeddings/{{dataset}}/{REHEARSAL.encoder}/clean.h5",
        output:
            "<results>/rehearsals/{dataset}/{variant}/part{part}.json",
        log:
            "<logs>/rehearsals/{dataset}/{variant}/part{part}.log",
        wildcard_constraints:
            variant="|".join(REHEARSED),
            part="[0-9]+",
        conda:
            "../envs/train.yaml"
        resources:
            mem_mb=4000,
            runtime=600,
        params:
            spec=lambda wildcards: provenance.canonical(REHEARSED[wildcards.variant]),
            code=lambda wildcards: provenance.digest(
                "rehearse.py",
                STUDY.selectors[REHEARSAL.selector].source,
                STUDY.trainers[REHEARSAL.trainer].source,
                *(
                    registry.source(
                        "strategies", REHEARSED[wildcards.variant][key]["name"]
                    )
                    for key in ("first", "strategy")
                ),
            ),
        script:
            "../workflow/scripts/rehearse.py"

    rule rehearsals:
        input:
            expand(
                rules.rehearse.output,
                dataset=REHEARSAL.datasets,
                variant=REHEARSED,
                part=range(REHEARSAL.jobs),
            ),
        output:
            "<results>/tables/rehearsals.csv",
        log:
            "<logs>/rehearsals.log",
        conda:
            "../envs/train.yaml"
        params:
            spec=provenance.canonical(campaigns.judged_by(REHEARSAL)),
            code=provenance.digest("rehearsal_table.py"),
        script:
            "../workflow/scripts/rehearsal_table.py"
