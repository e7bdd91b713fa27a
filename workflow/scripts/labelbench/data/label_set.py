"""A label set: the labels bought so far, in the order of annotation."""

from dataclasses import dataclass

import numpy as np

from labelbench.common import hdf5
from labelbench.common.errors import UserError


@dataclass(frozen=True)
class LabelSet:
    """index (n,) int64 pool positions; label (n,) int64 classes as annotated; round (n,) int64 round they entered.

    Cumulative: the set of round k begins with the set of round k-1.
    """

    index: np.ndarray
    label: np.ndarray
    round: np.ndarray
    fingerprint: str
    trial: int

    def extended(self, index, label, round_):
        """A new label set with a batch appended. Raises `ValueError` for an example bought twice."""
        merged = np.concatenate([self.index, index])
        if len(np.unique(merged)) != len(merged):
            raise ValueError("a batch repeats an example, or buys one that is labelled already")
        return LabelSet(
            merged,
            np.concatenate([self.label, label]),
            np.concatenate([self.round, np.full(len(index), round_)]),
            self.fingerprint,
            self.trial,
        )


def empty(fingerprint, trial):
    """The label set before the first round."""
    none = np.zeros(0, np.int64)
    return LabelSet(none, none, none, fingerprint, trial)


def write(path, labels, spec, code):
    """Write a label set with the spec and code digest of the job that made it."""
    with hdf5.create(path) as file:
        for name in ("index", "label", "round"):
            file[name] = np.asarray(getattr(labels, name), dtype=np.int64)
        file.attrs.update(fingerprint=labels.fingerprint, trial=labels.trial, spec=spec, code=code)


def stored(path):
    """The `LabelSet` of a file, as it is."""
    with hdf5.read(path, "initial_labels or select_batch") as file:
        return LabelSet(
            file["index"][()],
            file["label"][()],
            file["round"][()],
            str(file.attrs["fingerprint"]),
            int(file.attrs["trial"]),
        )


def read(path, dataset):
    """The `LabelSet` of a file. Raises `UserError` if it was made for another dataset or cannot belong to this one."""
    found = stored(path)
    cure = f"Delete {path} and run Snakemake again to remake it, or point the study at the dataset it was bought on."
    if found.fingerprint != dataset.fingerprint:
        raise UserError(
            f"The label set {path} belongs to another dataset: its fingerprint is {found.fingerprint}, "
            f"the dataset's {dataset.fingerprint}. {cure}"
        )
    pool_size = len(dataset.splits["pool"].labels)
    if len(np.unique(found.index)) != len(found.index) or np.any((found.index < 0) | (found.index >= pool_size)):
        raise UserError(f"The label set {path} repeats an example or names one outside the pool. {cure}")
    return found
