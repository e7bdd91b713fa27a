"""A rehearsal: a simulated person answers batches through the same files as people do.

It is how campaigns are tried before anyone labels, how the tests run them, and how the claims about them are checked:
that intervals cover, that promises are kept, that forecasts hold.

    python -m labelbench.labelling.rehearsal labelling/digits truth.csv     # answers the batch that waits
"""

import argparse
from pathlib import Path

import numpy as np

from labelbench.labelling import batch_files, campaign, identity


def answers(batch, truth, rng, classes, mistakes=0.0, skips=0.0, seconds=2.0, annotator="simulated"):
    """Rows of a `batch.csv` as a person fills it in: dicts by column.

    truth: class by hash; mistakes: share of the labels that are another class, drawn at random; skips: share of the
    images that are skipped; seconds: mean time of an answer, exponentially distributed.
    """
    name = f"{batch.campaign}/{batch.number:02d}/{batch.id}"
    rows = []
    for asked in batch.images:
        label, status = truth[asked.sha256], "label"
        if rng.random() < mistakes:
            label = rng.choice([other for other in classes if other != label])
        if rng.random() < skips:
            label, status = "", "skip"
        took = f"{rng.exponential(seconds):.1f}"
        values = (name, asked.path, asked.sha256, str(label), status, annotator, took, "")
        rows.append(dict(zip(batch_files.COLUMNS, values, strict=True)))
    return rows


def hand_back(folder, batch, rows):
    """Write rows into the campaign's `answers/`, as a person saves the file of a page; returns its path."""
    path = Path(folder) / "answers" / f"{batch.campaign}-batch{batch.number:02d}-{rows[0]['annotator']}.csv"
    identity.write_table(path, batch_files.COLUMNS, (row.values() for row in rows), encoding="utf-8-sig")
    return path


def read_truth(path, images):
    """Class by hash from a table with the columns image and label, for a list of `identity.Image`."""
    labels = {row["image"]: row["label"] for row in identity.read_table(path)}
    return {image.sha256: labels[image.path] for image in images if image.path in labels}


def main():
    """Answer the batch that waits, as a simulated person."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", help="labelling/<campaign>")
    parser.add_argument("truth", help="a CSV with the columns image and label")
    parser.add_argument("--mistakes", type=float, default=0.0, help="share of wrong labels")
    parser.add_argument("--skips", type=float, default=0.0, help="share of skipped images")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    batch = campaign.batches(options.folder)[-1]
    labels = {row["image"]: row["label"] for row in identity.read_table(options.truth)}
    truth = {asked.sha256: labels[asked.path] for asked in batch.images}
    rng = np.random.default_rng([options.seed, batch.number])
    classes = sorted(set(labels.values()))
    rows = answers(batch, truth, rng, classes, options.mistakes, options.skips)
    print(f"{len(rows)} simulated answers in {hand_back(options.folder, batch, rows)}")


if __name__ == "__main__":
    main()
