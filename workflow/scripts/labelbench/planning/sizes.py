"""What is known of datasets while planning: sizes that were published, and those of prepared dataset files."""

from pathlib import Path

from labelbench.common.errors import UserError
from labelbench.data import annotator
from labelbench.data.datasets import _variants
from labelbench.data.oracle import check_budget


def check(study, results):
    """What there is to note of the datasets that are run, a list of sentences.

    results: the results folder, in which datasets may stand that were prepared already. Raises `UserError` where
    datasets cannot be what the config asks of them.
    """
    notes = []
    for name in study.run.datasets:
        entry, schedule, where = study.datasets[name], study.budgets[name], f"config, datasets: {name}"
        noise = study.noise[name].get("noise")
        published = getattr(entry.module, "SIZES", None)
        try:
            found = _variants.sizes(entry.config, published) if published else None
            pool, classes = _prepared(Path(results, "datasets", f"{name}.h5"), entry) or (
                (found.pool, len(found.class_names)) if found else (None, None)
            )
            if noise:
                annotator.check(noise, classes, answers=not published)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if classes is not None:
            notes.append(check_budget(name, schedule.initial, schedule.total, pool, classes))
    return [note for note in notes if note]


def _prepared(path, entry):
    """(images of the pool, classes) of a dataset file that was made with these settings; None where there is none."""
    if not path.is_file():
        return None
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            if file.attrs["spec"] != entry.spec:
                return None
            return len(file["pool/source"]), len(file.attrs["class_names"])
    except (OSError, KeyError, TypeError):  # the job that reads it says what is wrong
        return None
