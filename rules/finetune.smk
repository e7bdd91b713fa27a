rule finetune:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=labels_of_this_round,
        head=zero_shot_head,
        weights=weight_files,
        trained=metrics_of_the_same_model,
        tuned=tuned_final,
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
    params:
        spec=finetune_spec,
        code=finetune_code,
    script:
        "../workflow/scripts/finetune.py"
