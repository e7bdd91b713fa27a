"""What a study remembers of the user's own files, so that contents decide what is made again, and dates do not.

Beside `datasets/{dataset}.h5` stands a folder `{dataset}.known`: `files.csv`, the hash of each file that was read
(`contents.Known`); `dataset.h5`, a second name of the last whole dataset file; `state.json`, what that one was made of.

The rule that makes a dataset file has no input: a folder's date says nothing of its images. What Snakemake compares
instead is a `token`, which stays the same as long as the contents do.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from labelbench.common.jobs import write_json, written_whole
from labelbench.data import contents


class Listing(NamedTuple):
    """What a dataset is read from: image `files` relative to `root`, and `others` by their own paths (tables, names).

    A file that is not there has size −1.
    """

    root: str
    files: list
    others: list


def folder(results, dataset):
    """Where the memory of a dataset stands."""
    return f"{results}/datasets/{dataset}.known"


def read_files(place, decoding=None):
    """What is known of files, a list of `contents.Known`; nothing where they were decoded in another way."""
    how = Path(place, "decoding.txt")
    if decoding is not None and not (how.exists() and how.read_text() == str(decoding)):
        return []
    return contents.read_known(Path(place, "files.csv"))


def write_files(place, known, decoding):
    """Remember what was found out about files, also where the dataset cannot be made of them."""
    Path(place).mkdir(parents=True, exist_ok=True)
    contents.write_known(Path(place, "files.csv"), known)
    Path(place, "decoding.txt").write_text(str(decoding))


def begin(place):
    """Count a job that begins: of files that changed no two jobs have the same token, also where the first failed."""
    Path(place).mkdir(parents=True, exist_ok=True)
    state = _state(place) or {}
    write_json(Path(place, "state.json"), {**state, "tries": state.get("tries", 0) + 1})


def finish(place, output, listing, made_by, token):
    """Remember what the dataset file `output` was made of, and keep a second name of it.

    made_by: text, the settings and the code that made it; token: that of the job, which Snakemake records.
    """
    others = {file.path: _content(file.path) for file in listing.others}
    hashes = {k.file.path: k.sha256 for k in read_files(place)}
    content = _digest([*((f.path, hashes.get(f.path)) for f in listing.files), *others.items()])
    with contextlib.suppress(OSError), written_whole(Path(place, "dataset.h5")) as part:
        os.link(output, part)  # a file system without links keeps none
    seen = {"made_by": made_by, "content": content, "files": _stats(listing), "others": others, "token": token}
    write_json(Path(place, "state.json"), {**_state(place), **seen})


def planned(place, output, made_by, listing, main):
    """The `token` as the main process of Snakemake finds it; its jobs get that one, also when they are tried again.

    main: whether this is the main process.
    """
    if not main and (state := _state(place)) and "planned" in state:
        return state["planned"]
    found = token(place, output, made_by, listing)
    with contextlib.suppress(OSError):  # a study that may only be looked at
        if main and (state := _state(place)) and state.get("planned") != found:
            write_json(Path(place, "state.json"), {**state, "planned": found})
    return found


def token(place, output, made_by, listing):
    """A text that changes when the contents of the listed files do, and not with their dates.

    listing: function of the `contents.Known` that are remembered → `Listing`, or None where it must have changed.
    Where contents and `made_by` are those of the kept dataset file and `output` is gone, because a job failed that
    would have made it from other contents, it gets its name back.
    """
    state = _state(place)
    if state is None or "content" not in state:
        return ""  # there is no dataset file yet, which is reason enough to make it
    now = listing(lambda: read_files(place), state["others"])
    if now is None or not _same(place, state, now):
        stats = _stats(now) if now else _stats_of_others(state["others"])
        return f"changed {stats}, try {state['tries']}"
    kept = Path(place, "dataset.h5")
    if state["made_by"] == made_by and kept.exists() and not Path(output).exists():
        with contextlib.suppress(OSError):
            os.link(kept, output)
    return state["token"]


def _same(place, state, now):
    """Whether the listed files have the contents that `state` tells; files whose date alone is new are read."""
    stats = _stats(now)
    if stats == state["files"]:
        return True
    others = {file.path: _content(file.path) for file in now.others}
    if others != state["others"]:
        return False
    known = {k.file.path: k for k in read_files(place)}
    fresh = []
    for file in now.files:
        k = known.get(file.path)
        if k is None or k.file.size != file.size:
            return False
        if k.file != file:
            k = k._replace(file=file, sha256=_content(os.path.join(now.root, file.path)))  # noqa: PTH118
        fresh.append(k)
    if _digest([*((k.file.path, k.sha256) for k in fresh), *others.items()]) != state["content"]:
        return False
    with contextlib.suppress(OSError):  # a study that may only be looked at
        contents.write_known(Path(place, "files.csv"), fresh)
        write_json(Path(place, "state.json"), {**state, "files": stats})
    return True


def unchanged(others):
    """Whether files still have the contents that are remembered: a mapping from their paths to hashes."""
    return all(_content(path) == content for path, content in others.items())


def _state(place):
    try:
        return json.loads(Path(place, "state.json").read_text())
    except (OSError, ValueError):
        return None


def _content(path):
    try:
        return contents.content(path)
    except OSError:
        return ""


def _digest(pairs):
    text = "\n".join(f"{path}\0{content}" for path, content in pairs)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _stats(listing):
    return contents.digest([*listing.files, *listing.others])


def _stats_of_others(others):
    return contents.digest([contents.listed("", path) for path in others])
