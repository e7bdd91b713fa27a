"""Handwritten digits as PNG files, as a person's folder would hold them; and what they show, for a rehearsal."""

import shutil
from pathlib import Path

from labelbench.common import jobs, registry
from labelbench.labelling import identity

job = snakemake  # noqa: F821
log = jobs.start(job)

import numpy as np
from PIL import Image

SIZE = 64  # pixels: the originals are 8 × 8, too small to be looked at

plugin, config = registry.configured("datasets", {"name": "digits"})
splits, names = plugin.prepare(config).splits, plugin.WORDS
read = plugin.images(config)
labels = np.concatenate([splits[name].labels for name in ("pool", "val", "test")])
source = np.concatenate([splits[name].source for name in ("pool", "val", "test")])
folder = Path(job.output.images)
part = folder.with_name(f"{folder.name}.part")
shutil.rmtree(part, ignore_errors=True)
truth = []
for number, (at, label) in enumerate(zip(source, labels, strict=True)):
    path = Path(f"page{number // 100:02d}", f"digit{number:04d}.png")
    (part / path).parent.mkdir(parents=True, exist_ok=True)
    read(int(at)).resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(part / path)
    truth.append((str(path), names[label]))
shutil.rmtree(folder, ignore_errors=True)
part.rename(folder)
identity.write_table(job.output.truth, ("image", "label"), truth)
log.info("%d images in %s", len(truth), folder)
