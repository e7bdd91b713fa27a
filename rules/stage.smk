# All that needs the internet or that a user can have forgotten, on a login node, before jobs are sent to nodes without
# it: weights and tokenizers are downloaded into their caches, datasets are checked and prepared.
rule stage:
    input:
        expand("<results>/datasets/{dataset}.h5", dataset=STUDY.run.datasets),
    output:
        "<results>/staged.json",
    log:
        "<logs>/stage.log",
    localrule: True
    conda:
        "../envs/train.yaml"
    params:
        spec=spec(
            encoders=[STUDY.encoders[name].settings for name in STUDY.run.encoders]
        ),
        code=provenance.digest(
            "stage.py", *(STUDY.encoders[name].source for name in STUDY.run.encoders)
        ),
    script:
        "../workflow/scripts/stage.py"
