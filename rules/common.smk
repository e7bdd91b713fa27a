import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# workflow/scripts holds both the job scripts and the library they import. Adding it
# here serves this file; Snakemake hands its own sys.path on to every script job.
_here = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
sys.path.insert(0, str(_here.parent / "workflow" / "scripts"))

from labelbench import plan, provenance
from labelbench.errors import UserError

try:
    plan.check(config, _here.parent / "workflow/schemas/config.schema.yaml")
    STUDY = plan.study(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

LEAD = {
    dataset: STUDY.datasets[dataset].module.lead_metric(STUDY.datasets[dataset].config)
    for dataset in STUDY.run.datasets
}

KINDS = {name: plan.kind(STUDY.strategies[name]) for name in STUDY.run.strategies}

_PATH = (
    "runs/{dataset}/{encoder}/{selector}-{trainer}/{strategy}/trial{trial}/round{round}"
)
_RUN = f"<results>/{_PATH}"
_LOG = f"<logs>/{_PATH}"


wildcard_constraints:
    dataset="|".join(STUDY.datasets),
    encoder="|".join(STUDY.encoders),
    selector="|".join(STUDY.selectors),
    trainer="|".join(STUDY.trainers),
    model="|".join(STUDY.trainers),
    strategy="|".join(["initial", *STUDY.strategies]),
    trial="[0-9]+",
    round="[0-9][0-9]+",
    view="clean|aug[0-9]+",


def folder(round_, wildcards=None, **names):
    """Folder of one round of a run. All strategies share round 1, under the name `initial`."""
    names = {**(dict(wildcards.items()) if wildcards else {}), **names}
    if round_ == 1:
        names["strategy"] = "initial"
    names["round"] = f"{round_:02d}"
    return _RUN.format(**names)


def labels_of_round(wildcards, round_):
    if round_ == 1:
        return "<results>/initial/{dataset}/{encoder}/trial{trial}/labels.h5"
    return f"{folder(round_, wildcards)}/labels.h5"


def labels_of_this_round(wildcards):
    return labels_of_round(wildcards, int(wildcards.round))


def labels_of_round_before(wildcards):
    return labels_of_round(wildcards, int(wildcards.round) - 1)


def uses_model(entry):
    return bool({"features", "probabilities", "head"} & set(entry.module.USES))


def proxy_of_round_before(wildcards):
    """The model that a strategy looks at; `random` looks at none, so its labels wait for no training."""
    if not uses_model(STUDY.strategies[wildcards.strategy]):
        return []
    return f"{folder(int(wildcards.round) - 1, wildcards)}/proxy.safetensors"


def clean_embeddings_if_used(wildcards):
    if not uses_model(STUDY.strategies[wildcards.strategy]):
        return []
    return "<results>/embeddings/{dataset}/{encoder}/clean.h5"


def clean_embeddings_if_initial_uses_them(wildcards):
    return (
        "<results>/embeddings/{dataset}/{encoder}/clean.h5"
        if plan.initial_uses(STUDY)
        else []
    )


def zero_shot_guesses_if_initial_uses_them(wildcards):
    if "probabilities" not in plan.initial_uses(STUDY):
        return []
    return "<results>/embeddings/{dataset}/{encoder}/zero_shot_pool.h5"


def source_files(wildcards):
    """The dataset's source files. What is missing matters only where the dataset file has to be made."""
    entry = STUDY.datasets[wildcards.dataset]
    return [f for f in entry.module.sources(entry.config) if Path(f).exists()]


def weight_files(wildcards):
    entry = STUDY.encoders[wildcards.encoder]
    return entry.module.files(entry.config)


def zero_shot_head(wildcards):
    entry = STUDY.encoders[wildcards.encoder]
    if not entry.module.has_text_tower(entry.config):
        return []
    return "<results>/embeddings/{dataset}/{encoder}/zero_shot_head.safetensors"


# Each job's params are two strings: `spec`, the settings it uses and no others, and `code`,
# the digest of the code it runs. Functions take wildcards only: Snakemake does not track
# params whose function also takes input, threads or resources.


def spec(**parts):
    return provenance.canonical(
        {k: v.settings if isinstance(v, plan.Entry) else v for k, v in parts.items()}
    )


def dataset_spec(wildcards):
    return STUDY.datasets[wildcards.dataset].spec


def dataset_code(wildcards):
    return provenance.digest(
        "prepare_dataset.py", STUDY.datasets[wildcards.dataset].source
    )


def embed_spec(wildcards):
    # The view too: between workflows, Snakemake's cache tells files apart by params, not by wildcards.
    parts = {
        "dataset": STUDY.datasets[wildcards.dataset],
        "encoder": STUDY.encoders[wildcards.encoder],
        "view": wildcards.view,
    }
    if wildcards.view != "clean":
        parts["views"] = STUDY.views[wildcards.dataset]
    return spec(**parts)


def embed_code(wildcards):
    return image_job_code("embed.py", wildcards)


def embed_part(wildcards):
    return f"{wildcards.part} of {wildcards.parts}"


def embedded_in(one_job):
    names = [d for d, parts in STUDY.shards.items() if (parts == 1) == one_job]
    # An expression that never matches: an empty one would constrain nothing.
    return "|".join(names) or "(?!)"


def shard_files(wildcards):
    parts = STUDY.shards[wildcards.dataset]
    return [
        f"<results>/embeddings/{{dataset}}/{{encoder}}/{{view}}.shard{part}of{parts}.h5"
        for part in range(1, parts + 1)
    ]


def gather_code(wildcards):
    return provenance.digest("gather_shards.py")


def image_job_code(script, wildcards, *sources):
    return provenance.digest(
        script,
        STUDY.datasets[wildcards.dataset].source,
        STUDY.encoders[wildcards.encoder].source,
        *sources,
    )


def zero_shot_spec(wildcards):
    return spec(
        dataset=STUDY.datasets[wildcards.dataset],
        encoder=STUDY.encoders[wildcards.encoder],
    )


def zero_shot_code(wildcards):
    return image_job_code("zero_shot_head.py", wildcards)


def zero_shot_pool_code(wildcards):
    return image_job_code("zero_shot_pool.py", wildcards)


def initial_spec(wildcards):
    return spec(
        seed=STUDY.seed,
        budget=STUDY.budgets[wildcards.dataset].initial,
        initial=STUDY.initial,
        **STUDY.noise[wildcards.dataset],
    )


def initial_code(wildcards):
    return provenance.digest("initial_labels.py", STUDY.initial.source)


def initial_total(wildcards, input):
    # All rounds' labels, checked against the pool before anything is trained. It takes `input` so
    # that Snakemake does not record it: more rounds must not invalidate the first.
    return STUDY.budgets[wildcards.dataset].total


def proxy_spec(wildcards):
    return spec(
        seed=STUDY.seed,
        selector=STUDY.selectors[wildcards.selector],
        trainer=STUDY.trainers[wildcards.trainer],
    )


def proxy_code(wildcards):
    return provenance.digest(
        "train_proxy.py",
        STUDY.selectors[wildcards.selector].source,
        STUDY.trainers[wildcards.trainer].source,
    )


def select_spec(wildcards):
    return spec(
        seed=STUDY.seed,
        budget=STUDY.budgets[wildcards.dataset].batch(int(wildcards.round)),
        strategy=STUDY.strategies[wildcards.strategy],
        **STUDY.noise[wildcards.dataset],
    )


def select_code(wildcards):
    entry = STUDY.strategies[wildcards.strategy]
    sources = [entry.source]
    if uses_model(entry):
        sources.append(STUDY.selectors[wildcards.selector].source)
    return provenance.digest("select_batch.py", *sources)


def finetune_spec(wildcards):
    return spec(
        seed=STUDY.seed,
        dataset=STUDY.datasets[wildcards.dataset],
        encoder=STUDY.encoders[wildcards.encoder],
        trainer=STUDY.trainers[wildcards.model],
        views=STUDY.views[wildcards.dataset],
    )


def finetune_code(wildcards):
    return image_job_code(
        "finetune.py", wildcards, STUDY.trainers[wildcards.model].source
    )


# What the study as a whole consists of.


def runs():
    """(dataset, encoder, selector, trainer, strategy, trial) of every run of the study, as dicts."""
    return [
        dict(dataset=d, encoder=e, selector=s, trainer=t, strategy=a, trial=n)
        for d in STUDY.run.datasets
        for e in STUDY.run.encoders
        for s in STUDY.run.selectors
        for t in STUDY.run.trainers
        for a in STUDY.run.strategies
        for n in range(STUDY.run.trials)
    ]


def model_folders():
    """Folders of all trained models, each once: proxies of every round, fine-tunes of the chosen rounds."""
    found = {}
    for run in runs():
        rounds = STUDY.budgets[run["dataset"]].rounds
        for round_ in range(1, rounds + 1):
            found[folder(round_, **run)] = None
        for round_ in STUDY.finetuned_rounds[run["dataset"]]:
            for model in STUDY.run.finetune_trainers:
                found[f"{folder(round_, **run)}/finetune-{model}"] = None
    return list(found)


def study_metrics(wildcards):
    return [f"{place}/metrics.json" for place in model_folders()]


def study_costs(wildcards):
    costs = [f"{place}/cost.json" for place in model_folders()]
    for run in runs():
        for round_ in range(2, STUDY.budgets[run["dataset"]].rounds + 1):
            costs.append(f"{folder(round_, **run)}/select_cost.json")
    return costs


def study_results(wildcards):
    return [
        *rules.collect.output,
        *rules.tables.output,
        *rules.figures.output,
    ]


def study_zero_shot(wildcards):
    return [
        f"<results>/embeddings/{dataset}/{encoder}/zero_shot.json"
        for dataset in STUDY.run.datasets
        for encoder in STUDY.run.encoders
        if STUDY.encoders[encoder].module.has_text_tower(STUDY.encoders[encoder].config)
    ]
