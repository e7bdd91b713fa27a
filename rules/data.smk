rule prepare_dataset:
    input:
        source_files,
    output:
        "<results>/datasets/{dataset}.h5",
    log:
        "<logs>/prepare_dataset/{dataset}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=4000,
        runtime="30m",
    params:
        spec=dataset_spec,
        code=dataset_code,
    script:
        "../workflow/scripts/prepare_dataset.py"


# The label set of round 1, shared by every strategy and selector of a trial.
rule initial_labels:
    input:
        dataset="<results>/datasets/{dataset}.h5",
    output:
        "<results>/initial/{dataset}/trial{trial}/labels.h5",
    log:
        "<logs>/initial_labels/{dataset}/trial{trial}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=2000,
        runtime="10m",
    params:
        spec=initial_spec,
        code=provenance.digest("initial_labels.py"),
        total=initial_total,
    script:
        "../workflow/scripts/initial_labels.py"
