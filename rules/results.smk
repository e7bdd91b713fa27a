# Results of others, as rows of the study's table.
rule import_results:
    input:
        files=imported_files,
        own=own_datasets,
    output:
        rows="<results>/imported/{source}.parquet",
        hits="<results>/imported/{source}.hits.parquet",
        left_out="<results>/imported/{source}.left_out.json",
        tuned="<results>/imported/{source}.tuned.json",
    log:
        "<logs>/imported/{source}.log",
    wildcard_constraints:
        source=paths.one_of(STUDY.imports),
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
        costs=of_models(grid.costs),
        zero_shot=of_models(grid.zero_shot),
        replicates=replicate_metrics,
        embeddings=of_models(grid.embedding_costs),
        imported=expand("<results>/imported/{source}.parquet", source=STUDY.imports),
        imported_hits=expand(
            "<results>/imported/{source}.hits.parquet", source=STUDY.imports
        ),
        imported_notes=expand(
            "<results>/imported/{source}.left_out.json", source=STUDY.imports
        ),
    output:
        csv="<results>/tables/metrics.csv",
        parquet="<results>/tables/metrics.parquet",
        hits="<results>/tables/hits.parquet",
        left_out="<results>/tables/left_out.json",
    log:
        "<logs>/collect.log",
    localrule: True
    conda:
        "../envs/plot.yaml"
    params:
        spec=spec(order=SHOWN.order, own=contents.order(SHOWN.own)["strategy"]),
        code=provenance.digest("collect.py"),
    script:
        "../workflow/scripts/collect.py"


rule tables:
    input:
        metrics=rules.collect.output.csv,
        hits=rules.collect.output.hits,
        left_out=rules.collect.output.left_out,
    output:
        csv=[
            *result_files("tables", FILES.tables, "csv"),
            *overall_files("tables", FILES.overall_tables, "csv"),
        ],
        tex=[
            *result_files("tables", FILES.tables, "tex"),
            *overall_files("tables", FILES.overall_tables, "tex"),
        ],
        html=[
            *reported("tables", FILES.tables, "html"),
            *overall_reported("tables", FILES.overall_tables, "html"),
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
        trials=config["run"]["trials"],
        spec=spec(
            **shown.compared(SHOWN),
            uncompared=shown.uncompared(SHOWN),
            tables=list(map(list, FILES.tables)),
            overall=list(FILES.overall_tables),
            equivalence=STUDY.equivalence,
            family=STUDY.family,
            passive={d: held.passive for d, held in SHOWN.contents.items()},
            costs=config.get("costs", {}),
            end_to_end={d: held.end_to_end for d, held in SHOWN.contents.items()},
            published={d: held.published for d, held in SHOWN.contents.items()},
        ),
        code=provenance.digest("tables.py"),
    script:
        "../workflow/scripts/tables.py"


rule figures:
    input:
        metrics=rules.collect.output.csv,
        hits=rules.collect.output.hits,
    output:
        svg=[
            *reported("figures", FILES.figures, "svg"),
            *overall_reported("figures", FILES.overall_figures, "svg"),
        ],
        pdf=[
            *result_files("figures", FILES.figures, "pdf"),
            *overall_files("figures", FILES.overall_figures, "pdf"),
        ],
    log:
        "<logs>/figures.log",
    localrule: True
    conda:
        "../envs/plot.yaml"
    params:
        trials=config["run"]["trials"],
        spec=spec(
            **shown.compared(SHOWN),
            figures=list(map(list, FILES.figures)),
            overall=list(FILES.overall_figures),
            equivalence=STUDY.equivalence,
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
        results=RESULTS,
    script:
        "../workflow/scripts/costs.py"


# The study in one file, for others to import: `snakemake archive -c1`.
rule archive:
    input:
        results=study_results,
        metrics=study_metrics,
        costs=of_models(grid.costs),
        labels=of_models(grid.label_sets),
        zero_shot=of_models(grid.zero_shot),
        embeddings=of_models(grid.embedding_costs),
        replicates=replicate_metrics,
        tuned=of_models(grid.tuned_settings),
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
            contents={name: held._asdict() for name, held in SHOWN.own.items()},
            definitions=shown.own_definitions(STUDY),
        ),
        config=CONFIG,
        code=provenance.digest("archive.py"),
    script:
        "../workflow/scripts/archive.py"
