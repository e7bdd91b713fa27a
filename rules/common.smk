import functools
import itertools
import json
import sys
import zlib
from pathlib import Path

from snakemake.exceptions import WorkflowError

# workflow/scripts holds both the job scripts and the library they import. Adding it
# here serves this file; Snakemake hands its own sys.path on to every script job.
_here = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
sys.path.insert(0, str(_here.parent / "workflow" / "scripts"))

from labelbench import cluster, contents, paper, plan, provenance
from labelbench.errors import UserError

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


# What the study as a whole consists of.


def runs():
    """(dataset, encoder, selector, trainer, strategy, trial) of every run of the study, as dicts, each once."""
    return [dict(run) for run in final_models()]


@functools.cache
def final_models():
    """By run, a tuple of (name, value) pairs: the (round, trainer) of all models fine-tuned on its labels."""
    found = {}
    for grid in STUDY.grids:
        for d, e, s in itertools.product(grid.datasets, grid.encoders, grid.selectors):
            models = list(
                itertools.product(grid.finetuned_rounds[d], grid.finetune_trainers)
            )
            for t, a, n in itertools.product(
                grid.trainers[s], grid.strategies, range(grid.trials)
            ):
                run = dict(
                    dataset=d, encoder=e, selector=s, trainer=t, strategy=a, trial=n
                )
                found.setdefault(tuple(run.items()), {}).update(dict.fromkeys(models))
    return found


def model_folders():
    """Folders of all trained models, each once: the model of every round, refreshes, fine-tunes of the chosen rounds."""
    found = {}
    for key, models in final_models().items():
        run = dict(key)
        for round_ in range(1, STUDY.budgets[run["dataset"]].rounds + 1):
            found[folder(round_, **run)] = None
        for round_ in refresh_rounds(run):
            found[f"{folder(round_, **run)}/refresh"] = None
        for round_, model in models:
            found[f"{folder(round_, **run)}/finetune-{model}"] = None
    return list(found)


def replicates():
    """Folders of trainings for the noise floor: other seeds, the same labels, at the first and the last round.

    The labels are those of random sampling, or of the first strategy where it was not run. Of models fine-tuned end to
    end, the first and the last round are those that are evaluated.
    """
    bought = {}
    for key in final_models():
        place = tuple(pair for pair in key if pair[0] != "strategy")
        if place not in bought or dict(key)["strategy"] == "random":
            bought[place] = key
    found = {}
    for key in bought.values():
        # Rounds by the folders that a model has of its own.
        run, own = dict(key), ()
        if plan.end_to_end(STUDY.selectors[run["selector"]]):
            own = (f"finetune-{run['trainer']}",)
        rounds = {own: [1, STUDY.budgets[run["dataset"]].rounds]}
        for round_, model in final_models()[key]:
            rounds.setdefault((f"finetune-{model}",), []).append(round_)
        for number in range(1, config["run"].get("replicates", 0) + 1):
            for model, evaluated in rounds.items():
                for round_ in (min(evaluated), max(evaluated)):
                    place = folder(round_, **run), f"replicate{number}", *model
                    found["/".join(place)] = None
    return list(found)


def replicate_metrics(wildcards):
    return [f"{place}/metrics.json" for place in replicates()]


def with_other_seed(parts, wildcards):
    """A spec whose random draws are those of a replicate: the study seed is the source of all of them."""
    address = f"{STUDY.seed}/replicate/{wildcards.replicate}"
    return spec(**{**json.loads(parts), "seed": zlib.crc32(address.encode())})


def replicate_proxy_spec(wildcards):
    return with_other_seed(proxy_spec(wildcards), wildcards)


def replicate_finetune_spec(wildcards):
    return with_other_seed(finetune_spec(wildcards), wildcards)


def study_metrics(wildcards):
    return [f"{place}/metrics.json" for place in model_folders()]


def study_costs(wildcards):
    costs = [f"{place}/cost.json" for place in model_folders()]
    for run in runs():
        for round_ in range(2, STUDY.budgets[run["dataset"]].rounds + 1):
            costs.append(f"{folder(round_, **run)}/select_cost.json")
    return costs


def study_tuned(wildcards):
    """All files of chosen settings, each once."""
    found = {}
    for key, models in final_models().items():
        run = dict(key)
        end_to_end = plan.end_to_end(STUDY.selectors[run["selector"]])
        chosen = [tuned("final" if end_to_end else run["selector"], run["trainer"])]
        chosen += [tuned("final", model) for _, model in models]
        if refresh_rounds(run):
            chosen.append(tuned("final", STUDY.refreshes[run["selector"]].trainer))
        found |= {path.format(**run): None for path in chosen if path}
    return list(found)


def study_results(wildcards):
    return [
        *rules.collect.output,
        *(
            rules.tuning_table.output
            if study_tuned(wildcards) or imported_tuned(wildcards)
            else []
        ),
        *rules.tables.output,
        *rules.figures.output,
    ]


def embedded():
    """The (dataset, encoder) of all runs, each once."""
    return list(dict.fromkeys((run["dataset"], run["encoder"]) for run in runs()))


def study_embedding_costs(wildcards):
    """What the embeddings took that proxies are trained on; none of a dataset on which only encoders are."""
    proxies = [r for r in runs() if not plan.end_to_end(STUDY.selectors[r["selector"]])]
    places = dict.fromkeys((run["dataset"], run["encoder"]) for run in proxies)
    views = ["clean", *(f"aug{seed}" for seed in range(config["augmentations"]))]
    return [
        f"<results>/embeddings/{dataset}/{encoder}/{view}.cost.json"
        for dataset, encoder in places
        for view in views
    ]


def study_zero_shot(wildcards):
    return [
        f"<results>/embeddings/{dataset}/{encoder}/zero_shot.json"
        for dataset, encoder in embedded()
        if STUDY.encoders[encoder].module.has_text_tower(STUDY.encoders[encoder].config)
    ]


def published_setting(dataset, names, finals):
    """Which of the paper's settings the study repeats on a dataset with these runs and final models."""
    setting = paper.setting(
        STUDY.datasets[dataset],
        STUDY.noise[dataset],
        STUDY.budgets[dataset],
        STUDY.encoders,
        {n: e for n, e in STUDY.selectors.items() if n not in STUDY.refreshes},
        STUDY.trainers,
        STUDY.strategies,
    )
    return setting if paper.repeated(setting, names, finals) else {}


def own_contents():
    """What the study itself runs, `contents.Contents` by dataset."""
    found = {}
    for key, models in final_models().items():
        run = dict(key)
        names, finals, trials, several = found.setdefault(
            run["dataset"], ({}, {}, set(), set())
        )
        names[tuple(run[field] for field in contents.FIELDS)] = None
        finals |= {(run["encoder"], model): None for _, model in models}
        trials.add(run["trial"])
        several.add(len({round_ for round_, _ in models}) > 1)
    return {
        dataset: contents.Contents(
            lead=lead_metric(dataset),
            runs=list(names),
            kinds={run[-1]: plan.kind(STUDY.strategies[run[-1]]) for run in names},
            models=list(finals),
            passive=[n for n, e in STUDY.trainers.items() if e.name == "passive"],
            end_to_end=[n for n, e in STUDY.selectors.items() if plan.end_to_end(e)],
            trials=len(trials),
            evaluations=any(several),
            curves=STUDY.budgets[dataset].rounds > 1,
            costs=True,
            published=published_setting(dataset, names, finals),
        )
        for dataset, (names, finals, trials, several) in found.items()
    }


def settings_of(section):
    return {
        name: dict(entry.settings) for name, entry in getattr(STUDY, section).items()
    }


def own_definitions():
    """The settings behind the study's results, where they must be the same for results of others to stand beside."""
    datasets = {
        name: {
            "budget": list(STUDY.budgets[name]),
            "noise": STUDY.noise[name],
            "views": STUDY.views[name],
        }
        for name in STUDY.datasets
    }
    selectors, trainers = settings_of("selectors"), settings_of("trainers")
    for name, refresh in STUDY.refreshes.items():
        selectors[name] |= {"every": refresh.every, "trainer": refresh.trainer}
    for name, tuning in STUDY.tuning.items():
        trainers[name] |= {"by": tuning.config.by, "candidates": tuning.candidates}
    return {
        "seed": STUDY.seed,
        "datasets": datasets,
        "encoders": settings_of("encoders"),
        "selectors": selectors,
        "trainers": trainers,
        "strategies": settings_of("strategies"),
    }


# What tables and figures show: what the study runs, and what it imports.
OWN = own_contents()
try:
    IMPORTED = {n: e.module.contents(e.config) for n, e in STUDY.imports.items()}
    contents.check_joint(
        [("", OWN, own_definitions())]
        + [
            (n, IMPORTED[n], e.module.definitions(e.config))
            for n, e in STUDY.imports.items()
        ]
    )
except UserError as error:
    raise WorkflowError(str(error)) from None
CONTENTS, RENAMES = contents.joint(OWN, IMPORTED)
ORDER = contents.order(CONTENTS)
COMPARED = {
    "lead": {dataset: held.lead for dataset, held in CONTENTS.items()},
    "kinds": {s: kind for held in CONTENTS.values() for s, kind in held.kinds.items()},
}

# (beginning of the file's name, dataset) of each table and figure, with its label in the report; those about all
# settings of the study together have no dataset.
TABLES, FIGURES, OVERALL_TABLES, OVERALL_FIGURES = {}, {}, {}, {}
for _dataset, _held in CONTENTS.items():
    _several = _held.several()
    TABLES["final", _dataset] = "after the last round"
    if _held.costs:
        TABLES["costs", _dataset] = "costs"
    FIGURES["curves", _dataset] = "learning curves"
    if _held.evaluations:
        FIGURES["finetuned", _dataset] = "learning curves, fine-tuned"
    FIGURES["finals", _dataset] = "final scores"
    if "trainers" in _several:
        FIGURES["trainers", _dataset] = "trainers compared"
    if _several & {"trainers", "finals"}:
        TABLES["trainers", _dataset] = "trainers compared"
    if "selectors" in _several:
        TABLES["selectors", _dataset] = "selectors compared"
        FIGURES["selectors", _dataset] = "selectors compared"
    if _held.published:
        TABLES["published", _dataset] = "against the paper"
    if _held.curves and len(_held.names("strategy")) > 1:
        TABLES["comparisons", _dataset] = "whole curves compared"
        FIGURES["differences", _dataset] = "differences of whole curves"
        if "random" in _held.names("strategy"):
            FIGURES["savings", _dataset] = "label savings"
        OVERALL_TABLES["wins"] = "wins in pairs"
_settings = {(name, *run[:3]) for name, held in CONTENTS.items() for run in held.runs}
if OVERALL_TABLES and len(_settings) > 1 and len(ORDER["strategy"]) > 2:
    OVERALL_TABLES["ranks"] = OVERALL_FIGURES["ranks"] = "ranks over settings"
EQUIVALENCE = config.get("statistics", {}).get("equivalence", 0.2) / 100

# Numbers of trials, for captions of files that may differ in it.
TRIALS = " or ".join(map(str, sorted({held.trials for held in CONTENTS.values()})))
# What the report says was run, all grids and imports together.
config["run"] |= {
    "datasets": list(CONTENTS),
    **{f"{field}s": names for field, names in ORDER.items() if field != "strategy"},
    "strategies": ORDER["strategy"],
    "trials": TRIALS,
}


def imported_files(wildcards):
    entry = STUDY.imports[wildcards.source]
    return entry.module.files(entry.config)


def imported_tuned(wildcards):
    """Files of the settings that imported studies chose for their trainers."""
    chose = [n for n, e in STUDY.imports.items() if e.module.tuned(e.config)]
    return [f"<results>/imported/{source}.tuned.json" for source in chose]


def own_datasets(wildcards):
    """Files of the datasets that the study itself runs and the import holds too."""
    shared = [name for name in IMPORTED[wildcards.source] if name in OWN]
    return [f"<results>/datasets/{name}.h5" for name in shared]


def study_datasets(wildcards):
    return [f"<results>/datasets/{name}.h5" for name in OWN]


def study_label_sets(wildcards):
    """The label set of every run's last round, which holds those of all rounds."""
    found = {}
    for run in runs():
        rounds = STUDY.budgets[run["dataset"]].rounds
        if rounds == 1:
            found[labels_of_round(None, 1).format(**run)] = None
        else:
            found[f"{folder(rounds, **run)}/labels.h5"] = None
    return list(found)


def import_spec(wildcards):
    source = wildcards.source
    return spec(importer=STUDY.imports[source], renames=RENAMES[source])


def import_code(wildcards):
    return provenance.digest(
        "import_results.py", STUDY.imports[wildcards.source].source
    )


def result_files(place, names, format):
    return [f"<results>/{place}/{kind}_{dataset}.{format}" for kind, dataset in names]


def shown(path, place, kind, dataset, title):
    return report(
        path,
        caption=f"../workflow/report/{place}_{kind}.rst",
        category=place.capitalize(),
        labels={"dataset": dataset, place.removesuffix("s"): title},
    )


def reported(place, names, format):
    """The same files as `result_files`, shown in the report."""
    return [
        shown(
            f"<results>/{place}/{kind}_{dataset}.{format}", place, kind, dataset, title
        )
        for (kind, dataset), title in names.items()
    ]


def overall_files(place, kinds, format):
    """Files about all settings of the study together."""
    return [f"<results>/{place}/{kind}.{format}" for kind in kinds]


def overall_reported(place, kinds, format):
    """The same files as `overall_files`, shown in the report."""
    return [
        shown(f"<results>/{place}/{kind}.{format}", place, kind, "all", title)
        for kind, title in kinds.items()
    ]
