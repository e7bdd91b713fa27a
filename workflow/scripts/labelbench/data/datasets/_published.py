"""What the published datasets share: the check that a download is whole, official splits, the prompts of CLIP."""

import hashlib
from pathlib import Path

import numpy as np

from labelbench.common.errors import UserError
from labelbench.data.dataset_file import Split

AT_MOST = 10  # problems that one message lists
ACCEPT = "(`verify: false` accepts it)"


def refuse(title, problems, how_to_get):
    """Raise one `UserError` that lists the problems, if there are any, and ends with where to get the dataset."""
    if problems:
        listed = problems[:AT_MOST] + [f"and {len(problems) - AT_MOST} more"] * (len(problems) > AT_MOST)
        raise UserError(f"{title} cannot be used:\n  " + "\n  ".join(listed) + f"\n{how_to_get}")


def missing(paths):
    """A line for each path that is no file."""
    return [f"{path} is missing" for path in paths if not Path(path).is_file()]


def altered(checksums):
    """A line for each file, of those that exist, whose MD5 checksum is not the published one. checksums: by path."""
    lines = []
    for path, published in checksums.items():
        if Path(path).is_file():
            with Path(path).open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            if found != published:
                lines.append(
                    f"{path} is not the published file, or only a part of it: {Path(path).stat().st_size} bytes, "
                    f"MD5 {found} instead of {published} {ACCEPT}"
                )
    return lines


def miscounted(splits, published):
    """A line for each split that has another number of images than was published. published: by split."""
    return [
        f"{name} has {len(splits[name].labels)} images, published are {count} {ACCEPT}"
        for name, count in published.items()
        if len(splits[name].labels) != count
    ]


def tables(title, folder, columns, how_to_get):
    """CSV files of a dataset as data frames, each with the columns that `columns` lists by file name.

    Raises `UserError` for the files that are missing, unreadable or without these columns, all at once.
    """
    import pandas as pd

    problems, frames = [], []
    for name, wanted in columns.items():
        path = Path(folder) / name
        try:
            frames.append(pd.read_csv(path, usecols=wanted))
        except FileNotFoundError:
            problems.append(f"{path} is missing")
        except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
            problems.append(f"{path} cannot be read as a table with the columns {', '.join(wanted)}: {error}")
    refuse(f"{title} in {folder}", problems, how_to_get)
    return frames


def halves(train, test):
    """Splits of a dataset with labels (n,) of an official training and test set, whose images follow each other.

    The pool is all of the training set; validation and test are random halves of the test set, as in the LabelBench
    paper's code.
    """
    val, held_out = np.split(np.random.RandomState(42).permutation(len(test)), [len(test) // 2])
    return {
        "pool": Split(train, np.arange(len(train))),
        "val": Split(test[val], len(train) + val),
        "test": Split(test[held_out], len(train) + held_out),
    }


def imagenet_prompts():
    """CLIP's 80 prompts for ImageNet (Radford et al. 2021), which the LabelBench paper uses for photos of all kinds."""
    from labelbench.common import torchvision_cpu  # noqa: F401  before open_clip

    import open_clip  # isort: skip

    return tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
