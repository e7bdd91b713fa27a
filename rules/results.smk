localrules:
    collect,
    tables,
    figures,
    costs,


rule collect:
    input:
        metrics=study_metrics,
        costs=study_costs,
        zero_shot=study_zero_shot,
        replicates=replicate_metrics,
        embeddings=study_embedding_costs,
    output:
        "<results>/tables/metrics.csv",
    log:
        "<logs>/collect.log",
    conda:
        "../envs/plot.yaml"
    params:
        spec=spec(
            order={
                "encoder": STUDY.run.encoders,
                "selector": STUDY.run.selectors,
                "trainer": TRAINERS,
                "strategy": STUDY.run.strategies,
                "model": STUDY.run.finetune_trainers,
            }
        ),
        code=provenance.digest("collect.py"),
    script:
        "../workflow/scripts/collect.py"


rule tables:
    input:
        "<results>/tables/metrics.csv",
    output:
        csv=[
            *result_files("tables", TABLES, "csv"),
            *overall_files("tables", OVERALL_TABLES, "csv"),
        ],
        tex=[
            *result_files("tables", TABLES, "tex"),
            *overall_files("tables", OVERALL_TABLES, "tex"),
        ],
        html=[
            *reported("tables", TABLES, "html"),
            *overall_reported("tables", OVERALL_TABLES, "html"),
        ],
        findings=report(
            "<results>/tables/findings.html",
            caption="../workflow/report/findings.rst",
            category="What this study says",
            labels={"dataset": "all", "page": "what this study says"},
        ),
        findings_text="<results>/tables/findings.txt",
        summary="<results>/tables/summary.txt",
    log:
        "<logs>/tables.log",
    conda:
        "../envs/plot.yaml"
    params:
        trials=TRIALS,
        spec=spec(
            **COMPARED,
            tables=list(map(list, TABLES)),
            overall=list(OVERALL_TABLES),
            equivalence=EQUIVALENCE,
            passive=[
                name
                for name in [*TRAINERS, *STUDY.run.finetune_trainers]
                if STUDY.trainers[name].name == "passive"
            ],
            costs=config.get("costs", {}),
            end_to_end=[
                name
                for name in STUDY.run.selectors
                if plan.end_to_end(STUDY.selectors[name])
            ],
        ),
        code=provenance.digest("tables.py"),
    script:
        "../workflow/scripts/tables.py"


rule figures:
    input:
        "<results>/tables/metrics.csv",
    output:
        svg=[
            *reported("figures", FIGURES, "svg"),
            *overall_reported("figures", OVERALL_FIGURES, "svg"),
        ],
        pdf=[
            *result_files("figures", FIGURES, "pdf"),
            *overall_files("figures", OVERALL_FIGURES, "pdf"),
        ],
    log:
        "<logs>/figures.log",
    conda:
        "../envs/plot.yaml"
    params:
        trials=TRIALS,
        spec=spec(
            **COMPARED,
            figures=list(map(list, FIGURES)),
            overall=list(OVERALL_FIGURES),
            equivalence=EQUIVALENCE,
        ),
        code=provenance.digest("figures.py"),
    script:
        "../workflow/scripts/figures.py"


# Prints what the jobs that are done have cost so far, also while the study is running.
rule costs:
    log:
        "<logs>/costs.log",
    conda:
        "../envs/plot.yaml"
    params:
        results=workflow.pathvars.apply("<results>"),
    script:
        "../workflow/scripts/costs.py"
