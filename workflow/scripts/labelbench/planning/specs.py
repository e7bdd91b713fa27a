"""What a job's result depends on besides its inputs: two texts, `spec`, the settings it uses and no others, and `code`,
the digest of the code it runs.

Functions take the `plan.Study` and a job's wildcards, nothing else: Snakemake does not track params whose function also
takes input, threads or resources.
"""

import dataclasses
import json
import zlib

from labelbench.common import provenance
from labelbench.data import remembered
from labelbench.planning import plan
from labelbench.planning.paths import uses_model


def spec(**parts):
    """The canonical text of these parts; an entry stands for its settings."""
    return provenance.canonical({k: v.settings if isinstance(v, plan.Entry) else v for k, v in parts.items()})


def lead_metric(study, dataset):
    entry = study.datasets[dataset]
    return entry.module.lead_metric(entry.config)


def dataset_spec(study, wildcards):
    return study.datasets[wildcards.dataset].spec


def dataset_code(study, wildcards):
    return provenance.digest("prepare_dataset.py", study.datasets[wildcards.dataset].source)


def memory(study, dataset, results):
    """Folder of what is known of the files of a dataset of the user's own (`data.remembered`), or none for others."""
    return remembered.folder(results, dataset) if hasattr(study.datasets[dataset].module, "listing") else ""


def contents(study, wildcards, results, main):
    """A text that changes with the contents of the user's own files; files of other datasets are inputs.

    main: whether the main process of Snakemake asks, not one of its jobs.
    """
    place, entry = memory(study, wildcards.dataset, results), study.datasets[wildcards.dataset]
    if not place:
        return ""
    return remembered.planned(
        place,
        f"{results}/datasets/{wildcards.dataset}.h5",
        dataset_spec(study, wildcards) + dataset_code(study, wildcards),
        lambda known, others: entry.module.listing(entry.config, known, others),
        main,
    )


def embed_spec(study, wildcards):
    # The view too: between workflows, Snakemake's cache tells files apart by params, not by wildcards.
    parts = {
        "dataset": study.datasets[wildcards.dataset],
        "encoder": study.encoders[wildcards.encoder],
        "view": wildcards.view,
    }
    if wildcards.view != "clean":
        parts["views"] = study.views[wildcards.dataset]
    return spec(**parts)


def embed_code(study, wildcards):
    return _image_job_code(study, "embed.py", wildcards)


def take_features_code(study, wildcards):
    return provenance.digest("take_features.py", study.datasets[wildcards.dataset].source)


def embed_part(study, wildcards):
    return f"{wildcards.part} of {wildcards.parts}"


def gather_code(study, wildcards):
    return provenance.digest("gather_shards.py")


def _image_job_code(study, script, wildcards, *sources):
    dataset, encoder = study.datasets[wildcards.dataset], study.encoders[wildcards.encoder]
    return provenance.digest(script, dataset.source, encoder.source, *sources)


def zero_shot_spec(study, wildcards):
    return spec(dataset=study.datasets[wildcards.dataset], encoder=study.encoders[wildcards.encoder])


def zero_shot_code(study, wildcards):
    return _image_job_code(study, "zero_shot_head.py", wildcards)


def zero_shot_pool_code(study, wildcards):
    return _image_job_code(study, "zero_shot_pool.py", wildcards)


def initial_spec(study, wildcards):
    return spec(
        seed=study.seed,
        budget=study.budgets[wildcards.dataset].initial,
        initial=study.initial[wildcards.dataset],
        **study.noise[wildcards.dataset],
    )


def initial_code(study, wildcards):
    return provenance.digest("initial_labels.py", study.initial[wildcards.dataset].source)


def _trainer_parts(study, wildcards, name):
    """Parts of a spec: a trainer with its settings, or a candidate's in their place, or all a round chooses from."""
    settings, tuning = study.trainers[name].settings, study.tuning.get(name)
    if tuning and tuning.config.by == "cross_validation":
        parts = {
            "folds": tuning.config.folds,
            "candidates": tuning.candidates,
            "metric": lead_metric(study, wildcards.dataset),
        }
        return {"trainer": settings, "cross_validation": parts}
    if tuning and wildcards.get("candidate"):
        settings = {**settings, **tuning.candidates[int(wildcards.candidate)]}
    return {"trainer": settings}


def proxy_spec(study, wildcards):
    return spec(
        seed=study.seed,
        selector=study.selectors[wildcards.selector],
        **_trainer_parts(study, wildcards, wildcards.trainer),
    )


def proxy_code(study, wildcards):
    return provenance.digest(
        "train_proxy.py", study.selectors[wildcards.selector].source, study.trainers[wildcards.trainer].source
    )


def select_spec(study, wildcards):
    return spec(
        seed=study.seed,
        budget=study.budgets[wildcards.dataset].batch(int(wildcards.round)),
        strategy=study.strategies[wildcards.strategy],
        **study.noise[wildcards.dataset],
    )


def select_code(study, wildcards):
    entry = study.strategies[wildcards.strategy]
    sources = [entry.source]
    if uses_model(entry):
        sources.append(study.selectors[wildcards.selector].source)
    if "shortlist" in entry.settings:
        sources.append("labelbench/selection/shortlist.py")
    return provenance.digest("select_batch.py", *sources)


def _end_to_end_spec(study, wildcards, trainer):
    return spec(
        seed=study.seed,
        dataset=study.datasets[wildcards.dataset],
        encoder=study.encoders[wildcards.encoder],
        views=study.views[wildcards.dataset],
        **_trainer_parts(study, wildcards, trainer),
    )


def end_to_end(study, wildcards):
    """How an encoder is trained, `plan.EndToEnd`: no part of a spec, for results do not depend on it."""
    return provenance.canonical(dataclasses.asdict(study.end_to_end[wildcards.encoder]))


def finetune_spec(study, wildcards):
    return _end_to_end_spec(study, wildcards, wildcards.model)


def finetune_code(study, wildcards):
    return _image_job_code(study, "finetune.py", wildcards, study.trainers[wildcards.model].source)


def finetune_round_spec(study, wildcards):
    return _end_to_end_spec(study, wildcards, wildcards.trainer)


def finetune_round_code(study, wildcards):
    trainer, selector = study.trainers[wildcards.trainer], study.selectors[wildcards.selector]
    return _image_job_code(study, "finetune_round.py", wildcards, trainer.source, selector.source)


def refresh_spec(study, wildcards):
    return _end_to_end_spec(study, wildcards, study.refreshes[wildcards.selector].trainer)


def refresh_code(study, wildcards):
    trainer = study.refreshes[wildcards.selector].trainer
    return _image_job_code(study, "refresh.py", wildcards, study.trainers[trainer].source)


def tuning_labels_spec(study, wildcards):
    return spec(
        seed=study.seed,
        fraction=study.tuning[wildcards.trainer].config.fraction,
        **study.noise[wildcards.dataset],
    )


def tuning_labels_code(study, wildcards):
    return provenance.digest("tuning_labels.py")


def tune_spec(study, wildcards):
    return spec(
        metric=lead_metric(study, wildcards.dataset),
        candidates=study.tuning[wildcards.trainer].candidates,
    )


def _with_other_seed(study, parts, wildcards):
    """A spec whose random draws are those of a replicate: the study seed is the source of all of them."""
    address = f"{study.seed}/replicate/{wildcards.replicate}"
    return spec(**{**json.loads(parts), "seed": zlib.crc32(address.encode())})


def replicate_proxy_spec(study, wildcards):
    return _with_other_seed(study, proxy_spec(study, wildcards), wildcards)


def replicate_finetune_spec(study, wildcards):
    return _with_other_seed(study, finetune_spec(study, wildcards), wildcards)
