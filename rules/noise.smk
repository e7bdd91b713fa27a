# The noise floor: how much scores differ between trainings on identical labels. Replicates are trained as any model is, by
# the same jobs, from another seed; nothing is selected with them.
_AGAIN = f"{_RUN}/replicate{{replicate}}"
_AGAIN_LOG = f"{_LOG}/replicate{{replicate}}"


use rule train_proxy as train_proxy_again with:
    output:
        proxy=temp(f"{_AGAIN}/proxy.safetensors"),
        metrics=f"{_AGAIN}/metrics.json",
        history=f"{_AGAIN}/history.csv",
        cost=f"{_AGAIN}/cost.json",
    log:
        f"{_AGAIN_LOG}.log",
    params:
        spec=of_study(specs.replicate_proxy_spec),
        code=of_study(specs.proxy_code),


use rule finetune as finetune_again with:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=of_study(paths.labels_of_this_round),
        head=of_study(paths.zero_shot_head),
        weights=of_study(paths.weight_files),
        trained=[],
        tuned=of_study(paths.tuned_final),
    output:
        metrics=f"{_AGAIN}/finetune-{{model}}/metrics.json",
        history=f"{_AGAIN}/finetune-{{model}}/history.csv",
        cost=f"{_AGAIN}/finetune-{{model}}/cost.json",
    log:
        f"{_AGAIN_LOG}-{{model}}.log",
    params:
        spec=of_study(specs.replicate_finetune_spec),
        code=of_study(specs.finetune_code),
        end_to_end=how_end_to_end,
