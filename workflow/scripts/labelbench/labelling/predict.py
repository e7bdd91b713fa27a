"""Labels for new images, by the model that a campaign delivered.

python -m labelbench.labelling.predict labelling/birds/model FOLDER > predictions.csv
"""

import argparse
import csv
import itertools
import os
import sys
from pathlib import Path

import numpy as np

from labelbench.common import json_files
from labelbench.common.errors import UserError
from labelbench.labelling import identity, models


def predictions(model_folder, images, device="cpu"):
    """Yields (path, class, confidence) for each image of a folder or a table; an unreadable one has an empty class."""
    import torch

    from labelbench.embedding import images as pipeline
    from labelbench.embedding.workers import Workers

    torch.set_num_threads(1)
    if (why := Path(model_folder, "no_model.txt")).exists():
        raise UserError(f"{model_folder}: {why.read_text(encoding='utf-8').strip()}")
    about = Path(model_folder) / "model.json"
    if not about.is_file():
        raise UserError(f"There is no {about}. Name the folder `model` that `snakemake deliver` wrote.")
    place = Path(images)
    if not (place.is_dir() or (place.is_file() and place.suffix.lower() in identity.TABLES)):
        raise UserError(f"{place} is no folder of images, and no table (CSV, TSV, Parquet) of their paths.")
    settings = json_files.read(about, cure="Deliver the campaign again.")
    root, _ = identity.source(images)
    known = identity.look(root, identity.listing(images, where=""))
    found = identity.index(known)
    usable = np.array([n for n, image in enumerate(found) if identity.usable(image)], np.int64)
    encoder = pipeline.load_encoder(settings, device)
    data = pipeline.Data(None, encoder, models.reader(root, found), device, Workers(0, device))
    said = {}
    if len(usable):
        classes, confidences = _predicted(Path(model_folder, "model.safetensors"), settings, data, usable)
        names = [settings["classes"][c] for c in classes]
        said = {found[n].sha256: pair for n, pair in zip(usable, zip(names, confidences, strict=True), strict=True)}
    for image in found:
        for path in (image.path, *image.copies):
            yield path, *said.get(image.sha256, ("", 0.0))


def _predicted(weights, settings, data, usable):
    """(classes, confidences) by the encoder itself, where it was trained, or by a proxy on its embeddings."""
    from labelbench.embedding import embedder
    from labelbench.embedding.images import Clean
    from labelbench.labelling import finetuned
    from labelbench.training import proxy

    if settings.get("finetuned"):
        model = finetuned.load(weights, data.encoder, len(settings["classes"]), data.device)
        return finetuned.predict(model, data, usable)
    seen = Clean(data.images, data.encoder.transform)
    parts = [rows for (rows,) in embedder.outputs(data.encoder.embed, seen, usable, data.workers, "embedding")]
    return models.predict(proxy.load(weights), np.concatenate(parts).astype(np.float16))


def main():
    """Write the model's labels of all images of a folder to the standard output, as CSV."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", help="the folder `model` that a campaign delivered")
    parser.add_argument("images", help="a folder of images, or a table of paths")
    options = parser.parse_args()
    table = csv.writer(sys.stdout)
    try:
        found = predictions(options.model, options.images)
        first = next(found, None)  # what is wrong with the folders is known here, before anything is written
        table.writerow(["image", "label", "confidence"])
        for path, label, score in itertools.chain([first] if first else [], found):
            table.writerow([path, label, f"{score:.4f}"])
        sys.stdout.flush()
    except UserError as error:
        sys.exit(str(error))
    except BrokenPipeError:  # who reads has enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains as it ends


if __name__ == "__main__":
    main()
