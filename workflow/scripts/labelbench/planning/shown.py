"""What tables and figures show: what the study itself runs, what it imports, and the files that follow from both."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from labelbench.common.provenance import canonical
from labelbench.data.datasets._own import Own
from labelbench.evidence import contents, paper
from labelbench.planning import plan
from labelbench.planning.specs import lead_metric


def published_setting(study, dataset, names, finals):
    """Which of the paper's settings the study repeats on a dataset with these runs and final models."""
    setting = paper.setting(
        study.datasets[dataset],
        study.noise[dataset],
        study.budgets[dataset],
        study.encoders,
        {n: e for n, e in study.selectors.items() if n not in study.refreshes},
        study.trainers,
        study.strategies,
    )
    return setting if paper.repeated(setting, names, finals) else {}


def own_contents(study, models):
    """What the study itself runs, `contents.Contents` by dataset; models: of `grid.final_models`."""
    found = {}
    for key, of_run in models.items():
        run = dict(key)
        names, finals, trials, several = found.setdefault(run["dataset"], ({}, {}, set(), set()))
        names[tuple(run[field] for field in contents.FIELDS)] = None
        finals |= {(run["encoder"], model): None for _, model in of_run}
        trials.add(run["trial"])
        several.add(len({round_ for round_, _ in of_run}) > 1)
    return {
        dataset: contents.Contents(
            lead=lead_metric(study, dataset),
            runs=list(names),
            kinds={run[-1]: plan.kind(study.strategies[run[-1]]) for run in names},
            models=list(finals),
            passive=sorted(n for n, e in study.trainers.items() if e.name == "passive"),
            end_to_end=sorted(n for n, e in study.selectors.items() if plan.end_to_end(e)),
            trials=len(trials),
            evaluations=any(several),
            curves=study.budgets[dataset].rounds > 1,
            costs=True,
            published=published_setting(study, dataset, names, finals),
            images=_images(study.datasets[dataset]),
            alike=_alike(study, dataset),
            start=plan.initial_name(study, dataset),
            made=_made(study, dataset),
        )
        for dataset, (names, finals, trials, several) in found.items()
    }


def _images(entry):
    """What names the images of a dataset: its plug-in, and the place where that says nothing about them."""
    own = entry.module.sources(entry.config) if isinstance(entry.config, Own) else []
    return " ".join([entry.name, *map(str, own)])


def _alike(study, dataset):
    """A digest of all that makes a dataset of the study, but for the strategy of its first round."""
    parts = study.datasets[dataset].spec, study.views[dataset], study.noise[dataset], study.budgets[dataset]
    return _digest(parts, 16)


def _made(study, dataset):
    """A digest of each setting behind `_alike`, by the name that the config has for it."""
    parts = {key: value for key, value in study.datasets[dataset].settings.items() if key != "name"}
    parts |= {"views": study.views[dataset], "noise": study.noise[dataset], "budget": study.budgets[dataset]}
    return {name: _digest(value, 8) for name, value in parts.items()}


def _digest(parts, length):
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:length]


def own_definitions(study):
    """The settings behind the study's results, where they must be the same for results of others to stand beside."""

    def settings_of(section):
        return {name: dict(entry.settings) for name, entry in getattr(study, section).items()}

    datasets = {
        name: {"budget": list(study.budgets[name]), "noise": study.noise[name], "views": study.views[name]}
        for name in study.datasets
    }
    selectors, trainers = settings_of("selectors"), settings_of("trainers")
    for name, refresh in study.refreshes.items():
        selectors[name] |= {"every": refresh.every, "trainer": refresh.trainer}
    for name, tuning in study.tuning.items():
        trainers[name] |= {"by": tuning.config.by, "candidates": tuning.candidates}
    return {
        "seed": study.seed,
        "datasets": datasets,
        "encoders": settings_of("encoders"),
        "selectors": selectors,
        "trainers": trainers,
        "strategies": settings_of("strategies"),
    }


@dataclass(frozen=True)
class Shown:
    """What readers see.

    own: `contents.Contents` by dataset of the study itself; imported: of each import, by its name; contents: both
    together; renames: by import, names that were taken; order: names in the order of tables, by field.
    """

    own: dict
    imported: dict
    contents: dict
    renames: dict
    order: dict


def shown(study, models):
    """The `Shown` of a study. Raises `UserError` where its imports cannot stand beside it."""
    own = own_contents(study, models)
    imported = {n: e.module.contents(e.config) for n, e in study.imports.items()}
    others = [(n, imported[n], e.module.definitions(e.config)) for n, e in study.imports.items()]
    contents.check_joint([("", own, own_definitions(study)), *others])
    joint, renames = contents.joint(own, imported)
    return Shown(own, imported, joint, renames, contents.order(joint))


def compared(found):
    """What scripts that compare need to know: the leading metric and the images by dataset, the kind by strategy."""
    return {
        "lead": {dataset: held.lead for dataset, held in found.contents.items()},
        "images": {dataset: held.images or dataset for dataset, held in found.contents.items()},
        "kinds": {s: kind for held in found.contents.values() for s, kind in held.kinds.items()},
        "starts": _starts(found),
    }


def uncompared(found):
    """`contents.uncompared` of all that is shown."""
    return contents.uncompared([found.own, *found.imported.values()])


def _starts(found):
    return contents.cold_starts([found.own, *found.imported.values()])


@dataclass(frozen=True)
class Files:
    """Tables and figures with their labels in the report: by (beginning of the file's name, dataset), and by the
    beginning alone where they are about all settings of the study together.
    """

    tables: dict = field(default_factory=dict)
    figures: dict = field(default_factory=dict)
    overall_tables: dict = field(default_factory=dict)
    overall_figures: dict = field(default_factory=dict)


def files(found):
    """The `Files` of what is shown."""
    made = Files()
    for dataset, held in found.contents.items():
        several = held.several()
        made.tables["final", dataset] = "after the last round"
        if held.costs:
            made.tables["costs", dataset] = "costs"
        made.figures["curves", dataset] = "learning curves"
        if held.evaluations:
            made.figures["finetuned", dataset] = "learning curves, fine-tuned"
        made.figures["finals", dataset] = "final scores"
        if "trainers" in several:
            made.figures["trainers", dataset] = "trainers compared"
        if several & {"trainers", "finals"}:
            made.tables["trainers", dataset] = "trainers compared"
        if "selectors" in several:
            made.tables["selectors", dataset] = "selectors compared"
            made.figures["selectors", dataset] = "selectors compared"
        if held.published:
            made.tables["published", dataset] = "against the paper"
        if held.curves and len(held.names("strategy")) > 1:
            made.tables["comparisons", dataset] = "whole curves compared"
            made.figures["differences", dataset] = "differences of whole curves"
            if "random" in held.names("strategy"):
                made.figures["savings", dataset] = "label savings"
            made.overall_tables["wins"] = "wins in pairs"
    settings = {(name, *run[:3]) for name, held in found.contents.items() for run in held.runs}
    if made.overall_tables and len(settings) > 1 and len(found.order["strategy"]) > 2:
        made.overall_tables["ranks"] = made.overall_figures["ranks"] = "ranks over settings"
    if _several_levers(found):
        made.overall_tables["levers"] = made.overall_figures["levers"] = "which lever pays"
    return made


def _several_levers(found):
    """Whether more than one lever is moved on some images: encoder, cold start, strategy, trainer."""
    moved = {}
    for dataset, (name, start) in _starts(found).items():
        held, levels = found.contents[dataset], moved.setdefault(name, ({}, {}, {}, {}))
        for encoder, selector, trainer, strategy in held.runs:
            usable = held.kinds[strategy] != "upper bound"
            for of_lever, level in zip(levels, (encoder, start, strategy, (selector, trainer)), strict=True):
                of_lever |= {level: None} if usable else {}
    return any(sum(len(of_lever) > 1 for of_lever in levels) > 1 for levels in moved.values())


def trials(found):
    """Numbers of trials in words, for captions of files that may differ in it."""
    by_number = {}
    for dataset, held in found.contents.items():
        by_number.setdefault(held.trials, []).append(dataset)
    return " or ".join(
        f"{n} ({', '.join(names)})" if len(by_number) > 1 else str(n) for n, names in sorted(by_number.items())
    )


def ran(found):
    """What the report says was run, all grids and imports together: entries for the config's `run`."""
    order = found.order
    return {
        "datasets": list(found.contents),
        **{f"{name}s": names for name, names in order.items() if name != "strategy"},
        "strategies": order["strategy"],
        "trials": trials(found),
    }


def summary(results):
    """The sentences that sum a finished study up, as its findings begin (`findings.to_text`); none before it ended."""
    path = Path(results) / "tables/findings.txt"
    parts = path.read_text(encoding="utf-8").split("\n\n") if path.exists() else []
    return [" ".join(part[2:].split()) for part in parts if part.startswith("* ")]


def opening_figure(made, results):
    """Path of the figure that opens the report of a finished study: its first one of differences, or its first one.

    made: `Files`. "" before it is there.
    """
    ranked = sorted(made.figures, key=lambda names: names[0] != "differences")
    paths = [Path(results, "figures", f"{kind}_{dataset}.svg") for kind, dataset in ranked[:1]]
    return "".join(str(path) for path in paths if path.exists())


def imported_files(study, source):
    entry = study.imports[source]
    return entry.module.files(entry.config)


def imported_tuned(study):
    """Files of the settings that imported studies chose for their trainers."""
    chose = [n for n, e in study.imports.items() if e.module.tuned(e.config)]
    return [f"<results>/imported/{source}.tuned.json" for source in chose]


def result_files(place, names, format):
    """Paths of tables or figures: `names` as in `Files`."""
    return [f"<results>/{place}/{kind}_{dataset}.{format}" for kind, dataset in names]


def overall_files(place, kinds, format):
    """Files about all settings of the study together."""
    return [f"<results>/{place}/{kind}.{format}" for kind in kinds]
