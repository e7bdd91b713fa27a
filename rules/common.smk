import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# workflow/scripts holds both the job scripts and the library they import. Adding it
# here serves this file; Snakemake hands its own sys.path on to every script job.
_here = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
sys.path.insert(0, str(_here.parent / "workflow" / "scripts"))

from labelbench.common import provenance, shipped
from labelbench.planning import cluster, plan, snakemake_speed
from labelbench.common.errors import UserError

try:
    # What an overlay includes lies between config.yaml and the overlay.
    config |= plan.merged(
        plan.merged(config, plan.included(config.get("include", []))),
        workflow.config_settings.overwrite_config,
    )
    plan.check(config, _here.parent / "workflow/schemas/config.schema.yaml")
    STUDY = plan.study(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

CONFIG = provenance.canonical(config)


def lead_metric(dataset):
    entry = STUDY.datasets[dataset]
    return entry.module.lead_metric(entry.config)


_PATH = (
    "runs/{dataset}/{encoder}/{selector}-{trainer}/{strategy}/trial{trial}/round{round}"
)
_RUN = f"<results>/{_PATH}"
_LOG = f"<logs>/{_PATH}"


# An expression that never matches: an empty one would constrain nothing.
NEVER = "(?!)"


wildcard_constraints:
    dataset="|".join(STUDY.datasets),
    encoder="|".join(STUDY.encoders),
    selector="|".join(STUDY.selectors),
    trainer="|".join(STUDY.trainers),
    model="|".join(STUDY.trainers),
    strategy="|".join(["initial", *STUDY.strategies]),
    trial="[0-9]+",
    round="[0-9][0-9]+",
    replicate="[0-9]+",
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


def trains(end_to_end):
    """Constraint of a rule: the selectors that train the encoder itself, or those that train proxies."""
    names = [
        name
        for name, entry in STUDY.selectors.items()
        if plan.end_to_end(entry) == end_to_end
    ]
    return "|".join(names) or NEVER


def embeddings_of_round(wildcards, round_):
    """Folder of the embeddings behind the proxies of a round: the encoder's own, or what a blend last made of them."""
    refresh = STUDY.refreshes.get(wildcards.selector)
    if refresh and refresh.before(round_):
        return f"{folder(refresh.before(round_), wildcards)}/refresh"
    return "<results>/embeddings/{dataset}/{encoder}"


def clean_embeddings_of_this_round(wildcards):
    return f"{embeddings_of_round(wildcards, int(wildcards.round))}/clean.h5"


def augmented_embeddings_of_this_round(wildcards):
    place = embeddings_of_round(wildcards, int(wildcards.round))
    return [f"{place}/aug{seed}.h5" for seed in range(config["augmentations"])]


def features_of_round_before(wildcards):
    """What the model of the round before sees of the pool, for a strategy that looks at that model."""
    round_ = int(wildcards.round) - 1
    if not uses_model(STUDY.strategies[wildcards.strategy]):
        return []
    if plan.end_to_end(STUDY.selectors[wildcards.selector]):
        return f"{folder(round_, wildcards)}/features.h5"
    return f"{embeddings_of_round(wildcards, round_)}/clean.h5"


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


def tuned(selector, trainer):
    """The file of the settings chosen for a trainer; none where its definition leaves no choice, or to each round."""
    tuning = STUDY.tuning.get(trainer)
    if not tuning or tuning.config.by != "validation":
        return []
    return f"<results>/tuned/{{dataset}}/{{encoder}}/{selector}-{trainer}.json"


def tuned_proxy(wildcards):
    return tuned(wildcards.selector, wildcards.trainer)


def tuned_end_to_end(wildcards):
    return tuned("final", wildcards.trainer)


def tuned_refresh(wildcards):
    return tuned("final", STUDY.refreshes[wildcards.selector].trainer)


def tuned_final(wildcards):
    return tuned("final", wildcards.model)


def metrics_of_candidates(wildcards):
    model = f"finetune-{wildcards.trainer}/" if wildcards.selector == "final" else ""
    place = "<results>/tuned/{dataset}/{encoder}/{selector}-{trainer}/initial/trial0/round00"
    return [
        f"{place}/candidate{number}/{model}metrics.json"
        for number in range(len(STUDY.tuning[wildcards.trainer].candidates))
    ]


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
    return "|".join(names) or NEVER


def shard_files(wildcards):
    parts = STUDY.shards[wildcards.dataset]
    return [
        f"<results>/embeddings/{{dataset}}/{{encoder}}/{{view}}.shard{part}of{parts}.h5"
        for part in range(1, parts + 1)
    ]


def shard_costs(wildcards):
    return [path.replace(".h5", ".cost.json") for path in shard_files(wildcards)]


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


def trainer_parts(wildcards, name):
    """Parts of a spec: a trainer with its settings, or a candidate's in their place, or all that a round chooses from."""
    settings, tuning = STUDY.trainers[name].settings, STUDY.tuning.get(name)
    if tuning and tuning.config.by == "cross_validation":
        parts = {
            "folds": tuning.config.folds,
            "candidates": tuning.candidates,
            "metric": lead_metric(wildcards.dataset),
        }
        return {"trainer": settings, "cross_validation": parts}
    if tuning and wildcards.get("candidate"):
        settings = {**settings, **tuning.candidates[int(wildcards.candidate)]}
    return {"trainer": settings}


def proxy_spec(wildcards):
    return spec(
        seed=STUDY.seed,
        selector=STUDY.selectors[wildcards.selector],
        **trainer_parts(wildcards, wildcards.trainer),
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


def end_to_end_spec(wildcards, trainer):
    return spec(
        seed=STUDY.seed,
        dataset=STUDY.datasets[wildcards.dataset],
        encoder=STUDY.encoders[wildcards.encoder],
        views=STUDY.views[wildcards.dataset],
        **trainer_parts(wildcards, trainer),
    )


def finetune_spec(wildcards):
    return end_to_end_spec(wildcards, wildcards.model)


def finetune_code(wildcards):
    return image_job_code(
        "finetune.py", wildcards, STUDY.trainers[wildcards.model].source
    )


def finetune_round_spec(wildcards):
    return end_to_end_spec(wildcards, wildcards.trainer)


def finetune_round_code(wildcards):
    return image_job_code(
        "finetune_round.py",
        wildcards,
        STUDY.trainers[wildcards.trainer].source,
        STUDY.selectors[wildcards.selector].source,
    )


def refresh_spec(wildcards):
    return end_to_end_spec(wildcards, STUDY.refreshes[wildcards.selector].trainer)


def refresh_code(wildcards):
    trainer = STUDY.refreshes[wildcards.selector].trainer
    return image_job_code("refresh.py", wildcards, STUDY.trainers[trainer].source)


def tuning_labels_spec(wildcards):
    return spec(
        seed=STUDY.seed,
        fraction=STUDY.tuning[wildcards.trainer].config.fraction,
        **STUDY.noise[wildcards.dataset],
    )


def tuning_labels_code(wildcards):
    return provenance.digest("tuning_labels.py")


def tune_spec(wildcards):
    return spec(
        metric=lead_metric(wildcards.dataset),
        candidates=STUDY.tuning[wildcards.trainer].candidates,
    )


def refresh_rounds(run):
    """Rounds of a run, a mapping of wildcards, that refresh the embeddings for a later one."""
    refresh = STUDY.refreshes.get(run["selector"])
    last = STUDY.budgets[run["dataset"]].rounds
    return range(refresh.every, last, refresh.every) if refresh else []


def metrics_of_the_same_model(wildcards):
    """Where the run has trained this very model to select with, its metrics: they need no second training."""
    round_ = int(wildcards.round)
    if plan.end_to_end(STUDY.selectors[wildcards.selector]):
        same, place = wildcards.trainer == wildcards.model, folder(round_, wildcards)
    else:
        refresh = STUDY.refreshes.get(wildcards.selector)
        same = (
            round_ in refresh_rounds(wildcards) and refresh.trainer == wildcards.model
        )
        place = f"{folder(round_, wildcards)}/refresh"
    return f"{place}/metrics.json" if same else []
