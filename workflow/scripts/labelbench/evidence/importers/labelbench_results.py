"""The authors' results: the folder `results/` of https://github.com/EfficientTraining/LabelBench (MIT licence).

A run is a pickle of plain dicts, lists, numbers and texts, `[curves, labels]`: the curves by metric name, one value per
round, and the pool positions of the labels in the order of annotation. It lies in
`{dataset}/bs_{batch}/embed_{encoder}/model_{selector}/trainer_{trainer}/{strategy}_sampling_{seed}.pkl`, where
`embed_none` means that the encoder, then named by `model_`, was trained end to end in every round. What other runs'
labels are worth to such a model are the curves alone in
`{dataset}_eval/bs_{batch}/proxy_{selector}/model_{encoder}/trainer_{trainer}_eval_trainer_{model}/`.
"""

import hashlib
import itertools
import pickle
import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labelbench.common import names, registry
from labelbench.common.errors import UserError
from labelbench.common.json_files import is_number
from labelbench.common.names import shortened
from labelbench.evidence import paper
from labelbench.evidence.contents import FIELDS, Contents
from labelbench.selection.initial import SEEDS
from labelbench.selection.strategies import kind

# Their names of metrics: ours, as (split, metric). Their pool metrics are the model's predictions of the whole pool.
# Left out are those of single classes, which take a class that a split lacks for one without hits.
METRICS = {
    "Test Accuracy": ("test", "accuracy"),
    "Balanced Test Accuracy": ("test", "balanced_accuracy"),
    "Test Macro F1": ("test", "macro_f1"),
    "Test Loss": ("test", "loss"),
    "Validation Accuracy": ("val", "accuracy"),
    "Balanced Validation Accuracy": ("val", "balanced_accuracy"),
    "Validation Macro F1": ("val", "macro_f1"),
    "Validation Loss": ("val", "loss"),
    "Pool Accuracy": ("pool", "pool_model_accuracy"),
    "Balanced Training Accuracy": ("pool", "pool_model_balanced_accuracy"),
    "Pool Macro F1": ("pool", "pool_model_macro_f1"),
    "_runtime": ("", "elapsed_seconds"),
}
LEAD = {"iwildcam": "macro_f1"}  # of the paper's tables; others accuracy
LARGEST = 64 * 1024**2  # bytes of a file
_RUN = re.compile(r"embed_(?P<embed>[^/]+)/model_(?P<model>[^/]+)/trainer_(?P<trainer>[^/]+)/(?P<file>[^/]+)\.pkl")
_EVALUATION = re.compile(
    r"proxy_(?P<proxy>[^/]+)/model_(?P<model>[^/]+)/trainer_(?P<trainer>[^/]+?)_eval_trainer_(?P<evaluated>[^/]+)/"
    r"(?P<file>[^/]+)\.pkl"
)
_FILE = re.compile(r"(?P<strategy>[a-z_]+?)(_sampling)?_(?P<seed>[0-9]+)")


@dataclass(frozen=True)
class Config:
    """folder: `results` of a clone; datasets: names under which to show them, each with its folder there, such as
    `{cifar10_published: cifar10/bs_1000}`."""

    folder: str
    datasets: dict

    def __post_init__(self):
        for name, place in self.datasets.items():
            if not names.obeys(name):
                raise ValueError(f"datasets: {shortened(name)} is no name. Names are {names.IN_WORDS}")
            source, _, batch = place.partition("/") if isinstance(place, str) else ("", "", "")
            if not names.obeys(source) or not re.fullmatch("bs_[0-9]+", batch):
                raise ValueError(f"datasets: {name}: {shortened(place)} is no folder such as cifar10/bs_1000")


class Run(NamedTuple):
    """One file of theirs and what it is, in our names; stage and model as in `study.IDENTITY`."""

    path: Path
    dataset: str
    encoder: str
    selector: str
    trainer: str
    strategy: str
    trial: int
    stage: str
    model: str


def runs(config):
    """All `Run`s of the chosen datasets, by their paths alone, in alphabetical order.

    Trials are numbered as the seeds of `initial.SEEDS`. Raises `UserError` for a folder that is not there or holds no
    run, and for a file whose name says no strategy and seed of theirs.
    """
    found = []
    for dataset, place in config.datasets.items():
        source, batch = place.split("/")
        here = []
        for folder, pattern in ((place, _RUN), (f"{source}_eval/{batch}", _EVALUATION)):
            for path in sorted(Path(config.folder, folder).glob("**/*.pkl")):
                here.append(_run(path, dataset, pattern.fullmatch(str(path.relative_to(Path(config.folder, folder))))))
        if not here:
            raise UserError(
                f"{Path(config.folder, place)} holds no results (files embed_…/model_…/trainer_…/….pkl). Clone "
                "https://github.com/EfficientTraining/LabelBench and name its folder `results` as `folder`."
            )
        found += here
    return found


def _run(path, dataset, place):
    name = place and _FILE.fullmatch(place["file"])
    if not name:
        raise UserError(f"{path} is not named as the authors name results: {{strategy}}_sampling_{{seed}}.pkl.")
    seed = int(name["seed"])
    if seed not in SEEDS:
        raise UserError(f"{path}: {seed} is none of the published seeds {', '.join(map(str, SEEDS))}.")
    about = place.groupdict()
    stage, model = ("finetune", about["evaluated"]) if "evaluated" in about else ("proxy", "")
    # The model under `embed_none` and of an evaluation is the encoder itself, trained end to end.
    if stage == "finetune":
        encoder, selector = about["model"], about["proxy"]
    elif about["embed"] == "none":
        encoder, selector = about["model"], "finetune"
    else:
        encoder, selector = about["embed"], about["model"]
    for part in (encoder, selector, about["trainer"], *filter(None, [model])):
        names.check(str(path), part)
    return Run(
        path, dataset, encoder.lower(), selector, about["trainer"], name["strategy"], SEEDS.index(seed), stage, model
    )


def files(config):
    """What `read` reads: the folders of the runs, whose dates change with the files in them, for these are hundreds."""
    return sorted({str(run.path.parent) for run in runs(config)})


def contents(config):
    """`Contents` by dataset, from the names of the files."""
    found = {}
    for dataset, place in config.datasets.items():
        here = [run for run in runs(config) if run.dataset == dataset]
        # Random sampling first: the others are compared with it.
        combinations = sorted({tuple(getattr(run, field) for field in FIELDS) for run in here}, key=_random_first)
        trainers = dict.fromkeys([*_names(here, "trainer"), *_names(here, "model")])
        source, batch = place.split("/bs_")
        found[dataset] = Contents(
            lead=LEAD.get(_images(source), "accuracy"),
            runs=combinations,
            kinds={name: _kind(name) for name in _names(here, "strategy")},
            models=sorted({(run.encoder, run.model) for run in here if run.stage == "finetune"}),
            passive=[name for name in trainers if name == "passive"],
            end_to_end=[name for name in _names(here, "selector") if name == "finetune"],
            trials=len(_names(here, "trial")),
            evaluations=any(run.stage == "finetune" for run in here),
            curves=True,
            costs=False,
            published=_published(source, here) if paper.printed(source, batch) else {},
            images=_images(source),
        )
    return found


def _images(source):
    """The images behind one of their folders: `iwildcam_random` are runs with random batches on those of `iwildcam`."""
    return source.removesuffix("_random")


def definitions(config):
    """None: the files do not say which images and settings they are of, so they join no dataset of another study."""
    return


def tuned(config):
    """None: the files do not say how settings were chosen."""
    return []


def _published(source, runs):
    """Which setting of the paper's the runs are: all names are the paper's own."""
    here = {field: {name: name for name in _names(runs, field)} for field in ("encoder", "selector", "strategy")}
    return {
        "dataset": source,
        "encoders": here["encoder"],
        "selectors": here["selector"],
        "trainers": [paper.TRAINER],
        "strategies": here["strategy"],
        "same_runs": True,
    }


def _random_first(combination):
    return (*combination[:-1], combination[-1] != "random", combination[-1])


def _names(runs, field):
    return sorted({getattr(run, field) for run in runs})


def _kind(strategy):
    known = registry.names("strategies")
    return kind(registry.load("strategies", strategy)) if strategy in known else "batch"


def read(config, log):
    """Rows of the study's table (dicts with `study.COLUMNS`), and sentences by dataset that say what was left out.

    Where a setting's end-to-end model is also what labels of other selectors were evaluated with, its own curves count
    as that evaluation too: it is the same training. A run that lacks rounds which other runs of its strategy have is
    left out; what its strategy has left is compared with the trials and up to the labels that both sides have.
    """
    curves = {run: _load(run.path) for run in runs(config)}
    pairs = _pairs(curves)
    evaluated = {(run.dataset, run.encoder, run.model) for run in curves if run.stage == "finetune"}
    rows = []
    whole, left_out = _whole({run: values["Num Labeled"] for run, (values, _) in curves.items()})
    for dataset, notes in left_out.items():
        for note in notes:
            log.warning("%s: %s", dataset, note)
    for run in whole:
        stages = [(run.stage, run.model)]
        if run.selector == "finetune" and (run.dataset, run.encoder, run.trainer) in evaluated:
            stages.append(("finetune", run.trainer))
        values, _ = curves[run]
        for stage, model in stages:
            identity = run._asdict() | {"stage": stage, "model": model, "pair": pairs[run]}
            del identity["path"]
            for name, (split, metric) in METRICS.items():
                for at, value in enumerate(values.get(name, [])):
                    if value is not None:
                        where = {"round": at + 1, "num_labels": values["Num Labeled"][at]}
                        rows.append(identity | where | {"split": split, "metric": metric, "value": float(value)})
    return rows, left_out


class _Plain(pickle.Unpickler):
    """Reads numbers, texts, lists and dicts; whatever else a pickle could name or call is refused unexecuted."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _load(path):
    """Curves by metric name, and the labels or None. Raises `UserError` for anything but numbers in that shape."""
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise UserError(f"{path} was refused: it has {size:,} bytes, and results of LabelBench have some 100,000.")
        with path.open("rb") as file:
            content = _Plain(file).load()
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    except Exception as error:  # a broken pickle raises what it likes
        raise UserError(
            f"{path} was refused: {error}. Results of LabelBench hold numbers and texts only; nothing in the file was "
            "executed. Take it from the repository again."
        ) from None
    curves, labels = content if isinstance(content, list) and len(content) == 2 else (content, None)
    rounds = curves.get("Num Labeled") if isinstance(curves, dict) else None
    right = isinstance(rounds, list) and rounds and all(is_number(n) and n == int(n) for n in rounds)
    right = right and (labels is None or isinstance(labels, list))
    found = {"Num Labeled": list(map(int, rounds))} if right else {}
    for name in METRICS if right else ():
        values = curves.get(name, [None] * len(rounds))
        # W&B, where the files come from, writes what is not finite as a text.
        right = right and isinstance(values, list) and all(v in (None, *_NOT_FINITE) or is_number(v) for v in values)
        found[name] = [v if is_number(v) else None for v in values] if right else []
    if not right or any(len(values) != len(rounds) for values in found.values()):
        raise UserError(
            f"{path} does not hold results of LabelBench: a list for each metric, with one number for each entry of "
            "'Num Labeled'."
        )
    from labelbench.evidence import study  # it needs pandas, which planning does without

    if min(found["Num Labeled"]) < 1:
        raise UserError(f"{path} was refused: 'Num Labeled' holds {min(found['Num Labeled'])}, and counts begin at 1.")
    for name, (_, metric) in METRICS.items():
        for round_, value in enumerate(found[name], start=1):
            if value is not None and (reason := study.wrong(metric, value)):
                raise UserError(f"{path} was refused: {name!r}, round {round_}: {reason}.")
    return found, labels


_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def _pairs(curves):
    """A hash by run of the labels of its first round; "" where nothing says what they were.

    An evaluation, which keeps no labels, began with those of the run that chose them, and any other run that kept none
    with those of most runs of its seed.
    """
    found, by_seed = {}, defaultdict(list)
    for run, (values, labels) in curves.items():
        batch = (labels or [])[: values["Num Labeled"][0]]
        # Positions in a pool of a million images are whole floats in their files.
        if len(batch) == values["Num Labeled"][0] and all(is_number(n) and n == int(n) for n in batch):
            found[run] = hashlib.sha256(np.asarray(batch, "<i8").tobytes()).hexdigest()[:12]
            by_seed[run.dataset, run.trial].append(found[run])
    chose = {_choice(run): digest for run, digest in found.items()}
    usual = {key: statistics.mode(digests) for key, digests in by_seed.items()}
    return {run: found.get(run) or chose.get(_choice(run)) or usual.get((run.dataset, run.trial), "") for run in curves}


def _choice(run):
    return run._replace(path=None, stage="", model="")


def _whole(counts):
    """The runs, of a dict of their numbers of labels by round, that can stand in one table; notes on all others.

    Notes are sentences by dataset, of runs that were left out, strategies that lack trials, and those that end early.
    """
    curves, settings = defaultdict(list), defaultdict(list)
    for run in counts:
        curves[run._replace(path=None, trial=0)].append(run)
        settings[run._replace(path=None, trial=0, strategy="")].append(run)
    kept, notes = [], defaultdict(list)
    for curve, group in curves.items():
        others = settings[curve._replace(strategy="")]
        rounds, longest = max(len(counts[run]) for run in group), max(len(counts[run]) for run in others)
        name = ", ".join((curve.encoder, curve.selector, curve.trainer, curve.strategy))
        name += f", fine-tuned with {curve.model}" if curve.model else ""
        for run in group:
            labels = counts[run]
            if len(labels) < rounds:
                notes[run.dataset].append(
                    f"{name}: trial {run.trial} is left out, for it ends after {len(labels)} of {rounds} rounds."
                )
            elif any(a >= b for a, b in itertools.pairwise(labels)):
                notes[run.dataset].append(
                    f"{name}: trial {run.trial} is left out, for its numbers of labels do not rise."
                )
            else:
                kept.append(run)
        missing = {run.trial for run in others} - {run.trial for run in group}
        if missing:
            numbers = ", ".join(map(str, sorted(missing)))
            notes[curve.dataset].append(f"{name}: there is no trial {numbers}; it is compared on those it has.")
        if rounds < longest:
            notes[curve.dataset].append(
                f"{name}: ends after {rounds} rounds, others after up to {longest}; it is compared up to there."
            )
    return kept, dict(notes)
