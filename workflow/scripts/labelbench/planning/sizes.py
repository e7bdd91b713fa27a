"""What is known while planning, before a job looks: sizes of datasets, their sources, and the names of models.

Datasets have published sizes, or those of files that were prepared. Names of models are read from the installed
packages' files: importing open_clip or timm takes seconds.
"""

import difflib
import importlib.util
import re
from pathlib import Path

from labelbench.common.errors import UserError
from labelbench.data import annotator
from labelbench.data.datasets import _variants
from labelbench.data.oracle import check_budget
from labelbench.selection import shortlist


def check(study, results):
    """What there is to note of the datasets that are run, a list of sentences.

    results: the results folder, in which datasets may stand that were prepared already. Raises `UserError` where
    datasets cannot be what the config asks of them.
    """
    notes = []
    for name in study.run.datasets:
        entry, schedule, where = study.datasets[name], study.budgets[name], f"config, datasets: {name}"
        noise = study.noise[name].get("noise")
        published = getattr(entry.module, "SIZES", None)
        try:
            found = _variants.sizes(entry.config, published) if published else None
            pool, classes = _prepared(results, name, entry) or (
                (found.pool, len(found.class_names)) if found else (None, None)
            )
            if noise:
                annotator.check(noise, classes, answers=not published)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        _check_shortlists(study, name, pool)
        if classes is not None:
            notes.append(check_budget(name, schedule.initial, schedule.total, pool, classes))
    return [note for note in notes if note]


def _check_shortlists(study, dataset, pool):
    """Raises `UserError` where a shortlist is too short for a batch of a dataset, of `pool` images (None: unknown)."""
    schedule = study.budgets[dataset]
    for name in dict.fromkeys(s for grid in study.grids if dataset in grid.datasets for s in grid.strategies):
        settings = study.strategies[name].settings.get("shortlist")
        for round_ in range(2, schedule.rounds + 1) if settings else ():
            unlabelled = None if pool is None else pool - schedule.before(round_)
            try:
                shortlist.check_budget(shortlist.Config(**settings), schedule.batch(round_), unlabelled)
            except UserError as error:
                raise UserError(f"config, strategies: {name}: {error} (Round {round_} of {dataset}.)") from None


def check_sources(study, results):
    """Raises `UserError` where a dataset has to be prepared and the folder or a file that it is made of is missing."""
    for name in study.run.datasets:
        entry = study.datasets[name]
        if hasattr(entry.module, "check_source") and not _prepared(results, name, entry):
            try:
                entry.module.check_source(entry.config)
            except UserError as error:
                raise UserError(f"config, datasets: {name}: {error}") from None


def check_models(study):
    """Raises `UserError` where an encoder that is run is of a model that open_clip or timm does not know.

    Where jobs have environments of their own, these packages need not be here: then the first job says so.
    """
    for name in study.run.encoders:
        settings = study.encoders[name].settings
        package = importlib.util.find_spec(settings["name"]) if settings["name"] in _KNOWN else None
        if package is None or settings.get("model_config"):
            continue
        model, place = settings["model"], Path(package.submodule_search_locations[0])
        knows, names = _KNOWN[settings["name"]]
        if not knows(place, model):
            close = difflib.get_close_matches(model, names(place), n=3, cutoff=0.5)
            hint = f" Close to it: {', '.join(close)}." if close else ""
            raise UserError(
                f"config, encoders: {name}: {settings['name']} knows no model {model!r}.{hint} "
                f"All names: python -c 'import {settings['name']} as m; print(m.list_models())'."
            )


def _open_clip_knows(package, model):
    return model.replace("/", "-") in _names_of_open_clip(package)


def _names_of_open_clip(package):
    return {path.stem for path in (package / "model_configs").glob("*.json")}


def _timm_knows(package, model):
    """Whether there is a function of this name, or a former name of one, tags aside."""
    text, name = _code_of_timm(package), model.partition(".")[0]
    return f"\ndef {name}(" in text or f"\n    {name!r}:" in text


def _names_of_timm(package):
    return re.findall(r"^@register_model\n(?:@.*\n)*def (\w+)\(", _code_of_timm(package), re.MULTILINE)


def _code_of_timm(package):
    return "\n".join(path.read_text(encoding="utf-8") for path in (package / "models").glob("*.py"))


# By package: whether it knows a model, and its models' names.
_KNOWN = {"open_clip": (_open_clip_knows, _names_of_open_clip), "timm": (_timm_knows, _names_of_timm)}


def _prepared(results, name, entry):
    """(images of the pool, classes) of a dataset file that was made with these settings; None where there is none."""
    path = Path(results, "datasets", f"{name}.h5")
    if not path.is_file():
        return None
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            if file.attrs["spec"] != entry.spec:
                return None
            return len(file["pool/source"]), len(file.attrs["class_names"])
    except (OSError, KeyError, TypeError):  # the job that reads it says what is wrong
        return None
