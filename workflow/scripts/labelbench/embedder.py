"""Images through an encoder into an embedding file."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from labelbench import embeddings, hdf5
from labelbench.views import image_seed

BATCH = 256


class _Views(Dataset):
    """The clean view of each image, or its weak and strong view for one augmentation seed, as a tuple of tensors."""

    def __init__(self, images, source, encoder, views, fingerprint, augmentation):
        self.images, self.source, self.transform, self.views = images, source, encoder.transform, views
        self.fingerprint, self.augmentation = fingerprint, augmentation

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        image = self.images(int(self.source[index]))
        if self.views is None:
            return (self.transform(image),)
        return self.views.weak_and_strong(image, image_seed(self.fingerprint, self.augmentation, index))


def embed(path, dataset, images, encoder, view, views, attributes, workers, device, log):
    """Write the embedding file of one view of a dataset.

    view: `clean` embeds every split under its name, with the pool's `mean` and `std` per dimension (d,) float32;
    `aug<n>` embeds the datasets `weak` and `strong` of the pool (N, d) float16, drawn for augmentation seed n. `views`
    draws them (None for `clean`). workers: processes that decode and augment beside this one.
    """
    splits = list(dataset.splits) if views is None else ["pool"]
    with hdf5.create(path) as file, torch.inference_mode():
        for split in splits:
            names = [split] if views is None else ["weak", "strong"]
            source = dataset.splits[split].source
            outputs = [embeddings.create(file, name, len(source), encoder.dim) for name in names]
            loader = DataLoader(
                _Views(images, source, encoder, views, dataset.fingerprint, view),
                batch_size=BATCH,
                num_workers=workers,
                multiprocessing_context="fork" if workers else None,
            )
            done = 0
            for batch in loader:
                for name, output, inputs in zip(names, outputs, batch, strict=True):
                    rows = encoder.embed(inputs.to(device)).float().cpu().numpy().astype(np.float16)
                    embeddings.check_finite(name, rows)
                    output[done : done + len(rows)] = rows
                done += len(rows)
                if done == len(source) or done // BATCH % 40 == 0:
                    log.info("%s %s: %d of %d images", view, split, done, len(source))
        if views is None:
            pool = file["pool"][()].astype(np.float32)
            mean, std = pool.mean(0, dtype=np.float64), pool.std(0, dtype=np.float64)
            file["mean"] = mean.astype(np.float32)
            # A dimension that never varies carries nothing; dividing by its deviation would be 0/0.
            file["std"] = np.where(std > 1e-6, std, 1.0).astype(np.float32)
        file.attrs.update(fingerprint=dataset.fingerprint, view=view, **attributes)
