rule prepare_dataset:
    input:
        of_study(paths.source_files),
    output:
        "<results>/datasets/{dataset}.h5",
    log:
        "<logs>/prepare_dataset/{dataset}.log",
    priority: 2
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=small(4000),
        runtime=minutes(60),
    params:
        spec=of_study(specs.dataset_spec),
        code=of_study(specs.dataset_code),
        # Of the user's own images contents decide, not the dates of folders, and no path of theirs is an input.
        contents=lambda wildcards: specs.contents(
            STUDY, wildcards, RESULTS, workflow.is_main_process
        ),
        memory=lambda wildcards: specs.memory(STUDY, wildcards.dataset, RESULTS),
    script:
        "../workflow/scripts/prepare_dataset.py"


# The label set of round 1, shared by every strategy and selector of a trial.
rule initial_labels:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        clean=of_study(paths.clean_embeddings_if_initial_uses_them),
        zero_shot=of_study(paths.zero_shot_guesses_if_initial_uses_them),
    output:
        "<results>/initial/{dataset}/{encoder}/trial{trial}/labels.h5",
    log:
        "<logs>/initial_labels/{dataset}/{encoder}/trial{trial}.log",
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=select_mem_mb,
        runtime=select_runtime,
        gpu=initial_gpu,
    params:
        spec=of_study(specs.initial_spec),
        code=of_study(specs.initial_code),
        total=initial_total,
    script:
        "../workflow/scripts/initial_labels.py"
