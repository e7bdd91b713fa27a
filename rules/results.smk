# Results of others, as rows of the study's table.
rule import_results:
    input:
        files=imported_files,
        own=own_datasets,
    output:
        rows="<results>/imported/{source}.parquet",
        tuned="<results>/imported/{source}.tuned.json",
    log:
        "<logs>/imported/{source}.log",
    wildcard_constraints:
        source="|".join(STUDY.imports) or NEVER,
    localrule: True
    conda:
        "../envs/plot.yaml"
    params:
        spec=import_spec,
        code=import_code,
    script:
        "../workflow/scripts/import_results.py"


rule collect:
    input:
        metrics=study_metrics,
        costs=study_costs,
        zero_shot=study_zero_shot,
        replicates=replicate_metrics,
        embeddings=study_embedding_costs,
        imported=expand("<results>/imported/{source}.parquet", source=STUDY.imports),
    output:
        csv="<results>/tables/metrics.csv",
        parquet="<results>/tables/metrics.parquet",
        left_out="<results>/tables/left_out.json",
    log:
        "<logs>/collect.log",
    localrule: True
    conda:
        "../envs/plot.yaml"
    params:
        spec=spec(order=ORDER, own=contents.order(OWN)["strategy"]),
        code=provenance.digest("collect.py"),
    script:
        "../workflow/scripts/collect.py"


rule tables:
    input:
        metrics=rules.collect.output.csv,
        left_out=rules.collect.output.left_out,
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
    localrule: True
    conda:
        "../envs/plot.yaml"
    params:
        trials=TRIALS,
        spec=spec(
            **COMPARED,
            tables=list(map(list, TABLES)),
            overall=list(OVERALL_TABLES),
            equivalence=EQUIVALENCE,
            passive={d: held.passive for d, held in CONTENTS.items()},
            costs=config.get("costs", {}),
            end_to_end={d: held.end_to_end for d, held in CONTENTS.items()},
            published={d: held.published for d, held in CONTENTS.items()},
        ),
        code=provenance.digest("tables.py"),
    script:
        "../workflow/scripts/tables.py"


rule figures:
    input:
        rules.collect.output.csv,
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
    localrule: True
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
    localrule: True
    conda:
        "../envs/plot.yaml"
    params:
        results=workflow.pathvars.apply("<results>"),
    script:
        "../workflow/scripts/costs.py"


# The study in one file, for others to import: `snakemake archive -c1`.
rule archive:
    input:
        results=study_results,
        metrics=study_metrics,
        costs=study_costs,
        labels=study_label_sets,
        zero_shot=study_zero_shot,
        embeddings=study_embedding_costs,
        replicates=replicate_metrics,
        tuned=study_tuned,
        datasets=study_datasets,
    output:
        "<results>/archive.zip",
    log:
        "<logs>/archive.log",
    localrule: True
    conda:
        "../envs/plot.yaml"
    params:
        spec=spec(
            contents={name: held._asdict() for name, held in OWN.items()},
            definitions=own_definitions(),
        ),
        config=CONFIG,
        code=provenance.digest("archive.py"),
    script:
        "../workflow/scripts/archive.py"
