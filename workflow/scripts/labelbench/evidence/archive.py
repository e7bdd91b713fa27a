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
import hashlib
import importlib.metadata
import json
import os
import platform
import zipfile
from pathlib import Path

from labelbench.common.errors import UserError

FORMAT = "labelbench study, version 1"
MANIFEST, CHECKSUMS = "manifest.json", "checksums.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file can say
_RECORDED = ("rule", "input", "log", "params", "starttime", "endtime", "external_jobid", "input_checksums")


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
    """The manifest of an archive. Raises `UserError` for what is none, or of another format."""
    content = load(path, MANIFEST)
    if content.get("format") != FORMAT:
        raise UserError(
            f"{path} has the format {content.get('format')!r}, and this version of the workflow reads {FORMAT!r}: use "
            "the version that made it, or have it made again."
        )
    return content


def extract(path, folder):
    """Unpack an archive into `folder`. Raises `UserError` where members are missing, too many, or changed."""
    expected = load(path, CHECKSUMS)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist()) - {CHECKSUMS}
        _refuse(path, "lacks", set(expected) - names)
        _refuse(path, "holds what was not there when it was made:", names - set(expected))
        edited = set()
        for name in sorted(names):
            content = _member(path, archive, name)
            if hashlib.sha256(content).hexdigest() != expected[name]:
                edited.add(name)
            elif Path(name).is_absolute() or ".." in Path(name).parts:
                raise UserError(f"{path} would write outside its folder: {name}.")
            else:
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        _refuse(path, "was changed after it was made:", edited)


def _refuse(path, what, names):
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise UserError(f"The archive {path} {what} {', '.join(sorted(names)[:5])}{more}. It was not imported.")


def load(path, name):
    """A JSON member. Raises `UserError` for a file that is no archive, or lacks it."""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse(path, "lacks", {name} - set(archive.namelist()))
            return json.loads(_member(path, archive, name))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not an archive of a study ({error}).") from None


def _member(path, archive, name):
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise UserError(f"The archive {path} is damaged at {name} ({error}). It was not imported.") from None


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
                record = json.loads(path.read_text())
                found[output] = {key: record.get(key) for key in _RECORDED}
    return dict(sorted(found.items()))
