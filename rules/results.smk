localrules:
    collect,
    tables,
    figures,


rule collect:
    input:
        metrics=study_metrics,
        costs=study_costs,
        zero_shot=study_zero_shot,
    output:
        "<results>/tables/metrics.csv",
    log:
        "<logs>/collect.log",
    conda:
        "../envs/plot.yaml"
    params:
        spec=provenance.canonical({"strategies": STUDY.run.strategies}),
        code=provenance.digest("collect.py"),
    script:
        "../workflow/scripts/collect.py"


rule tables:
    input:
        "<results>/tables/metrics.csv",
    output:
        csv=expand("<results>/tables/final_{dataset}.csv", dataset=STUDY.run.datasets),
        tex=expand("<results>/tables/final_{dataset}.tex", dataset=STUDY.run.datasets),
        html=[
            report(
                f"<results>/tables/final_{dataset}.html",
                caption="../workflow/report/table.rst",
                category="Tables",
                labels={"dataset": dataset, "table": "after the last round"},
            )
            for dataset in STUDY.run.datasets
        ],
        summary="<results>/tables/summary.txt",
    log:
        "<logs>/tables.log",
    conda:
        "../envs/plot.yaml"
    params:
        trials=STUDY.run.trials,
        spec=provenance.canonical(
            {"datasets": STUDY.run.datasets, "lead": LEAD, "kinds": KINDS}
        ),
        code=provenance.digest("tables.py"),
    script:
        "../workflow/scripts/tables.py"


rule figures:
    input:
        "<results>/tables/metrics.csv",
    output:
        curves_svg=[
            report(
                f"<results>/figures/curves_{dataset}.svg",
                caption="../workflow/report/curves.rst",
                category="Figures",
                labels={"dataset": dataset, "figure": "learning curves"},
            )
            for dataset in STUDY.run.datasets
        ],
        finals_svg=[
            report(
                f"<results>/figures/finals_{dataset}.svg",
                caption="../workflow/report/finals.rst",
                category="Figures",
                labels={"dataset": dataset, "figure": "final scores"},
            )
            for dataset in STUDY.run.datasets
        ],
        curves_pdf=expand(
            "<results>/figures/curves_{dataset}.pdf", dataset=STUDY.run.datasets
        ),
        finals_pdf=expand(
            "<results>/figures/finals_{dataset}.pdf", dataset=STUDY.run.datasets
        ),
    log:
        "<logs>/figures.log",
    conda:
        "../envs/plot.yaml"
    params:
        trials=STUDY.run.trials,
        spec=provenance.canonical(
            {"datasets": STUDY.run.datasets, "lead": LEAD, "kinds": KINDS}
        ),
        code=provenance.digest("figures.py"),
    script:
        "../workflow/scripts/figures.py"
