"""Models of a campaign: embeddings that grow with the folder, proxies trained on answers, and what they say."""

import contextlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from labelbench.common import hdf5, registry, seeds
from labelbench.common.errors import UserError
from labelbench.data import image_files, label_set
from labelbench.embedding import embeddings
from labelbench.labelling import identity
from labelbench.selection.pool import Head, Pool

PASSES = 20  # of a strategy over a batch, at most: in a pool of bursts most picks are copies of the first
NEVER_STOPS = {"early_stopping": "none", "patience": 0}  # nobody has labelled a validation split


def reader(root, images):
    """A function from a position in `images` to a PIL image, from any of the paths that have this content.

    Photos are decoded no larger than they are used, as in `image_folder`.
    """
    how = image_files.Decoding(shortest=image_files.SHORTEST)

    def read(position):
        image = images[position]
        for path in (image.path, *image.copies):
            with contextlib.suppress(OSError, ValueError):
                return image_files.opened(Path(root, path), how)
        raise UserError(f"{Path(root, image.path)} cannot be read any more. Run the same command again.")

    return read


def extend(path, images, load, view, views, attributes):
    """Write the embeddings of one view of `images`; rows that `path` holds of the same making are taken over.

    images: a list of `identity.Image`; load: function that loads the encoder and gives `embedding.images.Data`, called
    only where there are rows to embed; view: `clean` (dataset `pool`) or `aug<n>` (datasets `weak` and `strong`);
    views: draws the latter, a function of the encoder; attributes: what the rows depend on. Rows of images that cannot
    be read are zero. Returns the number of rows that were embedded.
    """
    names = ["pool"] if view == "clean" else ["weak", "strong"]
    before, old, had = [], {}, np.empty(0, bool)
    if Path(path).exists():
        with contextlib.suppress(UserError), hdf5.read(path, "label_embed") as file:
            if all(file.attrs.get(key) == value for key, value in attributes.items()):
                before = file["sha256"].asstr()[()].tolist()
                had = file["embedded"][()]
                old = {name: file[name][()] for name in names}
    kept = len(before) if [image.sha256 for image in images[: len(before)]] == before else 0
    done = np.zeros(len(images), bool)
    done[:kept] = had[:kept]
    # A row is embedded once; one whose file was missing or damaged is tried again when it can be read.
    todo = np.flatnonzero(~done & [identity.usable(image) for image in images])
    if not len(todo) and not kept:
        raise UserError("None of the images can be read: see problems.csv.")
    new = dict.fromkeys(names, ())
    if len(todo):
        new = _embedded(load(), todo, view, views)
    with hdf5.create(path) as file:
        for name in names:
            width = (new[name] if len(todo) else old[name]).shape[1]
            rows = np.zeros((len(images), width), np.float16)
            if kept:
                rows[:kept] = old[name][:kept]
            if len(todo):
                embeddings.check_finite(name, new[name])
                rows[todo] = new[name]
            embeddings.create(file, name, *rows.shape)[...] = rows
            done[todo] = True
            if view == "clean":
                mean, deviation = _moments(rows, done)
                file["mean"], file["std"] = mean, np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)
        file.create_dataset("sha256", data=[image.sha256 for image in images], dtype=h5py.string_dtype())
        file["embedded"] = done
        embeddings.describe(file, {**attributes, "view": view, "fingerprint": identity.fingerprint(images)})
    return len(todo)


def _embedded(data, todo, view, views):
    """float16 rows by dataset name of the images at positions `todo`."""
    from labelbench.embedding import embedder
    from labelbench.embedding.images import Clean

    names = ["pool"] if view == "clean" else ["weak", "strong"]
    if view == "clean":
        seen = Clean(data.images, data.encoder.transform)
    else:
        source = np.arange(todo.max() + 1)
        seen = embedder.WeakAndStrong(data.images, source, views(data.encoder), lambda at: ("campaign", at), view)
    parts = {name: [] for name in names}
    for batch in embedder.outputs(data.encoder.embed, seen, todo, data.workers, f"embedding, {view}"):
        for name, values in zip(names, batch, strict=True):
            parts[name].append(values.astype(np.float16))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _moments(rows, embedded):
    """Mean and deviation (d,) float32 of the rows that are `embedded`, summed in float64 and by chunks."""
    count = max(int(embedded.sum()), 1)
    chunks = [slice(begin, begin + embeddings.CHUNK) for begin in range(0, len(rows), embeddings.CHUNK)]
    mean = sum(rows[at][embedded[at]].sum(0, dtype=np.float64) for at in chunks) / count
    square = sum(np.square(rows[at][embedded[at]] - mean).sum(0) for at in chunks) / count
    return mean.astype(np.float32), np.sqrt(square)


class Space(NamedTuple):
    """The embedding space of a campaign.

    clean: (N, d) float16; mean, std: (d,) float32; augmented: lists of weak and of strong views (N, d), or none where
    the trainer uses no unlabelled images; embedded: (N,) bool, the rows that hold an image.
    """

    clean: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    embedded: np.ndarray
    weak: list
    strong: list


def space(clean, augmented, fingerprint):
    """The `Space` in the embedding files of the clean view and of augmentation seeds. `UserError` for other images'."""
    mean, std = embeddings.standardisation(clean)
    with hdf5.read(clean, "label_embed") as file:
        embedded = file["embedded"][()]
    return Space(
        embeddings.read(clean, "pool", fingerprint),
        mean,
        std,
        embedded,
        [embeddings.read(path, "weak", fingerprint) for path in augmented],
        [embeddings.read(path, "strong", fingerprint) for path in augmented],
    )


def train(space, settings, index, classes, num_classes, round_, log=None):
    """A proxy trained from scratch, for a fixed number of epochs, on the images `index` (L,) of `classes` (L,).

    settings: `seed`, `selector` and `trainer`, as in the spec of a study. Labelled images are seen in their clean view
    where the trainer uses no unlabelled ones.
    """
    from labelbench.training import proxy, training

    trainer, config = registry.configured("trainers", settings["trainer"] | NEVER_STOPS)
    seed = seeds.integer(settings["seed"], 0, round_, "proxy initialisation")
    model = proxy.build(settings["selector"], space.mean, space.std, num_classes, seed)
    rows = np.flatnonzero(space.embedded)
    place = np.full(len(space.embedded), -1)
    place[rows] = np.arange(len(rows))
    index = np.asarray(index)
    known = space.embedded[index]
    if not known.any():
        raise UserError("None of the labelled images can be read, so no model can be trained.")
    chosen = label_set.LabelSet(place[index[known]], np.asarray(classes)[known], np.zeros(known.sum()), "", 0)
    whole = len(rows) == len(space.embedded)

    def present(views):
        return [view if whole else np.asarray(view)[rows] for view in views]

    clean = [space.clean]
    training.fit(
        model,
        trainer,
        config,
        training.CachedViews(present(space.weak or clean), present(space.strong or clean), "cpu"),
        chosen,
        pool_size=len(rows),
        num_classes=num_classes,
        validation=None,
        rng=seeds.generator(settings["seed"], 0, round_, "proxy training"),
        log=log or logging.getLogger("labelbench.quiet"),
    )
    return model


def predict(model, clean, index=None):
    """(class (n,) int64, confidence (n,) float32) of the images `index`, all of them unless given."""
    import torch

    index = np.arange(len(clean)) if index is None else np.asarray(index)
    classes, confidences = np.empty(len(index), np.int64), np.empty(len(index), np.float32)
    with torch.inference_mode():
        for begin in range(0, len(index), embeddings.CHUNK):
            at = slice(begin, begin + embeddings.CHUNK)
            best = model(torch.from_numpy(np.asarray(clean[index[at]]))).softmax(1).max(1)
            classes[at], confidences[at] = best.indices.numpy(), best.values.numpy()
    return classes, confidences


def predictor(space, model):
    """A function from positions (n,) to (those of them that hold an image, their classes, their confidences)."""

    def said(positions):
        seen = positions[space.embedded[positions]]
        return seen, *predict(model, space.clean, seen)

    return said


def pool(space, model, labelled, classes, unlabelled, num_classes):
    """The `Pool` that a strategy sees: a model's features and probabilities, or the embeddings where there is none."""
    import torch

    clean = space.clean
    seen = {"embed": lambda indices: torch.from_numpy(np.asarray(clean[indices]))}
    if model is not None:
        seen = {
            "embed": lambda indices: model.features(torch.from_numpy(np.asarray(clean[indices]))),
            "classify": lambda _, features: model.head(features).softmax(1),
            "head": Head(model.head.weight.detach(), model.head.bias.detach()),
        }
    return Pool(labelled=labelled, labels=classes, unlabelled=np.sort(unlabelled), num_classes=num_classes, **seen)


def choose(pool, strategy, config, budget, rng, near=1.0):
    """Positions (≤ budget,) that a batch strategy picks from a pool, without near-copies of each other.

    near: images of the batch whose features have a cosine above it are near-copies; only the first of them is kept,
    and the strategy picks again among what is left. Returns (positions, how many near-copies were passed over).
    """
    import torch

    with torch.no_grad():
        return _choose(pool, strategy, config, budget, rng, near)


def _choose(pool, strategy, config, budget, rng, near):
    taken, passed = np.empty(0, np.int64), 0
    budget = min(budget, len(pool.unlabelled))
    for _ in range(PASSES):
        missing = budget - len(taken)
        if missing <= 0 or not len(pool.unlabelled):
            break
        picks = strategy.select(pool, min(missing, len(pool.unlabelled)), config, rng)
        keep = _apart(pool, taken, picks, near)
        taken, passed = np.concatenate([taken, picks[keep]]), passed + int((~keep).sum())
        pool = replace(pool, unlabelled=np.setdiff1d(pool.unlabelled, picks))
    return taken, passed


def _apart(pool, taken, picks, near):
    """(n,) bool: the picks that are no near-copy of an earlier one."""
    keep = np.ones(len(picks), bool)
    if near >= 1 or pool.embed is None:
        return keep
    import torch

    # Embeddings of a model are all on one side of the origin: cosines are taken around the batch's mean.
    rows = pool.features(np.concatenate([taken, picks]))
    rows = torch.nn.functional.normalize(rows - rows.mean(0), dim=1)
    cosine = (rows @ rows.T).numpy()
    accepted = list(range(len(taken)))
    for n in range(len(taken), len(rows)):
        if accepted and cosine[n, accepted].max() > near:
            keep[n - len(taken)] = False
        else:
            accepted.append(n)
    return keep
