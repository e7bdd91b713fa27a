rule embed:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        weights=weight_files,
    output:
        "<results>/embeddings/{dataset}/{encoder}/{view}.h5",
    log:
        "<logs>/embed/{dataset}/{encoder}/{view}.log",
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime="4h",
    params:
        spec=embed_spec,
        code=embed_code,
    script:
        "../workflow/scripts/embed.py"


rule zero_shot_head:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        weights=weight_files,
    output:
        head="<results>/embeddings/{dataset}/{encoder}/zero_shot_head.safetensors",
        metrics="<results>/embeddings/{dataset}/{encoder}/zero_shot.json",
    log:
        "<logs>/zero_shot_head/{dataset}/{encoder}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=8000,
        runtime="30m",
    params:
        spec=zero_shot_spec,
        code=zero_shot_code,
    script:
        "../workflow/scripts/zero_shot_head.py"


# The zero-shot head's guesses for the pool, for a first round that asks for probabilities.
rule zero_shot_pool:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        weights=weight_files,
        head="<results>/embeddings/{dataset}/{encoder}/zero_shot_head.safetensors",
    output:
        "<results>/embeddings/{dataset}/{encoder}/zero_shot_pool.h5",
    log:
        "<logs>/zero_shot_pool/{dataset}/{encoder}.log",
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime="4h",
    params:
        spec=zero_shot_spec,
        code=zero_shot_pool_code,
    script:
        "../workflow/scripts/zero_shot_pool.py"
