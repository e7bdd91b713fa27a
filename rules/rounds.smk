rule train_proxy:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=of_study(paths.labels_of_this_round),
        clean=of_study(paths.clean_embeddings_of_this_round),
        augmented=of_study(paths.augmented_embeddings_of_this_round),
        tuned=of_study(paths.tuned_proxy),
    output:
        proxy=f"{_RUN}/proxy.safetensors",
        metrics=f"{_RUN}/metrics.json",
        history=f"{_RUN}/history.csv",
        cost=f"{_RUN}/cost.json",
    log:
        f"{_LOG}/train_proxy.log",
    wildcard_constraints:
        selector=paths.selectors_that_train(STUDY, end_to_end=False),
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=proxy_mem_mb,
        runtime=proxy_runtime,
        gpu=proxy_gpu,
    params:
        spec=of_study(specs.proxy_spec),
        code=of_study(specs.proxy_code),
    script:
        "../workflow/scripts/train_proxy.py"


# Where the selector is the encoder itself: it is trained instead of a proxy, and leaves the same for `select_batch`, a
# classifier and the pool's features that this multiplies. The features are kept, although they can be made again: with
# `temp()`, another strategy or round would train all earlier rounds anew.
rule finetune_round:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=of_study(paths.labels_of_this_round),
        head=of_study(paths.zero_shot_head),
        weights=of_study(paths.weight_files),
        tuned=of_study(paths.tuned_end_to_end),
    output:
        proxy=f"{_RUN}/proxy.safetensors",
        features=f"{_RUN}/features.h5",
        metrics=f"{_RUN}/metrics.json",
        history=f"{_RUN}/history.csv",
        cost=f"{_RUN}/cost.json",
    log:
        f"{_LOG}/finetune_round.log",
    wildcard_constraints:
        selector=paths.selectors_that_train(STUDY, end_to_end=True),
    conda:
        "../envs/train.yaml"
    threads: finetune_threads
    resources:
        mem_mb=finetune_mem_mb,
        runtime=finetune_runtime,
        gpu=gpus_of_encoder,
        nodes=1,
        decoded_mb=decoded_mb,
    params:
        spec=of_study(specs.finetune_round_spec),
        code=of_study(specs.finetune_round_code),
        end_to_end=how_end_to_end,
    script:
        "../workflow/scripts/finetune_round.py"


# Where the selector blends: the encoder, fine-tuned on a round's labels, embeds the images anew for the rounds after it.
rule refresh:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=of_study(paths.labels_of_this_round),
        head=of_study(paths.zero_shot_head),
        weights=of_study(paths.weight_files),
        tuned=of_study(paths.tuned_refresh),
    output:
        clean=f"{_RUN}/refresh/clean.h5",
        augmented=[
            f"{_RUN}/refresh/aug{seed}.h5" for seed in range(config["augmentations"])
        ],
        metrics=f"{_RUN}/refresh/metrics.json",
        history=f"{_RUN}/refresh/history.csv",
        cost=f"{_RUN}/refresh/cost.json",
    log:
        f"{_LOG}/refresh.log",
    wildcard_constraints:
        selector=paths.one_of(STUDY.refreshes),
    conda:
        "../envs/train.yaml"
    threads: finetune_threads
    resources:
        mem_mb=finetune_mem_mb,
        runtime=finetune_runtime,
        gpu=gpus_of_encoder,
        nodes=1,
        decoded_mb=decoded_mb,
    params:
        spec=of_study(specs.refresh_spec),
        code=of_study(specs.refresh_code),
        end_to_end=how_end_to_end,
    script:
        "../workflow/scripts/refresh.py"


# Buys the batch with which the label set of round k-1 becomes that of round k.
rule select_batch:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        labels=of_study(paths.labels_of_round_before),
        proxy=of_study(paths.proxy_of_round_before),
        clean=of_study(paths.features_of_round_before),
    output:
        labels=f"{_RUN}/labels.h5",
        cost=f"{_RUN}/select_cost.json",
    log:
        f"{_LOG}/select_batch.log",
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=select_mem_mb,
        runtime=select_runtime,
        gpu=proxy_gpu,
    params:
        spec=of_study(specs.select_spec),
        code=of_study(specs.select_code),
    script:
        "../workflow/scripts/select_batch.py"
