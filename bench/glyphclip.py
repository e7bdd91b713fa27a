"""Zero-shot accuracy of the shipped encoder on the digits, as one JSON line.

    python bench/glyphclip.py [--pretrained results/pretrain/glyphclip.safetensors]

Splits, images, class names and prompt templates are those of the dataset plug-in `digits`. The pool's accuracies per
class are there to look at while the generator of the training images is changed; the test split's are for the model
card.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "workflow" / "scripts"))

import numpy as np
import torch

from labelbench.data.datasets import digits
from labelbench.embedding.encoders import open_clip


def main():
    folder = REPO / "resources" / "glyphclip"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", default=str(folder / "glyphclip.safetensors"))
    pretrained = parser.parse_args().pretrained
    encoder = open_clip.load(open_clip.Config("glyphclip", pretrained, str(folder / "glyphclip.json")))
    dataset, image = digits.prepare(digits.Config()), digits.images(digits.Config())
    head = encoder.zero_shot_head(dataset.class_names, dataset.templates)
    right, labels = {}, {}
    for name, split in dataset.splits.items():
        with torch.inference_mode():
            features = encoder.backbone(torch.stack([encoder.transform(image(i)) for i in split.source]))
        labels[name] = split.labels
        right[name] = (features @ head.T).argmax(1).numpy() == split.labels

    def per_class(name):
        return [round(float(right[name][labels[name] == c].mean()), 3) for c in range(10)]

    line = {name: round(float(r.mean()), 4) for name, r in right.items()}
    line["all"] = round(float(np.concatenate(list(right.values())).mean()), 4)
    print(json.dumps({**line, "pool_per_class": per_class("pool"), "test_per_class": per_class("test")}))


if __name__ == "__main__":
    main()
