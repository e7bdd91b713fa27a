"""What a study holds, by names: all that tables and figures have to know before any number is read.

Built while the Snakefile is parsed, of the study's own config and of what it imports.
"""

from typing import NamedTuple

from labelbench.common.errors import UserError
from labelbench.common.provenance import canonical

FIELDS = ("encoder", "selector", "trainer", "strategy")


class Contents(NamedTuple):
    """What was run on one dataset, in reading order; plain data that survives JSON.

    lead: the leading metric; runs: (encoder, selector, trainer, strategy) of each; kinds: by strategy, `batch`,
    `sequential` or `upper bound`; models: (encoder, trainer) of what was fine-tuned end to end on the chosen labels;
    passive: those of all trainers that use labels only; end_to_end: selectors that train the encoder itself; trials:
    how many; evaluations: whether these models were trained in several rounds; curves: whether the
    selectors' own were; costs: whether costs were measured;
    published: which setting of the LabelBench paper this is (`paper.setting`); images: a name that datasets of the same
    images share, whatever is done with their labels; "" where nothing says, and then the dataset's own stands for it.
    start: the strategy of the first round; alike: a text that datasets share which differ in nothing else; both are ""
    where nothing says. made: a digest of each setting behind `alike`, by its name.
    """

    lead: str
    runs: list
    kinds: dict
    models: list
    passive: list
    end_to_end: list
    trials: int
    evaluations: bool
    curves: bool
    costs: bool
    published: dict
    images: str = ""
    alike: str = ""
    start: str = ""
    made: dict = {}

    def names(self, field):
        """The encoders, selectors, trainers or strategies (`field` in the singular) or models, each once."""
        if field == "model":
            return list(dict.fromkeys(model for _, model in self.models))
        at = FIELDS.index(field)
        return list(dict.fromkeys(run[at] for run in self.runs))

    def several(self):
        """What there are several of, to be compared: "selectors", "trainers", or "finals", trainers of final models."""
        trainers, finals = {}, {}
        for encoder, selector, trainer, _ in self.runs:
            trainers.setdefault((encoder, selector), set()).add(trainer)
        for encoder, model in self.models:
            finals.setdefault(encoder, set()).add(model)
        found = {"selectors"} if len(self.names("selector")) > 1 else set()
        found |= {"trainers"} if any(len(names) > 1 for names in trainers.values()) else set()
        return found | ({"finals"} if any(len(names) > 1 for names in finals.values()) else set())


def order(contents):
    """Names by column of the study's table in reading order, of a dict of `Contents`."""
    return {field: _union(held.names(field) for held in contents.values()) for field in (*FIELDS, "model")}


def cold_starts(sources):
    """(name, cold start) by dataset: of one name are datasets of a source that differ in nothing but the cold start.

    sources: dicts of `Contents` by dataset. The name is that of the first of them. One that does not differ at all
    keeps a name of its own.
    """
    found = {}
    for held in sources:
        names, taken = {}, set()
        for dataset, what in held.items():
            name = names.setdefault(what.alike or dataset, dataset)
            name = dataset if (name, what.start) in taken else name
            taken.add((name, what.start))
            found.setdefault(dataset, (name, what.start))
    return found


def uncompared(sources):
    """Sentences by dataset on cold starts that seem meant to be compared and are not, for something else differs too.

    sources: as of `cold_starts`. A dataset is told of once, where no other differs in its cold start alone: against the
    dataset of the same images that differs least, of those that are not compared with its cold start anyway.
    """
    found = {}
    for held in sources:
        starts = {}
        for what in held.values():
            starts.setdefault(what.alike, set()).add(what.start)
        alone = {name: what for name, what in held.items() if what.made and len(starts[what.alike]) == 1}
        told = set()
        # The plain one of two is what the other would be compared with.
        for name, what in sorted(alone.items(), key=lambda item: item[1].start == "random"):
            others = {
                other: sorted(key for key in {*one.made, *what.made} if one.made.get(key) != what.made.get(key))
                for other, one in held.items()
                if one.made and one.images == what.images and what.start not in starts[one.alike] and other not in told
            }
            if others:
                other = min(others, key=lambda other: len(others[other]))
                found[name] = (
                    f"{name} is not compared with {other} as a cold start: they differ in {', '.join(others[other])} "
                    "too. Where nothing but `initial` differs, they are."
                )
                told |= {name, other}
    return found


def joint(own, imports):
    """`Contents` by dataset of a study, `own`, and of `imports`, the same by the name of the import, all together.

    Also returns, by import, its (dataset, encoder, selector, trainer, strategy, new name) of all runs that stand
    there already under the same names: they are called `strategy (import)`.
    """
    together, renames = dict(own), {name: [] for name in imports}
    for name, contents in imports.items():
        for dataset, held in contents.items():
            if dataset not in together:
                together[dataset] = held
                continue
            there = together[dataset]
            taken, new = set(map(tuple, there.runs)), {}
            for run in map(tuple, held.runs):
                new[run] = f"{run[-1]} ({name})" if run in taken else run[-1]
                if run in taken:
                    renames[name].append((dataset, *run, new[run]))
            together[dataset] = _merged(there, held, new)
    return together, renames


def check_joint(sources):
    """Raise `UserError` where sources share a dataset but not what makes its results comparable.

    sources: (name, `Contents` by dataset, definitions) of the study, named "", and of every import. Definitions are the
    settings by name of `datasets` (budget, noise, views, and the fingerprint where it is known), `encoders`,
    `selectors` and `trainers`, or None for results that do not say. What has the same name must be the same.
    """
    for at, (name, held, definitions) in enumerate(sources):
        for _, others, known in sources[:at]:
            for dataset in [dataset for dataset in held if dataset in others]:
                cure = f"Give it another name under `datasets` of the import {name}, and it is shown by itself."
                where = f"config, imports: {name}: the dataset {dataset} stands there already"
                if definitions is None or known is None:
                    raise UserError(f"{where}, and results of this kind do not say which images they are of. {cure}")
                _check_same(where, cure, "datasets", {dataset}, definitions, known)
                for kind, field in (("encoders", "encoder"), ("selectors", "selector"), ("trainers", "trainer")):
                    names = set(held[dataset].names(field)) & set(others[dataset].names(field))
                    _check_same(where, cure, kind, names, definitions, known)
                models = set(held[dataset].names("model")) & set(others[dataset].names("model"))
                _check_same(where, cure, "trainers", models, definitions, known)


def _check_same(where, cure, kind, names, definitions, known):
    for name in sorted(names):
        one, other = definitions[kind][name], known[kind][name]
        for setting in sorted(set(one) & set(other) if kind == "datasets" else {*one, *other}):
            there, here = canonical(other.get(setting)), canonical(one.get(setting))
            if there != here:
                raise UserError(
                    f"{where}, with another {setting} of {kind}: {name}. There it is {there}, in the import {here}: "
                    f"the results cannot be compared. {cure}"
                )


def _merged(there, held, new):
    """`Contents` of one dataset from two sources; `new`: by run of the second one its strategy's name here."""
    published = there.published or held.published
    if there.published and held.published:
        published = {key: _both(there.published[key], held.published[key]) for key in there.published}
    kinds, theirs = dict(there.kinds), dict(published.get("strategies", {}))
    for run, strategy in new.items():
        kinds.setdefault(strategy, held.kinds[run[-1]])
        if run[-1] in theirs:
            theirs.setdefault(strategy, theirs[run[-1]])
    return Contents(
        lead=there.lead,
        runs=[*there.runs, *((*run[:-1], strategy) for run, strategy in new.items())],
        kinds=kinds,
        models=_union([map(tuple, there.models), map(tuple, held.models)]),
        passive=_union([there.passive, held.passive]),
        end_to_end=_union([there.end_to_end, held.end_to_end]),
        trials=min(there.trials, held.trials),
        evaluations=there.evaluations or held.evaluations,
        curves=there.curves or held.curves,
        costs=there.costs or held.costs,
        published=published | ({"strategies": theirs} if published else {}),
        images=there.images or held.images,
        alike=there.alike,
        start=there.start,
        made=there.made,
    )


def _both(one, other):
    if isinstance(one, dict):
        return other | one
    return _union([one, other]) if isinstance(one, list) else one


def _union(lists):
    return list(dict.fromkeys(name for names in lists for name in names))
