"""What the Snakefile asks while it builds the DAG. No job imports this."""

import dataclasses
import hashlib
import itertools
import math
import re
import types
import typing
from pathlib import Path
from typing import NamedTuple

from labelbench.common import json_files, registry, schemas, yaml_files
from labelbench.common.errors import UserError, did_you_mean
from labelbench.common.names import check as check_name
from labelbench.common.names import shortened
from labelbench.common.provenance import canonical
from labelbench.embedding import given
from labelbench.planning import plugins
from labelbench.selection import shortlist, strategies
from labelbench.selection.initial import SEEDS

MOST_JOBS = 200_000  # planning takes 2 ms for each
MOST_CANDIDATES = 10_000


class Entry(NamedTuple):
    """A plug-in with its settings: `settings` is the JSON value that jobs get, `source` the plug-in's file."""

    name: str
    settings: dict
    config: object
    source: str
    module: types.ModuleType

    @property
    def spec(self):
        return canonical(self.settings)


def merged(base, overlay):
    """Mappings merge, everything else is replaced: Snakemake's rule for config files."""
    result = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def included(files, seen=None):
    """What the config files of an `include` say together: each below the next, and above what it includes itself.

    files: a list, or the one file; seen: a list of the files that were read already; none is read twice. Raises
    `UserError` for one that cannot be.
    """
    files = [files] if isinstance(files, str) else [] if files is None else files
    if not isinstance(files, list) or not all(isinstance(file, str) and file for file in files):
        raise UserError(f"config, include: {schemas.told(files)} stands where a list of config files is due.")
    content, seen = {}, [] if seen is None else seen
    for file in files:
        if file in seen:
            continue
        seen.append(file)
        try:
            own = read(file)
        except UserError as error:
            raise UserError(f"config, include: {error}") from None
        content = merged(merged(content, included(own.get("include"), seen)), own)
    return content


def read(file):
    """The settings in a config file. Raises `UserError` with the line where it is none, or says something twice."""
    content = json_files.read(file, cure="") if str(file).endswith(".json") else yaml_files.load(file)
    if not isinstance(content, dict):
        raise UserError(f"{file} holds {schemas.told(content)}, and settings by name are due (run: {{…}}).")
    return content


_JSON_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean", dict: "object"}


def _schema(annotation):
    args = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple and args[-1] is not Ellipsis:
        items = list(map(_schema, args))
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    if typing.get_origin(annotation) in (tuple, list):
        return {"type": "array", "items": _schema(args[0])}
    if isinstance(annotation, types.UnionType):
        return {"anyOf": [_schema(a) for a in args]}
    if typing.get_origin(annotation) is typing.Literal:
        return {"enum": list(args)}
    if annotation is type(None):
        return {"type": "null"}
    return {"type": _JSON_TYPES[annotation]}


def _schemas(where, config_class, fields):
    """Schemas by field of a plug-in's `Config`. Raises `UserError` for a type that no config file can hold."""
    found = {}
    for name in fields:
        try:
            found[name] = _schema(typing.get_type_hints(config_class)[name])
        except (KeyError, IndexError, NameError, TypeError):
            raise UserError(
                f"{where}: the plug-in's setting {name!r} has a type that no config can hold. Its `Config` may have "
                "int, float, bool, str, dict, tuple[…, ...] of these, Literal, and unions with |."
            ) from None
    return found


# Sections of definitions by name. A hyphen joins the names of a selector and a trainer in paths, so these have none.
NAMED = ("datasets", "encoders", "strategies", "imports", "selectors", "trainers")
JOINED = ("selectors", "trainers")


def with_names_as_text(config):
    """The config with names as text: `1` is a number in YAML, but may well name a dataset."""

    def text(name):
        return str(name) if type(name) is int else name

    def keys(mapping):
        return {text(key): value for key, value in mapping.items()} if isinstance(mapping, dict) else mapping

    def lists(run):
        if not isinstance(run, dict):
            return run
        run = {key: list(map(text, v)) if key in NAMED and isinstance(v, list) else v for key, v in run.items()}
        grids = run.get("grids")
        return {**run, "grids": {k: lists(v) for k, v in grids.items()}} if isinstance(grids, dict) else run

    named = {key: keys(value) if key in (*NAMED, "budgets") else value for key, value in config.items()}
    return {key: lists(value) if key == "run" else value for key, value in named.items()}


def check_names(config):
    """Raise `UserError` for a name that would do harm as a part of a path, or in a sentence."""
    run = config.get("run")
    grids = run.get("grids") if isinstance(run, dict) else None
    for name in grids if isinstance(grids, dict) else ():
        check_name("config, run: grids", name)
    for section in NAMED:
        seen = {}
        for name in config[section] if isinstance(config.get(section), dict) else ():
            check_name(f"config, {section}", name)
            if section in JOINED and "-" in name:
                raise UserError(f"config, {section}: {name!r} has a hyphen, which joins names of {section} in paths.")
            if (other := seen.setdefault(name.lower(), name)) != name:
                raise UserError(
                    f"config, {section}: {other!r} and {name!r} differ in capitals alone, and many disks take them for "
                    "one. Rename one of them."
                )


def check(config, schema):
    """The config, with texts as numbers where they are meant so (`schemas.taken`).

    Raises `UserError` unless it satisfies the JSON schema in the YAML file `schema`. Snakemake's own `validate` does
    the same but imports pandas, which doubles the time to read the workflow.
    """
    check_names(config)
    schema = yaml_files.load(schema)
    config = schemas.taken(config, schema)
    if wrong := schemas.problem(config, schema):
        where, what = wrong
        raise UserError(f"config{', ' + where if where else ''}: {what} See config/README.md.")
    return config


def complete(where, config_class, settings):
    """An instance of a plug-in's `Config` with these settings.

    Raises `UserError`, beginning with `where`, for a setting that does not exist, is missing, or has another type.
    """
    fields = {f.name: f for f in dataclasses.fields(config_class)}
    allowed = _schemas(where, config_class, fields)
    known = ", ".join(fields) or "none"
    if not isinstance(settings, dict):
        raise UserError(
            f"{where}: {schemas.told(settings)} stands where settings by name are due: {{name: value, …}}. Its "
            f"settings are: {known}."
        )
    for key in settings:
        if key not in fields:
            hint = did_you_mean(key, fields)
            raise UserError(f"{where}: there is no setting {shortened(key)}.{hint} Its settings are: {known}.")
    given = {}
    for name, field in fields.items():
        if name not in settings:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise UserError(f"{where}: the setting {name!r} is required.")
            continue
        schema = allowed[name]
        value = schemas.taken(settings[name], schema)
        if wrong := schemas.problem(value, schema):
            inside, what = wrong
            raise UserError(f"{where}: {name}: {inside}{': ' * bool(inside)}{what}")
        given[name] = tuple(value) if isinstance(value, list) else value
    try:
        return config_class(**given)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def resolve(key, variants, kind=None):
    """Entries by variant name, each checked against its plug-in's `Config` and completed with its defaults.

    `key` is the config section the variants stand in, `kind` the plug-in folder (the same name unless given). A
    variant's plug-in is the one its `name` says, or the one it is called after.
    """
    entries = {}
    for variant, settings in variants.items():
        where = f"config, {key}: {variant}"
        settings = settings_of(where, settings)
        name = settings.pop("name", variant)
        if not isinstance(name, str):
            raise UserError(f"{where}: name: {schemas.told(name)} stands where the name of a plug-in is due.")
        module = plugins.load(where, kind or key, name)
        config = complete(where, module.Config, settings)
        plugins.check_memory(where, kind or key, name, module, config)
        entries[variant] = Entry(
            name, {"name": name, **dataclasses.asdict(config)}, config, registry.source(kind or key, name), module
        )
    return entries


def settings_of(where, settings):
    """A copy of the settings of a definition, empty for null. Raises `UserError` for what are none."""
    if settings is not None and not isinstance(settings, dict):
        raise UserError(f"{where}: {schemas.told(settings)} stands where settings by name are due: {{name: value, …}}.")
    return dict(settings or {})


def chosen(where, names, defined):
    """`names`, checked to be defined. Raises `UserError` with the nearest defined name otherwise."""
    for name in names:
        if name not in defined:
            hint = did_you_mean(name, defined)
            raise UserError(f"{where}: {name!r} is not defined.{hint} Defined are: {', '.join(defined)}.")
    return list(names)


class Schedule(NamedTuple):
    """How many labels a run buys: `initial` for round 1, then `batches` (the last entry repeats)."""

    initial: int
    batches: list
    rounds: int

    def batch(self, round_):
        """Labels bought for round 1, or between round `round_ - 1` and round `round_` (2, 3, …)."""
        return self.initial if round_ == 1 else self.batches[min(round_ - 2, len(self.batches) - 1)]

    def before(self, round_):
        """Labels bought before the batch of that round."""
        return sum(map(self.batch, range(1, round_)))

    @property
    def total(self):
        return self.before(self.rounds + 1)


def evaluated_rounds(where, choice, rounds):
    """Round numbers that are fine-tuned: `choice` is `first`, `last`, `all`, a number, or a list of these."""
    named = {"first": [1], "last": [rounds], "all": list(range(1, rounds + 1))}
    picked = set()
    for item in choice if isinstance(choice, list) else [choice]:
        if item not in named and not (isinstance(item, int) and 1 <= item <= rounds):
            raise UserError(f"{where}: {item!r} is neither first, last, all nor a round from 1 to {rounds}.")
        picked.update(named.get(item, [item]))
    return sorted(picked)


@dataclasses.dataclass(frozen=True)
class Refresh:
    """A blend of proxies and fine-tunes (LabelBench paper, Appendix B): the setting `refresh` of a selector.

    In rounds `every`, 2·`every`, … the encoder is also fine-tuned end to end by `trainer`, and embeds the images anew
    for the rounds that follow.
    """

    every: int
    trainer: str

    def __post_init__(self):
        if self.every < 1:
            raise ValueError("every is a number of rounds: at least 1")

    def before(self, round_):
        """The last round before `round_` that refreshed the embeddings; 0 where there is none yet."""
        return (round_ - 1) // self.every * self.every


@dataclasses.dataclass(frozen=True)
class EndToEnd:
    """How an encoder is trained end to end, the setting `end_to_end` of an encoder: nothing of it changes results.

    gpus: of one node, which share each step. accumulation: parts of a step that a GPU computes one after another, where
    its memory is too small for all of its share. checkpoint_activations: whether it keeps what is between the blocks
    of the encoder alone, and computes the rest again for the gradient.
    """

    gpus: int = 1
    accumulation: int = 1
    checkpoint_activations: bool = False

    def __post_init__(self):
        for name in ("gpus", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


class Run(NamedTuple):
    """What is run, by names: the lists of the config's `run`; `trainers` are a list by selector.

    finetuned_rounds: round numbers by dataset in which `finetune_trainers` evaluate.
    """

    datasets: list
    encoders: list
    selectors: list
    trainers: dict
    strategies: list
    trials: int
    finetune_trainers: list
    finetuned_rounds: dict


@dataclasses.dataclass(frozen=True)
class Study:
    """A config, checked and completed: definitions as entries by name, and what to run.

    grids: the products of names that are run, one unless the config's `run` has `grids`; run: all that stands in any of
    them, each name once, with the largest number of trials; initial: by dataset, the strategy that buys the labels of
    round 1; views: augmentation settings by dataset; shards: in how many jobs each view of a dataset is embedded;
    noise: by dataset, the parts of a spec that say which mistakes its annotator makes (`_noise`), none for one who
    makes none; end_to_end: `EndToEnd` by encoder; refreshes: `Refresh` by selector, for those that blend; tuning:
    `Tuning` by trainer, for those that have candidates; budgets: `Schedule` by dataset; imports: results of others,
    entries of importers by name; augmentations: seeds of augmented views; replicates: trainings from other seeds;
    equivalence: a share of accuracy that does not matter; family: what p-values are corrected for,
    `comparisons.FAMILIES`.
    """

    seed: int
    grids: list
    run: Run
    initial: dict
    datasets: dict
    views: dict
    shards: dict
    noise: dict
    encoders: dict
    end_to_end: dict
    selectors: dict
    refreshes: dict
    trainers: dict
    tuning: dict
    strategies: dict
    budgets: dict
    imports: dict
    augmentations: int
    replicates: int
    equivalence: float
    family: str


def kind(entry):
    """`strategies.kind` of a strategy's entry."""
    return strategies.kind(entry.module)


def end_to_end(selector):
    """Whether a selector trains the encoder itself in each round, by a trainer on images."""
    return getattr(selector.module, "END_TO_END", False)


def of_features(dataset):
    """Whether a dataset's entry consists of embeddings: no encoder makes them, and nothing can be trained on images."""
    return getattr(dataset.module, "FEATURES", False)


def encoders(grid, dataset, datasets):
    """Names of the encoders behind the embeddings of a dataset in a grid; `given` where it consists of embeddings."""
    return [given.NAME] if of_features(datasets[dataset]) else grid.encoders


def _with_given(encoders, datasets):
    """The encoders, and `given` where a dataset consists of embeddings. Raises `UserError` where the name is taken."""
    if not any(map(of_features, datasets.values())):
        return encoders
    if given.NAME in encoders:
        raise UserError(f"config, encoders: `{given.NAME}` is the name for embeddings that a dataset consists of.")
    entry = Entry(given.NAME, {"name": given.NAME}, None, "labelbench/embedding/given.py", given)
    return {**encoders, given.NAME: entry}


def _check_features(where, grid, defined, refreshes):
    """Raise `UserError` where a grid would train an encoder on a dataset that consists of embeddings."""
    datasets = [name for name in grid.datasets if of_features(defined["datasets"][name])]
    selectors = [s for s in grid.selectors if end_to_end(defined["selectors"][s]) or s in refreshes]
    wrong = [("finetune: trainers", name) for name in grid.finetune_trainers] + [("selectors", s) for s in selectors]
    if datasets and wrong:
        key, name = wrong[0]
        remedy = "Write finetune: {trainers: [], rounds: [last]}" if key != "selectors" else "Choose linear or shallow"
        raise UserError(
            f"{where}: {key}: {name} trains an encoder on images, and {datasets[0]} consists of embeddings. {remedy}, "
            "or give the dataset a grid of its own."
        )


def _grids(run, defined, budgets):
    """The `Run` of each grid; a grid takes what it does not say from the config's `run`, one that is null is off.

    Raises `UserError` where two grids give one dataset different numbers of trials: its strategies could not be paired.
    """
    shared = {key: value for key, value in run.items() if key != "grids"}
    named = {f"config, run: grids: {name}": shared | grid for name, grid in run.get("grids", {}).items() if grid}
    grids, trials = [], {}
    for where, grid in (named or {"config, run": shared}).items():
        grids.append(_grid(where, grid, defined, budgets))
        for dataset in grid["datasets"]:
            other, n = trials.setdefault(dataset, (where, grid["trials"]))
            if n != grid["trials"]:
                raise UserError(
                    f"{where} has {grid['trials']} trials of {dataset}, but {other} has {n}: make them one."
                )
    return grids


def _grid(where, grid, defined, budgets):
    """The `Run` of one grid, a complete `run` of the config, which messages call `where`."""
    names = {key: chosen(f"{where}: {key}", grid[key], defined[key]) for key in defined if key != "trainers"}
    finetune = grid.get("finetune", {"trainers": [], "rounds": ["last"]})
    return Run(
        **names,
        trainers=_trainers(f"{where}: trainers", grid["trainers"], names["selectors"], defined),
        trials=grid["trials"],
        finetune_trainers=chosen(f"{where}: finetune: trainers", finetune["trainers"], defined["trainers"]),
        finetuned_rounds={
            d: evaluated_rounds(f"{where}: finetune: rounds", finetune["rounds"], budgets[d].rounds)
            for d in names["datasets"]
        },
    )


def _union(grids):
    """The `Run` of all names of `grids`, in the order of the grids."""

    def each_once(lists):
        return list(dict.fromkeys(name for names in lists for name in names))

    selectors = each_once(grid.selectors for grid in grids)
    datasets = each_once(grid.datasets for grid in grids)
    return Run(
        datasets=datasets,
        encoders=each_once(grid.encoders for grid in grids),
        selectors=selectors,
        trainers={s: each_once(grid.trainers.get(s, []) for grid in grids) for s in selectors},
        strategies=each_once(grid.strategies for grid in grids),
        trials=max(grid.trials for grid in grids),
        finetune_trainers=each_once(grid.finetune_trainers for grid in grids),
        finetuned_rounds={d: sorted({n for g in grids for n in g.finetuned_rounds.get(d, [])}) for d in datasets},
    )


def _trainers(where, choice, selectors, defined):
    """The trainers of each selector that is run, by its name. `choice` is one list for all, or a list by selector.

    Raises `UserError` for a selector without trainers, and for a trainer that cannot train what the selector does.
    """
    trainers = {}
    if isinstance(choice, dict):
        chosen(where, choice, defined["selectors"])
    for selector in selectors:
        if isinstance(choice, dict) and selector not in choice:
            raise UserError(f"{where}: the selector {selector} has none. Write {selector}: […], or one list for all.")
        names = choice[selector] if isinstance(choice, dict) else choice
        trainers[selector] = chosen(where, names, defined["trainers"])
        for name in trainers[selector]:
            images_only = getattr(defined["trainers"][name].module, "IMAGES_ONLY", False)
            if images_only and not end_to_end(defined["selectors"][selector]):
                raise UserError(
                    f"{where}: {name} trains an encoder, and the selector {selector} sees embeddings only. Choose "
                    "another trainer, or give this one to a selector that is called `finetune` or has that `name`."
                )
    return trainers


def _refreshes(settings, defined, grids, budgets):
    """`Refresh` by selector, from the setting of that name. Raises `UserError` where it cannot be meant so."""
    refreshes = {}
    for selector, values in settings.items():
        where = f"config, selectors: {selector}: refresh"
        refresh = refreshes[selector] = complete(where, Refresh, values)
        chosen(where, [refresh.trainer], defined["trainers"])
        if end_to_end(defined["selectors"][selector]):
            raise UserError(f"{where}: this selector trains the encoder in every round, so nothing is left to refresh.")
        for dataset in [d for grid in grids if selector in grid.selectors for d in grid.datasets]:
            if refresh.every >= budgets[dataset].rounds:
                raise UserError(
                    f"{where}: every {refresh.every} rounds is never in time for another round of {dataset}, which has "
                    f"{budgets[dataset].rounds}."
                )
    return refreshes


def _initial(where, name, strategies, trials, encoders):
    """The entry of the strategy `name` that buys the first labels. Raises `UserError`, at `where`, where it cannot.

    encoders: entries of those that are run, by name.

    `labelbench` is no strategy: it names the batches that the paper's published runs began with.
    """
    if not isinstance(name, str):
        raise UserError(f"{where}: {schemas.told(name)} stands where the name of a strategy is due.")
    if name == "labelbench":
        if trials > len(SEEDS):
            raise UserError(
                f"{where}: there are published first batches of {len(SEEDS)} runs, but trials is {trials}. "
                f"Set trials to at most {len(SEEDS)}, or choose another `initial`."
            )
        return Entry(name, {"name": name}, None, "labelbench/selection/initial.py", None)
    if name == "random" and name not in strategies:
        strategies = strategies | resolve("strategies", {"random": {}})
    entry = strategies[chosen(where, [name], strategies)[0]]
    if kind(entry) != "batch":
        raise UserError(f"{where}: {name} learns from labels as it goes and cannot choose the first ones.")
    if "shortlist" in entry.settings:
        raise UserError(f"{where}: {name} has a shortlist, which is for later rounds. Define one without.")
    if "head" in entry.module.USES:
        raise UserError(f"{where}: {name} looks into a trained model, and in round 1 there is none yet.")
    if "probabilities" in entry.module.USES:
        for encoder, used in encoders.items():
            if not used.module.has_text_tower(used.config):
                raise UserError(
                    f"{where}: {name} asks for class probabilities. In round 1 these are the zero-shot head's, and the "
                    f"encoder {encoder} has no text tower to make one from. Choose a strategy that uses features only."
                )
    return entry


def _initials(shared, own, strategies, grids, encoders):
    """The entry of the strategy that buys the first labels, by dataset: its own, or the one that all share.

    own: names by dataset, None for those that say nothing; encoders: those that each is run with, as in `_initial`.
    Of datasets that are not run nothing but the name is checked.
    """
    trials, found = {d: grid.trials for grid in grids for d in grid.datasets}, {}
    for dataset, name in own.items():
        where = "config, run: initial" if name is None else f"config, datasets: {dataset}: initial"
        given = shared if name is None else name
        found[dataset] = _initial(where, given, strategies, trials.get(dataset, 1), encoders.get(dataset, {}))
    return found


def _noise(name, settings):
    """Parts of a spec: the settings of a dataset's label noise and, of a matrix in a file, the content's hash.

    The file is read when a label is bought and is the input of no rule: the hash is what shows that it has changed.
    """
    from labelbench.data.annotator import Config

    config = complete(f"config, datasets: {name}: noise", Config, settings)
    parts = {"noise": dataclasses.asdict(config)}
    if isinstance(config.matrix, str) and Path(config.matrix).is_file():
        parts["noise_matrix"] = hashlib.sha256(Path(config.matrix).read_bytes()).hexdigest()
    return parts


class Tuning(NamedTuple):
    """How a trainer's settings are chosen: `config` of `training.tuning`, and the candidates, dicts of settings."""

    config: object
    candidates: list


def _tuning(name, entry, settings, tune):
    """The `Tuning` that `tune` of a trainer describes: all combinations, the last setting varying fastest.

    entry, settings: the trainer, and what its definition says besides. Raises `UserError` for a candidate that the
    trainer does not take.
    """
    from labelbench.training.tuning import Config

    where = f"config, trainers: {name}: tune"
    if not isinstance(tune, dict) or not tune:
        raise UserError(f"{where} must name settings with their candidates: {{learning_rate: [0.001, 0.003]}}.")
    how = {key: tune[key] for key in tune if key in {field.name for field in dataclasses.fields(Config)}}
    tried = {key: tune[key] for key in tune if key not in how}
    for key, values in tried.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}: {key} needs a list of candidates, such as [0.001, 0.003], not {values!r}.")
    if not tried:
        raise UserError(f"{where} names no setting with candidates, such as learning_rate: [0.001, 0.003].")
    if (count := math.prod(map(len, tried.values()))) > MOST_CANDIDATES:
        raise UserError(f"{where} makes {count:,} candidates, each of them trained. Name {MOST_CANDIDATES} at most.")
    rest, candidates = {key: value for key, value in settings.items() if key != "name"}, []
    for values in itertools.product(*tried.values()):
        taken = complete(where, entry.module.Config, rest | dict(zip(tried, values, strict=True)))
        candidates.append({key: getattr(taken, key) for key in tried})
    return Tuning(complete(where, Config, how), candidates)


def _strategies(settings):
    """Entries of strategies by name. One with a `shortlist` has it among its settings, completed."""
    settings = {name: settings_of(f"config, strategies: {name}", values) for name, values in settings.items()}
    short = {name: values.pop("shortlist") for name, values in settings.items() if "shortlist" in values}
    entries = resolve("strategies", settings)
    for name, values in short.items():
        if values is not None:
            config = complete(f"config, strategies: {name}: shortlist", shortlist.Config, values)
            entry = entries[name]
            entries[name] = entry._replace(settings={**entry.settings, "shortlist": dataclasses.asdict(config)})
    return entries


def uses(strategy):
    """What a strategy's entry asks of the pool, its shortlist included."""
    found = set(strategy.module.USES)
    if "shortlist" in strategy.settings:
        found |= set(shortlist.uses(shortlist.Config(**strategy.settings["shortlist"])))
    return found


def initial_uses(study, dataset):
    """What the strategy of round 1 of a dataset asks the pool for."""
    module = study.initial[dataset].module
    return module.USES if module else ()


def initial_name(study, dataset):
    """The name of the strategy of round 1 of a dataset, as the study defines it."""
    entry = study.initial[dataset]
    return next((name for name, defined in study.strategies.items() if defined == entry), entry.name)


def _check_inputs(section, entries, function):
    """Raise `UserError` for a file that Snakemake would take for a pattern if it were the input of a rule.

    Images of the user's own are no inputs, and may be called what they like.
    """
    for name, entry in entries.items():
        for path in map(str, getattr(entry.module, function)(entry.config)):
            if re.search(r"[{}<>]|//", path) or not path.isprintable():
                raise UserError(
                    f"config, {section}: {name}: {path!r} holds characters that mean something to Snakemake: braces, "
                    "angle brackets, two slashes in a row, or what is no UTF-8. Rename it, or name a link to it here."
                )


def study(config):
    """The `Study` of a config that satisfies the schema. Raises `UserError` for what the schema cannot see."""
    from labelbench.data.views import Config as Views

    views, shards, noise, first, datasets = {}, {}, {}, {}, {}
    for name, settings in config["datasets"].items():
        settings = settings_of(f"config, datasets: {name}", settings)
        views[name] = settings.pop("views", {})
        shards[name] = schemas.taken(settings.pop("shards", 1), {"type": "integer"})
        if type(shards[name]) is not int or shards[name] < 1:
            raise UserError(f"config, datasets: {name}: shards must be a whole number from 1, not {shards[name]!r}.")
        mistakes = settings.pop("noise", None)
        noise[name] = {} if mistakes is None else _noise(name, mistakes)
        first[name] = settings.pop("initial", None)
        datasets[name] = settings
    datasets = resolve("datasets", datasets)
    for name, entry in datasets.items():
        # A dataset that consists of embeddings has views of its own kind.
        kind_of_views = getattr(entry.module, "Views", Views)
        views[name] = dataclasses.asdict(complete(f"config, datasets: {name}: views", kind_of_views, views[name]))
        if of_features(entry) and shards[name] > 1:
            raise UserError(f"config, datasets: {name}: shards: its embeddings are there already. Leave it out.")
    selectors = {n: settings_of(f"config, selectors: {n}", s) for n, s in config["selectors"].items()}
    refreshes = {name: settings.pop("refresh") for name, settings in selectors.items() if "refresh" in settings}
    trainers = {n: settings_of(f"config, trainers: {n}", s) for n, s in config["trainers"].items()}
    tune = {name: settings.pop("tune") for name, settings in trainers.items() if "tune" in settings}
    encoder_settings = {n: settings_of(f"config, encoders: {n}", s) for n, s in config["encoders"].items()}
    end_to_end_ = {
        name: complete(f"config, encoders: {name}: end_to_end", EndToEnd, settings.pop("end_to_end", {}))
        for name, settings in encoder_settings.items()
    }
    defined = {
        "datasets": datasets,
        "encoders": resolve("encoders", encoder_settings),
        "selectors": resolve("selectors", selectors, kind="proxies"),
        "trainers": resolve("trainers", trainers),
        "strategies": _strategies(config["strategies"]),
    }
    if "initial" in defined["strategies"]:
        raise UserError("config, strategies: `initial` is the name of the first round, which strategies share.")
    if "final" in defined["selectors"]:
        raise UserError("config, selectors: `final` is the name under which settings of final models are tuned.")
    for name in config["budgets"]:
        if name != "default":
            chosen("config, budgets", [name], defined["datasets"])
    budgets = {d: Schedule(**config["budgets"].get(d, config["budgets"]["default"])) for d in defined["datasets"]}
    grids = _grids(config["run"], defined, budgets)
    run = _union(grids)
    for grid in grids:
        _check_features("config, run", grid, defined, refreshes)
    defined["encoders"] = _with_given(defined["encoders"], datasets)
    used = {}
    for grid in grids:
        for d in grid.datasets:
            used.setdefault(d, {}).update({e: defined["encoders"][e] for e in encoders(grid, d, datasets)})
    _check_inputs("datasets", {name: datasets[name] for name in run.datasets}, "sources")
    every = {name: entry for of_dataset in used.values() for name, entry in of_dataset.items()}
    _check_inputs("encoders", {name: entry for name, entry in every.items() if entry.config is not None}, "files")
    imports = {name: settings for name, settings in config.get("imports", {}).items() if settings is not None}
    if not run.datasets and not imports:
        raise UserError("config, run: datasets is empty and nothing is imported: name a dataset to run.")
    found = Study(
        seed=config["seed"],
        grids=grids,
        run=run,
        initial=_initials(config["run"].get("initial", "random"), first, defined["strategies"], grids, used),
        views=views,
        shards=shards,
        noise=noise,
        end_to_end=end_to_end_,
        refreshes=_refreshes({n: how for n, how in refreshes.items() if how is not None}, defined, grids, budgets),
        tuning={n: _tuning(n, defined["trainers"][n], trainers[n], how) for n, how in tune.items() if how is not None},
        budgets=budgets,
        imports=resolve("imports", imports, kind="importers"),
        augmentations=config["augmentations"],
        replicates=config["run"].get("replicates", 0),
        equivalence=config.get("statistics", {}).get("equivalence", 0.2) / 100,
        family=config.get("statistics", {}).get("family", "block"),
        **defined,
    )
    _check_size(found, config.get("most_jobs", MOST_JOBS))
    return found


def jobs(study):
    """About how many jobs a study has, counted without making them."""
    views, total = 1 + study.augmentations, 0
    for grid in study.grids:
        models = len(grid.finetune_trainers)
        for d in grid.datasets:
            rounds, of_dataset = study.budgets[d].rounds, len(encoders(grid, d, study.datasets))
            runs = of_dataset * sum(map(len, grid.trainers.values())) * len(grid.strategies) * grid.trials
            trained = rounds + models * len(grid.finetuned_rounds[d])
            replicated = 2 * study.replicates * runs // len(grid.strategies) * (1 + models)
            total += runs * (trained + rounds - 1) + of_dataset * views * study.shards[d] + replicated
    tried = sum(len(tuning.candidates) for tuning in study.tuning.values())
    return total + tried * len(study.run.datasets) * len(study.run.encoders) * (1 + len(study.run.selectors))


def _check_size(study, most):
    """Raise `UserError` for a study of so many jobs that planning it would not end."""
    if (count := jobs(study)) > most:
        raise UserError(
            f"config: this study would have about {count:,} jobs, and {most:,} is the most. Look for a number with "
            "zeros too many under trials, rounds, augmentations, shards or replicates; where all of it is meant, raise "
            "`most_jobs`."
        )
