rule train_proxy:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=labels_of_this_round,
        clean="<results>/embeddings/{dataset}/{encoder}/clean.h5",
        augmented=expand(
            "<results>/embeddings/{{dataset}}/{{encoder}}/aug{seed}.h5",
            seed=range(config["augmentations"]),
        ),
    output:
        proxy=f"{_RUN}/proxy.safetensors",
        metrics=f"{_RUN}/metrics.json",
        cost=f"{_RUN}/cost.json",
    log:
        f"{_LOG}/train_proxy.log",
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        spec=proxy_spec,
        code=proxy_code,
    script:
        "../workflow/scripts/train_proxy.py"


# Buys the batch with which the label set of round k-1 becomes that of round k.
rule select_batch:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=labels_of_round_before,
        proxy=proxy_of_round_before,
        clean=clean_embeddings_if_used,
    output:
        labels=f"{_RUN}/labels.h5",
        cost=f"{_RUN}/select_cost.json",
    log:
        f"{_LOG}/select_batch.log",
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        spec=select_spec,
        code=select_code,
    script:
        "../workflow/scripts/select_batch.py"
