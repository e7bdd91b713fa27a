"""The files of a batch: the same images, three ways to answer; a folder that appears whole or not at all."""

import os
import shutil
from pathlib import Path
from urllib.parse import quote

from labelbench.common.errors import UserError
from labelbench.common.jobs import write_result
from labelbench.data import image_files
from labelbench.labelling import batch_page, campaign, identity, label_studio

COLUMNS = ("batch", "image", "sha256", "label", "status", "annotator", "seconds", "note")
PREDICTED = ("sha256", "label", "confidence")
FROZEN = (*PREDICTED, "judged")


def write(manifest, batch, images, root, classes, frozen=None, model=None):
    """Write the folder that holds `manifest`, the batch's `batch.json`.

    images: the index; root: folder of the images; frozen: for a batch that a promise rests on, what its model says
    of each image, (sha256, class, confidence, 1 where the image had no answer and is judged, otherwise 0); model: that
    model, (file of its weights, the settings that say how to use them), kept as it is. Raises `UserError` where the
    folder holds anything: a batch that exists is never changed.
    """
    target = Path(manifest).parent
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    by_name = {image.sha256: image for image in images}
    items = [_item(asked, by_name[asked.sha256], root, target) for asked in batch.images]
    name = f"{batch.campaign}/{batch.number:02d}/{batch.id}"
    title = f"{batch.campaign}: batch {batch.number}"
    batch_page.write_page(
        part / "label.html",
        campaign=batch.campaign,
        batch=batch.number,
        batch_id=batch.id,
        classes=list(classes),
        items=items,
        title=title,
    )
    rows = [(name, asked.path, asked.sha256, "", "", "", "", "") for asked in batch.images]
    identity.write_table(part / "batch.csv", COLUMNS, rows, encoding="utf-8-sig")
    label_studio.write(part, batch, items, classes)
    if frozen is not None:
        identity.write_table(part / "frozen.csv", FROZEN, frozen)
    if model is not None:
        weights, settings = model
        shutil.copyfile(weights, part / "frozen.safetensors")
        write_result(part / "frozen.json", settings)
    campaign.write_batch(part / "batch.json", batch)
    for path in part.iterdir():  # what is renamed must be on the disk, whatever happens to the machine next
        with path.open("rb") as file:
            os.fsync(file.fileno())
    try:
        part.rename(target)
    except OSError:
        raise UserError(
            f"{target} holds files already, and a batch that exists is never changed. Move what you put there to "
            f"{target.parent / 'answers'} and run the same command again."
        ) from None


def _item(asked, image, root, target):
    """What pages need of an image. It was readable when the index was made; one that has gone is shown as such."""
    from PIL import Image

    path = Path(root, image.path)
    try:
        picture = image_files.opened(path)
    except (OSError, ValueError):
        picture = Image.new("L", (64, 64), 128)
    return {
        "image": asked.path,
        "sha256": asked.sha256,
        "thumbnail": batch_page.thumbnail(picture),
        "original": quote(os.path.relpath(path, target).replace(os.sep, "/"), errors="surrogateescape"),
        "audit": asked.audit,
        "guess": asked.guess,
        "confidence": asked.confidence,
    }


def read_frozen(batch, classes, renames):
    """(class by hash, confidence by hash) of the images that a promise's batch judges.

    renames: classes that were renamed or merged since, old name → new one. What the model called a class that is none
    of `classes` any more is left out: no such label can be delivered, and the audit of the others is a draw of them.
    """
    rows = [row for row in identity.read_table(batch.folder / "frozen.csv") if row.get("judged", "1") == "1"]
    labels = {row["sha256"]: renames.get(row["label"], row["label"]) for row in rows}
    confidence = {row["sha256"]: float(row["confidence"]) for row in rows}
    kept = [name for name, label in labels.items() if label in classes]
    return {name: labels[name] for name in kept}, {name: confidence[name] for name in kept}
