"""What the study as a whole consists of: its runs, their models, and the files that tables and archives are made of.

`models` is what `final_models` gives: by run, a tuple of (name, value) pairs for dataset, encoder, selector, trainer,
strategy and trial, the (round, trainer) of all models that are fine-tuned on its labels.
"""

import itertools

from labelbench.planning import plan
from labelbench.planning.paths import EMBEDDINGS, folder, labels, refresh_rounds, tuned


def final_models(study):
    """All runs of the study, each once, with the models that are fine-tuned on their labels."""
    found = {}
    for grid in study.grids:
        for d in grid.datasets:
            models = list(itertools.product(grid.finetuned_rounds[d], grid.finetune_trainers))
            for e, s in itertools.product(plan.encoders(grid, d, study.datasets), grid.selectors):
                for t, a, n in itertools.product(grid.trainers[s], grid.strategies, range(grid.trials)):
                    run = {"dataset": d, "encoder": e, "selector": s, "trainer": t, "strategy": a, "trial": n}
                    found.setdefault(tuple(run.items()), {}).update(dict.fromkeys(models))
    return found


def model_folders(study, models):
    """Folders of all trained models, each once: of every round, refreshes, fine-tunes of the chosen rounds."""
    found = {}
    for key, finals in models.items():
        run = dict(key)
        for round_ in range(1, study.budgets[run["dataset"]].rounds + 1):
            found[folder(round_, **run)] = None
        for round_ in refresh_rounds(study, run):
            found[f"{folder(round_, **run)}/refresh"] = None
        for round_, model in finals:
            found[f"{folder(round_, **run)}/finetune-{model}"] = None
    return list(found)


def replicates(study, models):
    """Folders of trainings for the noise floor: other seeds, the same labels, at the first and the last round.

    The labels are those of random sampling, or of the first strategy where it was not run. Of models fine-tuned end to
    end, the first and the last round are those that are evaluated.
    """
    bought = {}
    for key in models:
        place = tuple(pair for pair in key if pair[0] != "strategy")
        if place not in bought or dict(key)["strategy"] == "random":
            bought[place] = key
    found = {}
    for key in bought.values():
        # Rounds by the folders that a model has of its own.
        run, own = dict(key), ()
        if plan.end_to_end(study.selectors[run["selector"]]):
            own = (f"finetune-{run['trainer']}",)
        rounds = {own: [1, study.budgets[run["dataset"]].rounds]}
        for round_, model in models[key]:
            rounds.setdefault((f"finetune-{model}",), []).append(round_)
        for number in range(1, study.replicates + 1):
            for model, evaluated in rounds.items():
                for round_ in (min(evaluated), max(evaluated)):
                    place = folder(round_, **run), f"replicate{number}", *model
                    found["/".join(place)] = None
    return list(found)


def metrics(folders):
    """The metrics of the models in these folders."""
    return [f"{place}/metrics.json" for place in folders]


def costs(study, models):
    """What every model and every selection took."""
    found = [f"{place}/cost.json" for place in model_folders(study, models)]
    for key in models:
        run = dict(key)
        for round_ in range(2, study.budgets[run["dataset"]].rounds + 1):
            found.append(f"{folder(round_, **run)}/select_cost.json")
    return found


def tuned_settings(study, models):
    """All files of chosen settings, each once."""
    found = {}
    for key, finals in models.items():
        run = dict(key)
        end_to_end = plan.end_to_end(study.selectors[run["selector"]])
        chosen = [tuned(study, "final" if end_to_end else run["selector"], run["trainer"])]
        chosen += [tuned(study, "final", model) for _, model in finals]
        if refresh_rounds(study, run):
            chosen.append(tuned(study, "final", study.refreshes[run["selector"]].trainer))
        found |= {path.format(**run): None for path in chosen if path}
    return list(found)


def _places(runs):
    """Folders of the embeddings that runs use, each once, with their names."""
    found = dict.fromkeys((run["dataset"], run["encoder"]) for run in runs)
    return [(EMBEDDINGS.format(dataset=d, encoder=e), e) for d, e in found]


def embedding_costs(study, models):
    """What the embeddings took that proxies are trained on; none of a dataset on which only encoders are."""
    runs = [dict(key) for key in models]
    proxies = [run for run in runs if not plan.end_to_end(study.selectors[run["selector"]])]
    views = ["clean", *(f"aug{seed}" for seed in range(study.augmentations))]
    return [f"{place}/{view}.cost.json" for place, _ in _places(proxies) for view in views]


def zero_shot(study, models):
    """The metrics of the zero-shot heads, of encoders that read text."""
    return [
        f"{place}/zero_shot.json"
        for place, encoder in _places(map(dict, models))
        if study.encoders[encoder].module.has_text_tower(study.encoders[encoder].config)
    ]


def label_sets(study, models):
    """The label set of every run's last round, which holds those of all rounds."""
    found = {}
    for key in models:
        run = dict(key)
        rounds = study.budgets[run["dataset"]].rounds
        path = labels(None, 1).format(**run) if rounds == 1 else f"{folder(rounds, **run)}/labels.h5"
        found[path] = None
    return list(found)
