rule finetune:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=of_study(paths.labels_of_this_round),
        head=of_study(paths.zero_shot_head),
        weights=of_study(paths.weight_files),
        trained=of_study(paths.metrics_of_the_same_model),
        tuned=of_study(paths.tuned_final),
    output:
        metrics=f"{_RUN}/finetune-{{model}}/metrics.json",
        history=f"{_RUN}/finetune-{{model}}/history.csv",
        cost=f"{_RUN}/finetune-{{model}}/cost.json",
    log:
        f"{_LOG}/finetune-{{model}}.log",
    conda:
        "../envs/train.yaml"
    threads: final_threads
    resources:
        mem_mb=final_mem_mb,
        runtime=final_runtime,
        gpu=final_gpu,
        nodes=1,
    params:
        spec=of_study(specs.finetune_spec),
        code=of_study(specs.finetune_code),
        end_to_end=how_end_to_end,
    script:
        "../workflow/scripts/finetune.py"
