# What the study as a whole consists of: its runs, and all that tables, figures and archives are made of.
import functools
import itertools
import json
import zlib

from labelbench.evidence import contents, paper


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


def places(runs):
    """The (dataset, encoder) of runs, each once."""
    return list(dict.fromkeys((run["dataset"], run["encoder"]) for run in runs))


def study_embedding_costs(wildcards):
    """What the embeddings took that proxies are trained on; none of a dataset on which only encoders are."""
    proxies = [r for r in runs() if not plan.end_to_end(STUDY.selectors[r["selector"]])]
    views = ["clean", *(f"aug{seed}" for seed in range(config["augmentations"]))]
    return [
        f"<results>/embeddings/{dataset}/{encoder}/{view}.cost.json"
        for dataset, encoder in places(proxies)
        for view in views
    ]


def study_zero_shot(wildcards):
    return [
        f"<results>/embeddings/{dataset}/{encoder}/zero_shot.json"
        for dataset, encoder in places(runs())
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
_trials = {}
for _dataset, _held in CONTENTS.items():
    _trials.setdefault(_held.trials, []).append(_dataset)
TRIALS = " or ".join(
    f"{n} ({', '.join(names)})" if len(_trials) > 1 else str(n)
    for n, names in sorted(_trials.items())
)
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
