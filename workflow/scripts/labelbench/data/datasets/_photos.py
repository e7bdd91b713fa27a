"""What the published datasets share whose images are files of their own."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from labelbench.common.errors import UserError
from labelbench.data.dataset_file import Dataset, Split
from labelbench.data.datasets import _published, _variants


class Photos(NamedTuple):
    """The images of a dataset by source position.

    paths: n file names; labels: (n,) int64; rows: the source positions (m,) int64 of each split, by its name; groups:
    (n,) int64 or None, as in `Split`.
    """

    paths: list
    labels: np.ndarray
    rows: dict
    groups: np.ndarray | None = None


def names(folder, ending):
    """Sorted names of the files in a folder that end so."""
    return sorted(path.name for path in Path(folder).iterdir() if path.name.endswith(ending))


def dataset(title, config, photos, class_names, templates, counts, problems, how_to_get):
    """The `Dataset` of a `Config` with `folder` and `verify` and its `Photos`, whose image files are there.

    counts: published numbers of images by split, compared where `config.verify` says so; problems: lines on what was
    wrong in the lists of images. Raises `UserError` with these, with wrong counts and with missing files together.
    """
    from labelbench.data import image_files

    splits = {
        name: Split(photos.labels[rows], rows, None if photos.groups is None else photos.groups[rows])
        for name, rows in photos.rows.items()
    }
    if config.verify:
        problems = problems + _published.miscounted(splits, counts)
    paths = [photos.paths[row] for rows in photos.rows.values() for row in rows]
    problems = problems + [f"{paths[at]}: {reason}" for at, reason in image_files.check(paths, title, "exists")]
    _published.refuse(f"{title} in {config.folder}", problems, how_to_get)
    splits, class_names = _variants.apply(config, splits, class_names)
    return Dataset(splits, class_names, templates, images_hash=image_files.fingerprint(config.folder, paths))


def reader(photos, how_to_get):
    """A function from a source position to the PIL image in its file, RGB or L. It raises `UserError` for a bad one."""
    from labelbench.data import image_files

    def read(position):
        path = photos.paths[position]
        try:
            return image_files.opened(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}. {how_to_get}") from error

    return read
