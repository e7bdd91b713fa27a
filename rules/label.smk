# Labelling with people: a folder of images and what people have answered so far → the next batch, and where one stands.
# A campaign is a config with a section `label` (docs/labelling.md). Batches and answers stand in `labelling/`, belong to
# people and are never changed; all that is derived from them stands under results.
if CAMPAIGN:

    rule index_images:
        output:
            images=update(f"{_DERIVED}/images.csv"),
            known=update(f"{_DERIVED}/files.csv"),
            absent=f"{_DERIVED}/absent.csv",
        log:
            f"{_CAMPAIGN_LOG}/index_images.log",
        conda:
            "../envs/train.yaml"
        threads: 2
        resources:
            mem_mb=4000,
            runtime=240,
        params:
            spec=lambda wildcards: LABELLING.index_spec(),
            folder=f"labelling/{CAMPAIGN.name}",
            code=provenance.digest("index_images.py"),
        script:
            "../workflow/scripts/index_images.py"

    rule embed_images:
        input:
            images=f"{_DERIVED}/images.csv",
            weights=as_it_is(CAMPAIGN.encoder.module.files(CAMPAIGN.encoder.config)),
        output:
            update(f"{_DERIVED}/embeddings/{{view}}.h5"),
        log:
            f"{_CAMPAIGN_LOG}/embed_images/{{view}}.log",
        conda:
            "../envs/train.yaml"
        threads: threads_to_embed
        resources:
            mem_mb=mem_mb_to_predict,
            runtime=1440,
            gpu=gpu_if_here,
        params:
            spec=as_it_is(provenance.canonical({"encoder": CAMPAIGN.encoder.settings})),
            code=provenance.digest("embed_images.py", CAMPAIGN.encoder.source),
            images=as_it_is(CAMPAIGN.settings.images),
        script:
            "../workflow/scripts/embed_images.py"

    checkpoint ingest_answers:
        input:
            images=f"{_DERIVED}/images.csv",
            absent=f"{_DERIVED}/absent.csv",
        output:
            answers=f"{_DERIVED}/answers.csv",
            problems=f"labelling/{CAMPAIGN.name}/problems.csv",
            conflicts=f"labelling/{CAMPAIGN.name}/conflicts.csv",
        log:
            f"{_CAMPAIGN_LOG}/ingest_answers.log",
        conda:
            "../envs/train.yaml"
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            spec=lambda wildcards: LABELLING.answers_spec(),
            folder=f"labelling/{CAMPAIGN.name}",
            code=provenance.digest("ingest_answers.py"),
        script:
            "../workflow/scripts/ingest_answers.py"

    # Which answers a round knows is in `labels`: a corrected answer trains anew from its round on, an added image nothing.
    rule train_answers:
        input:
            images=ancient(f"{_DERIVED}/images.csv"),
            answers=ancient(f"{_DERIVED}/answers.csv"),
            clean=ancient(f"{_DERIVED}/embeddings/clean.h5"),
            augmented=[
                ancient(path)
                for path in LABELLING.views(
                    f"{_DERIVED}/embeddings", config["augmentations"]
                )
            ],
        output:
            f"{_DERIVED}/round{{round}}/model.safetensors",
        log:
            f"{_CAMPAIGN_LOG}/round{{round}}/train_answers.log",
        conda:
            "../envs/train.yaml"
        resources:
            mem_mb=mem_mb_to_learn,
            runtime=60,
        params:
            spec=as_it_is(provenance.canonical(campaigns.spec(CAMPAIGN))),
            folder=f"labelling/{CAMPAIGN.name}",
            complete=CAMPAIGN.settings.complete,
            labels=labels_of_round,
            code=provenance.digest(
                "train_answers.py", CAMPAIGN.selector.source, CAMPAIGN.trainer.source
            ),
        script:
            "../workflow/scripts/train_answers.py"

    rule assess:
        input:
            images=f"{_DERIVED}/images.csv",
            absent=f"{_DERIVED}/absent.csv",
            answers=f"{_DERIVED}/answers.csv",
            clean=f"{_DERIVED}/embeddings/clean.h5",
            models=campaign_models,
            problems=f"labelling/{CAMPAIGN.name}/problems.csv",
        output:
            text=f"labelling/{CAMPAIGN.name}/status.txt",
            html=f"labelling/{CAMPAIGN.name}/status.html",
            assessment=f"{_DERIVED}/assessment.json",
        log:
            f"{_CAMPAIGN_LOG}/assess.log",
        conda:
            "../envs/train.yaml"
        resources:
            mem_mb=8000,
            runtime=60,
        params:
            spec=as_it_is(provenance.canonical(campaigns.as_json(CAMPAIGN))),
            folder=f"labelling/{CAMPAIGN.name}",
            code=provenance.digest("assess.py"),
        script:
            "../workflow/scripts/assess.py"

    # Asked for only where the batch does not exist yet: one that went out to people is never made anew.
    rule propose_batch:
        input:
            images=f"{_DERIVED}/images.csv",
            answers=f"{_DERIVED}/answers.csv",
            clean=f"{_DERIVED}/embeddings/clean.h5",
            model=model_of_round_before,
        output:
            f"labelling/{CAMPAIGN.name}/batch{{batch}}/batch.json",
        log:
            f"{_CAMPAIGN_LOG}/batch{{batch}}.log",
        wildcard_constraints:
            batch="[0-9][0-9]+",
        conda:
            "../envs/train.yaml"
        resources:
            mem_mb=mem_mb_to_propose,
            runtime=240,
        params:
            spec=as_it_is(provenance.canonical(campaigns.as_json(CAMPAIGN))),
            folder=f"labelling/{CAMPAIGN.name}",
            kind="batch",
            code=provenance.digest(
                "propose_batch.py",
                CAMPAIGN.selector.source,
                CAMPAIGN.strategy.source,
                CAMPAIGN.first.source,
            ),
        script:
            "../workflow/scripts/propose_batch.py"

    if CAMPAIGN.finetune:

        # The answers of a promise's audit teach nothing, so it is the same model before and after them.
        rule finetune_answers:
            input:
                images=ancient(f"{_DERIVED}/images.csv"),
                answers=ancient(f"{_DERIVED}/answers.csv"),
                weights=as_it_is(CAMPAIGN.encoder.module.files(CAMPAIGN.encoder.config)),
            output:
                f"{_DERIVED}/finetuned/model.safetensors",
            log:
                f"{_CAMPAIGN_LOG}/finetune_answers.log",
            conda:
                "../envs/train.yaml"
            threads: threads_of_campaign
            resources:
                mem_mb=mem_mb_of_campaign,
                runtime=1440,
                gpu=gpus_of_campaign,
                decoded_mb=decoded_mb_of_campaign,
                nodes=1,
            params:
                spec=as_it_is(provenance.canonical(campaigns.finetune_spec(CAMPAIGN))),
                folder=f"labelling/{CAMPAIGN.name}",
                complete=CAMPAIGN.settings.complete,
                images=as_it_is(CAMPAIGN.settings.images),
                round=last_round,
                labels=last_labels,
                end_to_end=how_of_campaign,
                code=provenance.digest(
                    "finetune_answers.py",
                    CAMPAIGN.encoder.source,
                    CAMPAIGN.finetune.source,
                ),
            script:
                "../workflow/scripts/finetune_answers.py"

        rule predict_images:
            input:
                images=f"{_DERIVED}/images.csv",
                model=rules.finetune_answers.output[0],
                weights=as_it_is(CAMPAIGN.encoder.module.files(CAMPAIGN.encoder.config)),
            output:
                f"{_DERIVED}/finetuned/predictions.csv",
            log:
                f"{_CAMPAIGN_LOG}/predict_images.log",
            conda:
                "../envs/train.yaml"
            threads: threads_to_predict
            resources:
                mem_mb=mem_mb_to_predict,
                runtime=240,
                gpu=any_gpu,
            params:
                spec=as_it_is(provenance.canonical(campaigns.finetune_spec(CAMPAIGN))),
                images=as_it_is(CAMPAIGN.settings.images),
                code=provenance.digest("predict_images.py", CAMPAIGN.encoder.source),
            script:
                "../workflow/scripts/predict_images.py"

    # The last audit of a campaign with a promise: a fresh random draw of what has no label, blind, the model frozen.
    use rule propose_batch as propose_promise with:
        input:
            images=f"{_DERIVED}/images.csv",
            answers=f"{_DERIVED}/answers.csv",
            clean=f"{_DERIVED}/embeddings/clean.h5",
            model=model_of_round_before,
            finetuned=rules.finetune_answers.output[0] if CAMPAIGN.finetune else [],
            predictions=rules.predict_images.output[0] if CAMPAIGN.finetune else [],
        output:
            f"labelling/{CAMPAIGN.name}/batch{{batch}}/frozen.csv",
        log:
            f"{_CAMPAIGN_LOG}/promise{{batch}}.log",
        params:
            spec=as_it_is(provenance.canonical(campaigns.as_json(CAMPAIGN))),
            folder=f"labelling/{CAMPAIGN.name}",
            kind="promise",
            code=provenance.digest("propose_batch.py", CAMPAIGN.selector.source),

    rule deliver_labels:
        input:
            images=f"{_DERIVED}/images.csv",
            answers=f"{_DERIVED}/answers.csv",
            clean=f"{_DERIVED}/embeddings/clean.h5",
            model=delivering,
            finetuned=finetuned("model.safetensors"),
            predictions=finetuned("predictions.csv"),
        output:
            labels=f"labelling/{CAMPAIGN.name}/labels.csv",
            metadata=f"labelling/{CAMPAIGN.name}/metadata.csv",
            text=f"labelling/{CAMPAIGN.name}/delivered.txt",
            model=directory(f"labelling/{CAMPAIGN.name}/model"),
        log:
            f"{_CAMPAIGN_LOG}/deliver_labels.log",
        conda:
            "../envs/train.yaml"
        resources:
            mem_mb=8000,
            runtime=60,
        params:
            spec=as_it_is(provenance.canonical(campaigns.as_json(CAMPAIGN))),
            folder=f"labelling/{CAMPAIGN.name}",
            renames=lambda wildcards: provenance.canonical(LABELLING.renames()),
            code=provenance.digest("deliver_labels.py", CAMPAIGN.selector.source),
        script:
            "../workflow/scripts/deliver_labels.py"


# What to label next, and where the campaign stands; prints it at every run.
rule label:
    input:
        text=f"labelling/{CAMPAIGN.name}/status.txt" if CAMPAIGN else campaign_missing,
        answers=f"{_DERIVED}/answers.csv" if CAMPAIGN else [],
        batch=next_batch if CAMPAIGN else [],
    log:
        "<logs>/label.log",
    localrule: True
    conda:
        "../envs/train.yaml"
    params:
        order=order_to_label if CAMPAIGN else "",
    shell:
        "(cat {input.text:q}; echo {params.order:q}) | tee {log:q}"


# Labels of all images. Under a promise the first call asks for a last audit, the second one delivers.
rule deliver:
    input:
        text=f"labelling/{CAMPAIGN.name}/status.txt" if CAMPAIGN else campaign_missing,
        answers=f"{_DERIVED}/answers.csv" if CAMPAIGN else [],
        audit=next_promise if CAMPAIGN else [],
        delivered=delivery if CAMPAIGN else [],
    log:
        "<logs>/deliver.log",
    localrule: True
    conda:
        "../envs/train.yaml"
    params:
        order=order_to_deliver if CAMPAIGN else "",
    shell:
        "(cat {input.delivered:q} {input.text:q}; echo {params.order:q}) | tee {log:q}"


# Images to try labelling with: the handwritten digits of the embedded default, as files. `make label-demo` begins here.
rule example_images:
    output:
        images=directory("<results>/example_images"),
        truth="<results>/example_truth.csv",
    log:
        "<logs>/example_images.log",
    conda:
        "../envs/train.yaml"
    params:
        code=provenance.digest(
            "example_images.py", registry.source("datasets", "digits")
        ),
    script:
        "../workflow/scripts/example_images.py"
