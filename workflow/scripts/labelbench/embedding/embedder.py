"""Images through a model, always to the same numbers, into an embedding file."""

import contextlib

import numpy as np
import torch

from labelbench.common import hdf5, progress, ranks
from labelbench.data.views import image_seed
from labelbench.embedding import embeddings
from labelbench.embedding.encoder import preprocessing
from labelbench.embedding.images import Clean, address_of_image, in_groups

# Images a forward pass. Matrix products of another number of rows may round differently: of EfficientNet-Lite0's rows,
# 98 % differ after rounding to float16 between batches of 1 and of 64. So every pass has this many, on every device: 64
# keep a GPU busier than the decoding of images does.
BLOCK = 64


class WeakAndStrong:
    """The weak and strong view of a pool image, both of one decoded image, as they travel.

    source: (N,) positions of all of the pool's images; of_image, augmentation: address of the views' random draws, the
    former as by `images.address_of_image`. A key is the number of the image in the pool.
    """

    def __init__(self, images, source, views, of_image, augmentation):
        self._images, self._source, self._views = images, source, views
        self._of_image, self._augmentation = of_image, augmentation
        self.finish = views.finish

    def __call__(self, index):
        name, number = self._of_image(index)
        seed = image_seed(name, self._augmentation, number)
        return self._views.weak_and_strong(self._images(int(self._source[index])), seed)


def part_of(rows, part, parts):
    """The row numbers, a range, that part 1 … `parts` of `rows` rows holds; it begins where a block does."""
    blocks = -(-rows // BLOCK)
    begin, end = (BLOCK * (blocks * done // parts) for done in (part - 1, part))
    return range(begin, min(end, rows))


@torch.inference_mode()
def outputs(model, views, keys, workers, what):
    """Yields the model's outputs for each view of the next ≤ 64 images: a tuple of (n, d) float32 arrays.

    model: images (64, 3, H, W) on the device → (64, d); views: `images.Clean` or `WeakAndStrong`; keys: (n,) int64 that
    they are of; workers: the `Workers` that decode and augment; what: name of the work in the log. A row depends on its
    image and the model alone: not on the number of workers, nor on the other rows as long as parts are cut by
    `part_of`.
    """
    with progress.track(len(keys), what, "images") as counter:
        for batch in workers.batches(views, in_groups(keys, BLOCK)):
            count = len(batch[0])
            yield tuple(model(_full(views.finish(v))).float().cpu().numpy()[:count] for v in batch)
            counter.update(count)


def _full(batch):
    """The batch, filled up to a whole block."""
    missing = BLOCK - len(batch)
    return torch.cat([batch, batch.new_zeros(missing, *batch.shape[1:])]) if missing else batch


def _of_all_ranks(batches):
    """The batches of all ranks in order, in the first; nothing in others."""
    if ranks.count() == 1:
        return batches
    blocks = ranks.in_turn(torch.from_numpy(np.stack(views)) for views in batches)
    return (tuple(block.numpy()) for block in blocks)


def embed(path, data, view, views, attributes, part=1, parts=1, before=None):
    """Write the embedding file of one view of a dataset, or part 1 … `parts` of its rows for `embeddings.gather`.

    data: `images.Data`: the dataset, the encoder, the images, and who decodes them.
    view: `clean` embeds every split under its name; `aug<n>` embeds the datasets `weak` and `strong` of the pool, drawn
    for augmentation seed n. `views` draws them (None for `clean`). attributes: what the file says of its making;
    before: `reuse.Rows` that need not be computed again. Returns the number of images that were embedded.
    Several ranks share the blocks; the first writes the file.
    """
    embedded = 0
    dataset, encoder, images = data.dataset, data.encoder, data.images
    with hdf5.create(path) if ranks.own() == 0 else contextlib.nullcontext() as file:
        for split in sorted(dataset.splits) if views is None else ["pool"]:
            source = dataset.splits[split].source
            rows = part_of(len(source), part, parts)
            old = before.of(dataset.files.sha256[source[rows.start : rows.stop]], encoder) if before else None
            todo = list(rows) if old is None else [rows[at] for at in np.flatnonzero(~old.there)]
            embedded += len(todo)
            todo = [todo[at] for at in ranks.dealt(len(todo), BLOCK)]
            if views is None:
                names, seen, keys = [split], Clean(images, encoder.transform), source[todo]
            else:
                names, keys = ["weak", "strong"], todo
                seen = WeakAndStrong(images, source, views, address_of_image(dataset), view)
            batches = _of_all_ranks(outputs(encoder.embed, seen, keys, data.workers, f"{view}, {split}"))
            if file is None:
                list(batches)  # they go to the first rank
            else:
                embeddings.write(file, names, len(rows), encoder.dim, old.joined(batches) if old else batches)
        if file is None:
            return embedded
        if views is None and parts == 1:
            embeddings.write_standardisation(file)
        made = {
            "fingerprint": dataset.fingerprint,
            "view": view,
            "weights": encoder.weights_hash,
            "preprocessing": preprocessing(encoder.transform),
            "precision": encoder.precision,
        }
        embeddings.describe(file, {**made, **attributes})
    return embedded
