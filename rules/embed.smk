# Embeddings can be shared between workflows (`snakemake --cache embed embed_shard`): their params hold all that they
# depend on. There is no `cache:` here because Snakemake would then warn in every run without `--cache`.


rule embed:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        weights=of_study(paths.weight_files),
    output:
        embeddings="<results>/embeddings/{dataset}/{encoder}/{view}.h5",
        cost="<results>/embeddings/{dataset}/{encoder}/{view}.cost.json",
    log:
        "<logs>/embed/{dataset}/{encoder}/{view}.log",
    wildcard_constraints:
        dataset=paths.datasets_embedded_in(STUDY, one_job=True),
    priority: 1
    conda:
        "../envs/train.yaml"
    threads: image_threads
    resources:
        mem_mb=image_mem_mb,
        runtime=embed_runtime,
        gpu=embed_gpu,
    params:
        spec=of_study(specs.embed_spec),
        code=of_study(specs.embed_code),
    script:
        "../workflow/scripts/embed.py"


# The same files where a dataset consists of embeddings.
rule take_features:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        features=of_study(paths.source_files),
        clean=of_study(paths.clean_behind_views),
    output:
        embeddings="<results>/embeddings/{dataset}/{encoder}/{view}.h5",
        cost="<results>/embeddings/{dataset}/{encoder}/{view}.cost.json",
    log:
        "<logs>/take_features/{dataset}/{encoder}/{view}.log",
    wildcard_constraints:
        dataset=paths.datasets_of_features(STUDY),
    priority: 1
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=small(2000),
        runtime=minutes(60),
    params:
        spec=of_study(specs.embed_spec),
        code=of_study(specs.take_features_code),
    script:
        "../workflow/scripts/take_features.py"


# A dataset with `shards` above 1 is embedded by that many jobs, which a kill does not undo when they are done.
rule embed_shard:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        weights=of_study(paths.weight_files),
    output:
        embeddings=temp(
            "<results>/embeddings/{dataset}/{encoder}/{view}.shard{part}of{parts}.h5"
        ),
        cost=temp(
            "<results>/embeddings/{dataset}/{encoder}/{view}.shard{part}of{parts}.cost.json"
        ),
    log:
        "<logs>/embed_shard/{dataset}/{encoder}/{view}.{part}of{parts}.log",
    wildcard_constraints:
        part="[0-9]+",
        parts="[0-9]+",
    priority: 1
    conda:
        "../envs/train.yaml"
    threads: image_threads
    resources:
        mem_mb=image_mem_mb,
        runtime=embed_runtime,
        gpu=embed_gpu,
    params:
        spec=of_study(specs.embed_spec),
        code=of_study(specs.embed_code),
        part=of_study(specs.embed_part),
    script:
        "../workflow/scripts/embed.py"


# Not part of `embed`, so that a cache between workflows keeps shards once and not their sum as well.
rule gather_shards:
    input:
        shards=of_study(paths.shard_files),
        costs=of_study(paths.shard_costs),
    output:
        embeddings="<results>/embeddings/{dataset}/{encoder}/{view}.h5",
        cost="<results>/embeddings/{dataset}/{encoder}/{view}.cost.json",
    log:
        "<logs>/gather_shards/{dataset}/{encoder}/{view}.log",
    wildcard_constraints:
        dataset=paths.datasets_embedded_in(STUDY, one_job=False),
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=small(2000),
        runtime=minutes(60),
    params:
        spec=of_study(specs.embed_spec),
        code=of_study(specs.gather_code),
    script:
        "../workflow/scripts/gather_shards.py"


rule zero_shot_head:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        weights=of_study(paths.weight_files),
    output:
        head="<results>/embeddings/{dataset}/{encoder}/zero_shot_head.safetensors",
        metrics="<results>/embeddings/{dataset}/{encoder}/zero_shot.json",
    log:
        "<logs>/zero_shot_head/{dataset}/{encoder}.log",
    priority: 1
    conda:
        "../envs/train.yaml"
    threads: image_threads
    resources:
        mem_mb=image_mem_mb,
        runtime=zero_shot_runtime,
        gpu=embed_gpu,
    params:
        spec=of_study(specs.zero_shot_spec),
        code=of_study(specs.zero_shot_code),
    script:
        "../workflow/scripts/zero_shot_head.py"


# The zero-shot head's guesses for the pool, for a first round that asks for probabilities.
rule zero_shot_pool:
    input:
        dataset="<results>/datasets/{dataset}.h5",
        weights=of_study(paths.weight_files),
        head="<results>/embeddings/{dataset}/{encoder}/zero_shot_head.safetensors",
    output:
        "<results>/embeddings/{dataset}/{encoder}/zero_shot_pool.h5",
    log:
        "<logs>/zero_shot_pool/{dataset}/{encoder}.log",
    conda:
        "../envs/train.yaml"
    threads: image_threads
    resources:
        mem_mb=image_mem_mb,
        runtime=embed_runtime,
        gpu=embed_gpu,
    params:
        spec=of_study(specs.zero_shot_spec),
        code=of_study(specs.zero_shot_pool_code),
    script:
        "../workflow/scripts/zero_shot_pool.py"
