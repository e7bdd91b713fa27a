"""Which images stand in a folder, at any depth, through links."""

import os
from dataclasses import dataclass, field

from labelbench.data import contents, image_files

# Folders that systems put beside images: macOS into archives, network storage for its thumbnails and its bin.
NOT_OF_THE_USER = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}


@dataclass
class Found:
    """What stands in a folder, by paths relative to it.

    images: files (`contents.File`); others: files that are none; folders: all of them; loops: links that lead back to a
    folder above; closed: (path, reason) of folders that cannot be read.
    """

    images: list = field(default_factory=list)
    others: list = field(default_factory=list)
    folders: list = field(default_factory=list)
    loops: list = field(default_factory=list)
    closed: list = field(default_factory=list)


def walk(folder):
    """What is `Found` in a folder and below, through links, in alphabetical order; hidden names are passed over."""
    found = Found()
    _look_into(found, folder, "", [])
    found.images.sort(key=lambda file: file.path.split("/"))
    return found


def _look_into(found, folder, below, above):
    """Add what stands in the subfolder `below`, empty or ending in /; above: identities of the folders that lead there.

    Only what links back to one of these can go on for ever.
    """
    place = os.path.join(folder, below)  # noqa: PTH118
    try:
        here = os.stat(place)  # noqa: PTH116
        if (here.st_dev, here.st_ino) in above:
            found.loops.append(below.rstrip("/"))
            return
        with os.scandir(place) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        found.closed.append((below.rstrip("/") or str(folder), (error.strerror or str(error)).lower()))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = below + entry.name
        if _is_folder(entry):
            if entry.name not in NOT_OF_THE_USER:
                found.folders.append(path)
                _look_into(found, folder, f"{path}/", [*above, (here.st_dev, here.st_ino)])
        elif _is_image(entry):
            found.images.append(contents.stat(folder, path) or contents.File(path, -1, 0))
        else:
            found.others.append(path)


def _is_folder(entry):
    """Whether it is a folder, or a link to one; a link that leads to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(entry):
    """By the ending; by the first bytes where there is none or an image's with something after it (`.jpg_large`)."""
    ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
    if ending in image_files.SUFFIXES:
        return True
    nearly = not ending or any(ending.startswith(known) for known in image_files.SUFFIXES)
    return nearly and image_files.looks_like_image(entry.path)
