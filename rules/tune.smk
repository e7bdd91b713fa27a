# Settings of a trainer that are chosen from candidates, once for all trials, rounds and strategies (LabelBench paper,
# Appendix F.3). A candidate is trained as any model is, by the same jobs; `round00` of trial 0 is its address, so that
# all candidates have the same labels and seeds. The selector `final` stands for models trained end to end.
_TRIED = _RUN.replace("runs", "tuned")
_TRIED_LOG = _LOG.replace("runs", "tuned")


rule tuning_labels:
    input:
        dataset="<results>/datasets/{dataset}.h5",
    output:
        f"{_TRIED}/labels.h5",
    log:
        f"{_TRIED_LOG}/tuning_labels.log",
    wildcard_constraints:
        selector=paths.one_of([*STUDY.selectors, "final"]),
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=small(2000),
        runtime=minutes(30),
    params:
        spec=of_study(specs.tuning_labels_spec),
        code=of_study(specs.tuning_labels_code),
    script:
        "../workflow/scripts/tuning_labels.py"


use rule train_proxy as try_proxy with:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=f"{_TRIED}/labels.h5",
        clean="<results>/embeddings/{dataset}/{encoder}/clean.h5",
        augmented=expand(
            "<results>/embeddings/{{dataset}}/{{encoder}}/aug{seed}.h5",
            seed=range(config["augmentations"]),
        ),
    output:
        proxy=temp(f"{_TRIED}/candidate{{candidate}}/proxy.safetensors"),
        metrics=f"{_TRIED}/candidate{{candidate}}/metrics.json",
        history=f"{_TRIED}/candidate{{candidate}}/history.csv",
        cost=f"{_TRIED}/candidate{{candidate}}/cost.json",
    log:
        f"{_TRIED_LOG}/candidate{{candidate}}.log",


use rule finetune as try_finetune with:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=f"{_TRIED}/labels.h5",
        head=of_study(paths.zero_shot_head),
        weights=of_study(paths.weight_files),
        trained=[],
    output:
        metrics=f"{_TRIED}/candidate{{candidate}}/finetune-{{model}}/metrics.json",
        history=f"{_TRIED}/candidate{{candidate}}/finetune-{{model}}/history.csv",
        cost=f"{_TRIED}/candidate{{candidate}}/finetune-{{model}}/cost.json",
    log:
        f"{_TRIED_LOG}/candidate{{candidate}}-{{model}}.log",
    wildcard_constraints:
        selector="final",


rule tune:
    input:
        of_study(paths.metrics_of_candidates),
    output:
        "<results>/tuned/{dataset}/{encoder}/{selector}-{trainer}.json",
    log:
        "<logs>/tuned/{dataset}/{encoder}/{selector}-{trainer}.log",
    wildcard_constraints:
        selector=paths.one_of([*STUDY.selectors, "final"]),
    localrule: True
    conda:
        "../envs/plot.yaml"
    params:
        spec=of_study(specs.tune_spec),
        code=provenance.digest("tune.py"),
    script:
        "../workflow/scripts/tune.py"


# What was chosen, and the labels that it took.
rule tuning_table:
    input:
        own=of_models(grid.tuned_settings),
        imported=imported_tuned,
    output:
        csv="<results>/tables/tuning.csv",
        html=report(
            "<results>/tables/tuning.html",
            caption="../workflow/report/tables_tuning.rst",
            category="Tables",
            labels={"dataset": "all", "table": "tuned settings"},
        ),
    log:
        "<logs>/tuning_table.log",
    localrule: True
    conda:
        "../envs/plot.yaml"
    params:
        code=provenance.digest("tuning_table.py"),
    script:
        "../workflow/scripts/tuning_table.py"
