"""Another study, from the archive that `snakemake archive` made of it."""

import dataclasses
import tempfile
from collections import defaultdict
from pathlib import Path

from labelbench.common import names, schemas
from labelbench.common.errors import UserError
from labelbench.common.names import shortened
from labelbench.data import label_set
from labelbench.evidence import archive, study
from labelbench.evidence.contents import FIELDS, Contents
from labelbench.training import results


@dataclasses.dataclass(frozen=True)
class Config:
    """file: the archive; datasets: names under which to show its datasets, each with its name there (none: all of them,
    under their own)."""

    file: str
    datasets: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_shown(self.datasets)


def check_shown(datasets):
    """Raise `ValueError` unless datasets are shown under names, each of which stands for a text."""
    for here, there in datasets.items():
        if not names.obeys(here):
            raise ValueError(f"datasets: {shortened(here)} is no name. Names are {names.IN_WORDS}")
        if not isinstance(there, str):
            raise ValueError(f"datasets: {here}: {shortened(there)} is not the name that it has there")


def files(config):
    """The file to be read."""
    return [config.file]


def _shown(config, manifest):
    """The names under which datasets are shown, by their names in the archive."""
    if not config.datasets:
        return {name: name for name in manifest["contents"]}
    for name in config.datasets.values():
        if name not in manifest["contents"]:
            known = ", ".join(manifest["contents"])
            raise UserError(f"The archive {config.file} holds no dataset {name!r}; it holds {known}.")
    return {there: here for here, there in config.datasets.items()}


def contents(config):
    """`Contents` by dataset. Raises `UserError` for a file that is no archive."""
    manifest = archive.manifest(config.file)
    held = {here: manifest["contents"][there] for there, here in _shown(config, manifest).items()}
    pairs = {"runs", "models"}  # lists of tuples, which JSON made lists
    return {
        dataset: Contents(**{k: list(map(tuple, v)) if k in pairs else v for k, v in fields.items()})
        for dataset, fields in held.items()
    }


def definitions(config):
    """What was run, as `contents.check_joint` compares it."""
    manifest = archive.manifest(config.file)
    found, shown = manifest["definitions"], _shown(config, manifest)
    datasets = {
        here: found["datasets"][there] | {"fingerprint": manifest["datasets"][there]["fingerprint"]}
        for there, here in shown.items()
    }
    return found | {"datasets": datasets}


def read(config, log):
    """Rows of the study's table, made of the results themselves, and notes on what was left out: none.

    Raises `UserError` with the reason for an archive that is not whole: members missing or changed, a round of a run
    without results, or label sets that are not those the results were made of.
    """
    manifest = archive.manifest(config.file)
    with tempfile.TemporaryDirectory() as folder:
        archive.extract(config.file, folder, _is_read)
        log.info("all members are as they were made")
        *files, replicates = (sorted(Path(folder).glob(pattern)) for pattern in _MEMBERS)
        models = [path for path in files[0] if path not in set(replicates)]
        rows = study.read(models, *files[1:], replicates)
        _check_names(config.file, manifest, rows)
        strategies = dict.fromkeys(run[-1] for held in manifest["contents"].values() for run in held["runs"])
        rows = study.share_first_round(rows, strategies)
        _check(config.file, manifest, rows, folder)
    shown = _shown(config, manifest)
    return [row | {"dataset": shown[row["dataset"]]} for row in rows if row["dataset"] in shown], {}


def tuned(config):
    """The settings that the study chose for its trainers: what its jobs left, in the order of its table."""
    manifest = archive.manifest(config.file)
    shown = _shown(config, manifest)
    records = [archive.load(config.file, name) for name in manifest["tuned"]]
    for name, record in zip(manifest["tuned"], records, strict=True):
        if wrong := schemas.problem(record, archive.TUNED):
            where, what = wrong
            raise UserError(f"The archive {config.file} was refused: {name}{', ' * bool(where)}{where}: {what}")
    return [record | {"dataset": shown[record["dataset"]]} for record in records if record["dataset"] in shown]


def _is_read(name):
    """Whether rows are made of a member, or checked against it."""
    return name.endswith((".json", "labels.h5")) and name.startswith(("runs/", "embeddings/", "initial/"))


def _check_names(path, manifest, rows):
    """Raise `UserError` for a row about what the manifest does not list: names become titles, columns and paths."""
    held = manifest["contents"]
    known = {
        "dataset": set(held),
        **{
            field: {run[at] for about in held.values() for run in about["runs"]} | {""}
            for at, field in enumerate(FIELDS)
        },
    }
    known["strategy"] |= {study.SHARED}
    for row in rows:
        for field, listed in known.items():
            if row[field] not in listed:
                raise UserError(
                    f"The archive {path} was refused: it holds results of the {field} {shortened(row[field])}, which "
                    f"{archive.MANIFEST} does not list."
                )
        if not all(names.obeys(row[field]) for field in ("model", "split", "metric", "stage", "pair") if row[field]):
            raise UserError(
                f"The archive {path} was refused: it holds results of {shortened(row['dataset'])} whose model, split, "
                f"metric, stage or pair is no name. Names are {names.IN_WORDS}."
            )


# The files that `study.read` takes, in its order.
_MEMBERS = (
    "runs/**/metrics.json",
    "runs/**/*cost.json",
    "embeddings/**/zero_shot.json",
    "embeddings/**/*.cost.json",
    "runs/**/replicate*/**/metrics.json",
)


def label_file(dataset, encoder, selector, trainer, strategy, trial, rounds):
    """Name of the label set of a run's last round, which holds those of all rounds."""
    if rounds == 1:
        return f"initial/{dataset}/{encoder}/trial{trial}/labels.h5"
    return f"runs/{dataset}/{encoder}/{selector}-{trainer}/{strategy}/trial{trial}/round{rounds:02d}/labels.h5"


def _check(path, manifest, rows, folder):
    """Raise `UserError` unless every run has all its rounds, and labels as its results say."""
    counts, pairs = defaultdict(dict), defaultdict(set)
    for row in rows:
        if row["stage"] == "proxy":
            run = (*(row[field] for field in study.SETTING), row["strategy"], row["trial"])
            counts[run][row["round"]] = row["num_labels"]
            pairs[run].add(row["pair"])
    for dataset, held in manifest["contents"].items():
        initial, batches, rounds = manifest["definitions"]["datasets"][dataset]["budget"]
        about = manifest["datasets"][dataset]
        for of_run in held["runs"]:
            for trial in range(held["trials"]):
                run = (dataset, *of_run, trial)
                missing = sorted(set(range(1, rounds + 1)) - set(counts[run]))
                if missing:
                    raise UserError(f"The archive {path} lacks the metrics of {_told(run)}, round {missing[0]}.")
                name = label_file(*run, rounds)
                wrong = _wrong_labels(Path(folder, name), about, trial, counts[run], pairs[run], manifest)
                if wrong:
                    raise UserError(
                        f"The archive {path} was refused: the label set {name} is not the one that the results of "
                        f"{_told(run)} were made of: {wrong}."
                    )


def _told(run):
    *of_run, trial = run
    return f"{'/'.join(of_run)}, trial {trial}"


def _wrong_labels(path, about, trial, counts, pairs, manifest):
    """What is wrong with a label set, or nothing."""
    if not path.exists():
        return "it is missing"
    labels = label_set.stored(path)
    if labels.fingerprint != about["fingerprint"]:
        return f"it is of another dataset, {labels.fingerprint}, and not of {about['fingerprint']}"
    inside = (labels.index >= 0) & (labels.index < about["pool_size"])
    if labels.trial != trial or len(set(labels.index.tolist())) != len(labels.index) or not inside.all():
        return "it repeats an example, names one outside the pool, or is of another trial"
    for round_, count in counts.items():
        if int((labels.round <= round_).sum()) != count:
            return f"it holds {int((labels.round <= round_).sum())} labels up to round {round_}, they say {count}"
    if pairs != {results.pair(labels, manifest["definitions"]["seed"])}:
        return "its first round is another"
    return ""
