"""Where the files of a study stand, and which of them a job reads.

Functions take the `plan.Study` and a job's wildcards, and return paths as rules write them: `<results>` and wildcards
in braces are filled in by Snakemake. An empty list stands for an input that a job does not have.
"""

import re
from pathlib import Path

from labelbench.planning import plan

PATH = "runs/{dataset}/{encoder}/{selector}-{trainer}/{strategy}/trial{trial}/round{round}"
RUN, LOG = f"<results>/{PATH}", f"<logs>/{PATH}"
EMBEDDINGS = "<results>/embeddings/{dataset}/{encoder}"

# An expression that never matches: an empty one would constrain nothing.
NEVER = "(?!)"


def one_of(names):
    """Constraint of a wildcard: these names, as they are."""
    return "|".join(map(re.escape, names)) or NEVER


def folder(round_, wildcards=None, **names):
    """Folder of one round of a run. All strategies share round 1, under the name `initial`."""
    names = {**(dict(wildcards.items()) if wildcards else {}), **names}
    if round_ == 1:
        names["strategy"] = "initial"
    names["round"] = f"{round_:02d}"
    return RUN.format(**names)


def labels(wildcards, round_):
    """The label set of a round."""
    if round_ == 1:
        return "<results>/initial/{dataset}/{encoder}/trial{trial}/labels.h5"
    return f"{folder(round_, wildcards)}/labels.h5"


def labels_of_this_round(study, wildcards):
    return labels(wildcards, int(wildcards.round))


def labels_of_round_before(study, wildcards):
    return labels(wildcards, int(wildcards.round) - 1)


def uses_model(entry):
    """Whether a strategy looks at a model of the pool."""
    return bool({"features", "probabilities", "head"} & plan.uses(entry))


def proxy_of_round_before(study, wildcards):
    """The model that a strategy looks at; `random` looks at none, so its labels wait for no training."""
    if not uses_model(study.strategies[wildcards.strategy]):
        return []
    return f"{folder(int(wildcards.round) - 1, wildcards)}/proxy.safetensors"


def selectors_that_train(study, end_to_end):
    """Constraint of a rule: the selectors that train the encoder itself, or those that train proxies."""
    names = [name for name, entry in study.selectors.items() if plan.end_to_end(entry) == end_to_end]
    return one_of(names)


def datasets_embedded_in(study, one_job):
    """Constraint of a rule: the datasets each view of which is embedded in one job, or in several."""
    names = [n for n, parts in study.shards.items() if (parts == 1) == one_job and not _of_features(study, n)]
    return one_of(names)


def _of_features(study, dataset):
    return plan.of_features(study.datasets[dataset])


def datasets_of_features(study):
    """Constraint of a rule: the datasets that consist of embeddings."""
    return one_of(name for name in study.datasets if _of_features(study, name))


def clean_behind_views(study, wildcards):
    """What the augmented views of a dataset of embeddings are made from, where it does not bring such views along."""
    entry = study.datasets[wildcards.dataset]
    return f"{EMBEDDINGS}/clean.h5" if wildcards.view != "clean" and not entry.config.weak else []


def embeddings(study, wildcards, round_):
    """Folder of the embeddings behind the proxies of a round: the encoder's own, or what a blend last made of them."""
    refresh = study.refreshes.get(wildcards.selector)
    if refresh and refresh.before(round_):
        return f"{folder(refresh.before(round_), wildcards)}/refresh"
    return EMBEDDINGS


def clean_embeddings_of_this_round(study, wildcards):
    return f"{embeddings(study, wildcards, int(wildcards.round))}/clean.h5"


def augmented_embeddings_of_this_round(study, wildcards):
    place = embeddings(study, wildcards, int(wildcards.round))
    return [f"{place}/aug{seed}.h5" for seed in range(study.augmentations)]


def features_of_round_before(study, wildcards):
    """What the model of the round before sees of the pool, for a strategy that looks at that model."""
    round_ = int(wildcards.round) - 1
    if not uses_model(study.strategies[wildcards.strategy]):
        return []
    if plan.end_to_end(study.selectors[wildcards.selector]):
        return f"{folder(round_, wildcards)}/features.h5"
    return f"{embeddings(study, wildcards, round_)}/clean.h5"


def clean_embeddings_if_initial_uses_them(study, wildcards):
    return f"{EMBEDDINGS}/clean.h5" if plan.initial_uses(study, wildcards.dataset) else []


def zero_shot_guesses_if_initial_uses_them(study, wildcards):
    return f"{EMBEDDINGS}/zero_shot_pool.h5" if "probabilities" in plan.initial_uses(study, wildcards.dataset) else []


def source_files(study, wildcards):
    """The dataset's source files. What is missing matters only where the dataset file has to be made."""
    entry = study.datasets[wildcards.dataset]
    return [f for f in entry.module.sources(entry.config) if Path(f).exists()]


def weight_files(study, wildcards):
    entry = study.encoders[wildcards.encoder]
    return entry.module.files(entry.config)


def zero_shot_head(study, wildcards):
    entry = study.encoders[wildcards.encoder]
    return f"{EMBEDDINGS}/zero_shot_head.safetensors" if entry.module.has_text_tower(entry.config) else []


def tuned(study, selector, trainer):
    """The file of the settings chosen for a trainer; none where its definition leaves no choice, or to each round.

    The selector `final` stands for models that are trained end to end.
    """
    tuning = study.tuning.get(trainer)
    if not tuning or tuning.config.by != "validation":
        return []
    return f"<results>/tuned/{{dataset}}/{{encoder}}/{selector}-{trainer}.json"


def tuned_proxy(study, wildcards):
    return tuned(study, wildcards.selector, wildcards.trainer)


def tuned_end_to_end(study, wildcards):
    return tuned(study, "final", wildcards.trainer)


def tuned_refresh(study, wildcards):
    return tuned(study, "final", study.refreshes[wildcards.selector].trainer)


def tuned_final(study, wildcards):
    return tuned(study, "final", wildcards.model)


def metrics_of_candidates(study, wildcards):
    """The metrics of all candidates of a trainer's settings."""
    model = f"finetune-{wildcards.trainer}/" if wildcards.selector == "final" else ""
    place = "<results>/tuned/{dataset}/{encoder}/{selector}-{trainer}/initial/trial0/round00"
    count = len(study.tuning[wildcards.trainer].candidates)
    return [f"{place}/candidate{number}/{model}metrics.json" for number in range(count)]


def shard_files(study, wildcards):
    """The parts of a view's embeddings, where they are made in several jobs."""
    parts = study.shards[wildcards.dataset]
    return [f"{EMBEDDINGS}/{{view}}.shard{part}of{parts}.h5" for part in range(1, parts + 1)]


def shard_costs(study, wildcards):
    return [path.replace(".h5", ".cost.json") for path in shard_files(study, wildcards)]


def refresh_rounds(study, run):
    """Rounds of a run, a mapping of wildcards, that refresh the embeddings for a later one."""
    refresh = study.refreshes.get(run["selector"])
    last = study.budgets[run["dataset"]].rounds
    return range(refresh.every, last, refresh.every) if refresh else []


def metrics_of_the_same_model(study, wildcards):
    """Where the run has trained this very model to select with, its metrics: they need no second training."""
    round_ = int(wildcards.round)
    if plan.end_to_end(study.selectors[wildcards.selector]):
        same, place = wildcards.trainer == wildcards.model, folder(round_, wildcards)
    else:
        refresh = study.refreshes.get(wildcards.selector)
        same = round_ in refresh_rounds(study, wildcards) and refresh.trainer == wildcards.model
        place = f"{folder(round_, wildcards)}/refresh"
    return f"{place}/metrics.json" if same else []
