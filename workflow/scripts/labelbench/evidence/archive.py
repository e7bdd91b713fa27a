"""A study in one file: all that its tables and figures are made of, without images, embeddings and models.

A zip file whose members have the names they have under the results folder, and

* `manifest.json`: `format`; `contents`, `contents.Contents` by dataset; `definitions` of what was run; `datasets`, of
  each its fingerprint and sizes; `tuned`, members that say which settings were chosen;
* `config.json`, the study's config; `environment.json`, the machine and the versions of all Python packages;
  `snakemake.json`, by output of a job what Snakemake recorded of it: rule, inputs, params, start and end;
* `checksums.json`: the sha256 of every other member.

An archive is not signed: checksums find accidents and careless edits. `importers/archive.py` also checks label sets
against the results that were made of them.
"""

import base64
import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import stat
import zipfile
import zlib
from pathlib import Path

from labelbench.common import json_files, names, schemas
from labelbench.common.errors import UserError
from labelbench.common.names import shortened

FORMAT = "labelbench study, version 1"
MANIFEST, CHECKSUMS = "manifest.json", "checksums.json"
# Far above what a study leaves (20,000 models: some 60,000 members, 200 MB), far below what fills a machine.
MOST_MEMBERS, DEEPEST = 1_000_000, 16
LARGEST_JSON, LARGEST_MEMBER, LARGEST_ARCHIVE = 64 * 1024**2, 1024**3, 8 * 1024**3
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file can say
_RECORDED = ("rule", "input", "log", "params", "starttime", "endtime", "external_jobid", "input_checksums")

_NAME = {"type": "string", "pattern": names.RULE.pattern, "description": f"a name: {names.IN_WORDS}"}
_COUNT = {"type": "integer", "minimum": 0}


def _tuple(*items):
    return {"type": "array", "prefixItems": list(items), "items": False, "minItems": len(items)}


def _list(item):
    return {"type": "array", "items": item}


def _by_name(item, **more):
    return {"type": "object", "propertyNames": _NAME, "additionalProperties": item, **more}


def _exactly(properties, **optional):
    every = {**properties, **optional}
    return {"type": "object", "properties": every, "required": list(properties), "additionalProperties": False}


_TEXTS = _by_name({"type": "string"})
_PUBLISHED = {
    "type": "object",
    "properties": {
        "dataset": _NAME,
        "encoders": _TEXTS,
        "selectors": _TEXTS,
        "trainers": _list(_NAME),
        "strategies": _TEXTS,
    },
    "additionalProperties": False,
}
_CONTENTS = _exactly(
    {
        "lead": {"enum": ["accuracy", "balanced_accuracy", "macro_f1", "worst_class_accuracy", "worst_group_accuracy"]},
        "runs": {**_list(_tuple(_NAME, _NAME, _NAME, _NAME)), "minItems": 1},
        "kinds": _by_name({"enum": ["batch", "sequential", "upper bound"]}),
        "models": _list(_tuple(_NAME, _NAME)),
        "passive": _list(_NAME),
        "end_to_end": _list(_NAME),
        "trials": {"type": "integer", "minimum": 1},
        "evaluations": {"type": "boolean"},
        "curves": {"type": "boolean"},
        "costs": {"type": "boolean"},
        "published": _PUBLISHED,
    },
    # Archives of before have none of these.
    images={"type": "string"},
    alike={"type": "string"},
    start=_NAME,
    made=_TEXTS,
)
_BUDGET = _tuple(
    {"type": "integer", "minimum": 1},
    {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
    {"type": "integer", "minimum": 1, "maximum": 1000},
)
_DEFINED = {
    "type": "object",
    "properties": {"budget": _BUDGET, "noise": {"type": "object"}, "views": {"type": "object"}},
    "required": ["budget", "noise", "views"],
}
_SETTINGS = _by_name({"type": "object"})
_DEFINITIONS = {
    "type": "object",
    "properties": {
        "seed": _COUNT,
        "datasets": _by_name(_DEFINED),
        **dict.fromkeys(("encoders", "selectors", "trainers", "strategies"), _SETTINGS),
    },
    "required": ["seed", "datasets", "encoders", "selectors", "trainers", "strategies"],
}
_DATASET = {
    "type": "object",
    "properties": {
        "fingerprint": {"type": "string", "pattern": "[0-9a-f]{1,64}", "description": "a fingerprint (hex digits)"},
        "pool_size": _COUNT,
        "splits": _by_name(_COUNT),
        "class_names": _list({"type": "string"}),
    },
    "required": ["fingerprint", "pool_size"],
}
_SCHEMA = {
    "type": "object",
    "properties": {
        "contents": _by_name(_CONTENTS, minProperties=1),
        "definitions": _DEFINITIONS,
        "datasets": _by_name(_DATASET),
        "tuned": _list({"type": "string"}),
    },
    "required": ["contents", "definitions", "datasets", "tuned"],
}
# What the job of a tuned trainer leaves, as far as tables show it.
TUNED = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("dataset", "encoder", "selector", "trainer"), _NAME),
        "num_labels": _COUNT,
        "metric": _NAME,
        "candidates": {
            "type": "array",
            "items": {"type": "object", "properties": {"score": {"type": "number"}}, "required": ["score"]},
            "minItems": 1,
        },
        "chosen": {"type": "object", "propertyNames": _NAME},
    },
    "required": ["dataset", "encoder", "selector", "trainer", "num_labels", "metric", "candidates", "chosen"],
}


def write(path, files, texts):
    """Write an archive: `files`, paths by member name, and `texts`. The same content gives the same bytes."""
    checksums = {}
    with zipfile.ZipFile(path, "w") as archive:

        def add(name, content):
            checksums[name] = hashlib.sha256(content).hexdigest()
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = 0o644 << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)

        for name, text in texts.items():
            add(name, text.encode())
        for name, file in sorted(files.items()):
            add(name, Path(file).read_bytes())
        add(CHECKSUMS, json.dumps(checksums, indent=1, sort_keys=True).encode())


def manifest(path):
    """The manifest of an archive. Raises `UserError` for what is none, is of another format, or says what cannot be."""
    content = load(path, MANIFEST)
    if content.get("format") != FORMAT:
        raise UserError(
            f"{path} has the format {shortened(content.get('format'))}, and this version of the workflow reads "
            f"{FORMAT!r}: use the version that made it, or have it made again."
        )
    if wrong := schemas.problem(content, _SCHEMA):
        where, what = wrong
        raise UserError(f"The archive {path} was refused: {MANIFEST}{', ' * bool(where)}{where}: {what}")
    for dataset, held in content["contents"].items():
        strategies = {run[-1] for run in held["runs"]}
        if dataset not in content["datasets"] or dataset not in content["definitions"]["datasets"]:
            raise UserError(
                f"The archive {path} was refused: {MANIFEST} says what was run on {dataset}, not what it is."
            )
        if absent := sorted(strategies - set(held["kinds"])):
            raise UserError(f"The archive {path} was refused: {MANIFEST} does not say of what kind {absent[0]} is.")
    return content


def extract(path, folder, wanted):
    """Check all members of an archive and unpack those into `folder` of which `wanted(name)` is true.

    Members are read in pieces, never whole. Raises `UserError` where they are missing, too many, or changed.
    """
    expected = load(path, CHECKSUMS)
    with _opened(path) as (archive, members):
        names = set(members) - {CHECKSUMS}
        _refuse(path, "lacks", set(expected) - names)
        _refuse(path, "holds what was not there when it was made:", names - set(expected))
        edited = set()
        for name in sorted(names):
            target = Path(os.devnull)
            if wanted(name):
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                if _copied(path, archive, members[name], file) != expected[name]:
                    edited.add(name)
        _refuse(path, "was changed after it was made:", edited)


def _refuse(path, what, names):
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise UserError(f"The archive {path} {what} {', '.join(sorted(names)[:5])}{more}. It was not imported.")


def load(path, name):
    """A JSON object of an archive. Raises `UserError` for a file that is no archive, lacks it, or holds another one."""
    with _opened(path) as (archive, members):
        _refuse(path, "lacks", {name} - set(members))
        if members[name].file_size > LARGEST_JSON:
            raise UserError(f"The archive {path} was refused: {name} would be larger than {_size(LARGEST_JSON)}.")
        text = io.BytesIO()
        _copied(path, archive, members[name], text)
    try:
        content = json_files.loads(text.getvalue())
    except ValueError as error:
        raise UserError(f"The archive {path} was refused: {name} cannot be read ({error}).") from None
    if not isinstance(content, dict):
        raise UserError(f"The archive {path} was refused: {name} holds no object with names and values.")
    return content


@contextlib.contextmanager
def _opened(path):
    """An open archive, and its members by name: those whose names, kinds and sizes are what an archive may have."""
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise UserError(f"There is no archive {path}.") from None
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not an archive of a study ({error}).") from None
    with archive:
        found = archive.infolist()
        if len(found) > MOST_MEMBERS:
            raise UserError(f"The archive {path} was refused: it has {len(found):,} members, {MOST_MEMBERS:,} at most.")
        members = {}
        for member in found:
            if reason := _wrong_member(member, members):
                raise UserError(
                    f"The archive {path} was refused: its member {shortened(member.filename, 100)} {reason}."
                )
            members[member.filename] = member
        if (total := sum(member.file_size for member in found)) > LARGEST_ARCHIVE:
            raise UserError(
                f"The archive {path} was refused: unpacked it would take {_size(total)}, and {_size(LARGEST_ARCHIVE)} "
                "is the most that the results of a study are taken to need."
            )
        yield archive, members


def _wrong_member(member, others):
    """Why a member is refused; empty where it may stand in an archive."""
    name, kind = member.filename, member.external_attr >> 16
    parts = name.split("/")
    if name in others:
        return "is there twice"
    if not all(names.obeys(part) for part in parts) or len(parts) > DEEPEST:
        return f"has no name of a result: up to {DEEPEST} names joined by /. Names are {names.IN_WORDS}"
    if stat.S_IFMT(kind) not in (0, stat.S_IFREG):
        return "is no plain file but a link or a device"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by method {member.compress_type}, and only deflate is read"
    if member.file_size > LARGEST_MEMBER:
        return f"would be {_size(member.file_size)} large, and {_size(LARGEST_MEMBER)} is the most"
    return ""


def _size(count):
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"


def _copied(path, archive, member, file):
    """Write a member's content to a file; its sha256 in hex."""
    digest = hashlib.sha256()
    try:
        with archive.open(member) as source:
            while piece := source.read(1024**2):
                digest.update(piece)
                file.write(piece)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"The archive {path} is damaged at {member.filename} ({error}). It was not imported.") from None
    return digest.hexdigest()


def environment():
    """The machine and the versions of all Python packages, for `environment.json`."""
    packages = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def records(results, without, metadata=Path(".snakemake/metadata")):
    """What Snakemake recorded of the jobs that wrote into the folder `results`, by output, but for the one `without`.

    Snakemake keeps one JSON file per output, named after it in base64; long names are cut into folders that begin with
    an @. There are none where it keeps them in a data base, or where the results were copied here.
    """
    found = {}
    for path in metadata.rglob("*"):
        if path.is_file():
            name = "".join(part.removeprefix("@") for part in path.relative_to(metadata).parts)
            output = base64.urlsafe_b64decode(name).decode()
            if Path(output).is_relative_to(results) and output != without:
                with contextlib.suppress(ValueError):  # a damaged record counts as none, for Snakemake too
                    record = json.loads(path.read_text())
                    found[output] = {key: record.get(key) for key in _RECORDED}
    return dict(sorted(found.items()))
