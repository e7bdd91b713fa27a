# Rebuilds the checkpoint in resources/; no target asks for it. See resources/glyphclip/MODEL_CARD.md.
rule pretrain_glyphclip:
    input:
        model=shipped.find("resources/glyphclip/glyphclip.json"),
    output:
        "<results>/pretrain/glyphclip.safetensors",
    log:
        "<logs>/pretrain_glyphclip.log",
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=small(4000),
        runtime=minutes(30),
    params:
        code=provenance.digest("pretrain_glyphclip.py"),
    script:
        "../workflow/scripts/pretrain_glyphclip.py"
