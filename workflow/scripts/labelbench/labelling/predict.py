"""Labels for new images, by the model that a campaign delivered.

python -m labelbench.labelling.predict labelling/birds/model FOLDER > predictions.csv
"""

import argparse
import csv
import sys

import numpy as np

from labelbench.common import registry
from labelbench.labelling import delivery, identity, models


def predictions(model_folder, images, device="cpu"):
    """Yields (path, class, confidence) for each image of a folder or a table; an unreadable one has an empty class."""
    import torch

    from labelbench.embedding import embedder
    from labelbench.embedding.images import Clean

    torch.set_num_threads(1)
    model, settings = delivery.read_model(model_folder)
    root, _ = identity.source(images)
    known = identity.look(root, identity.listing(images))
    found = identity.index(known)
    usable = [n for n, image in enumerate(found) if identity.usable(image)]
    plugin, config = registry.configured("encoders", settings["encoder"])
    encoder = plugin.load(config, device)
    seen = Clean(models.reader(root, found), np.array(usable), encoder.transform)
    parts = [rows for (rows,) in embedder.outputs(encoder.embed, seen, 0, device, "embedding")] if usable else []
    said = {}
    if parts:
        classes, confidences = models.predict(model, np.concatenate(parts).astype(np.float16))
        said = {
            found[n].sha256: (settings["classes"][c], s) for n, c, s in zip(usable, classes, confidences, strict=True)
        }
    for image in found:
        for path in (image.path, *image.copies):
            yield path, *said.get(image.sha256, ("", 0.0))


def main():
    """Write the model's labels of all images of a folder to the standard output, as CSV."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", help="the folder `model` that a campaign delivered")
    parser.add_argument("images", help="a folder of images, or a table of paths")
    options = parser.parse_args()
    table = csv.writer(sys.stdout)
    table.writerow(["image", "label", "confidence"])
    table.writerows((path, label, f"{score:.4f}") for path, label, score in predictions(options.model, options.images))


if __name__ == "__main__":
    main()
