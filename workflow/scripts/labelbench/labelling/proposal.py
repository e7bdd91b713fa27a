"""The next batch: audit images drawn at random, the rest chosen by a strategy, in one mixed order."""

import numpy as np

from labelbench.common import seeds
from labelbench.labelling import campaign, identity, models

AUDIT_SHARE = 0.5  # of a batch at most, so that every batch also teaches


def candidates(images, state, seed):
    """(ordinary, audit): positions of images that may be asked: present, readable and without an answer.

    Images of a batch that was closed without their answer are asked again; audit images are never chosen.
    """
    ordinary, audit = [], []
    for position, image in enumerate(images):
        if identity.usable(image) and image.sha256 not in state.answers:
            mine = campaign.is_audit(state.batches, seed, image.sha256)
            (audit if mine else ordinary).append(position)
    return np.array(ordinary, np.int64), np.array(audit, np.int64)


def propose(images, state, space, model, settings, strategy, config, number):
    """The `campaign.Batch` of this number. An empty one where nothing is left to ask.

    images: the index; state: `campaign.State`; space: `models.Space`; model: the proxy of the round before, or None;
    settings: `planning.campaigns.Campaign`-like, with `name`, `seed`, `batch`, `audit`, `budget`, `near_copies`
    and `classes`; strategy, config: the plug-in that chooses, and its settings.
    """
    batches, seed = state.batches, settings.seed
    usable = [image.sha256 for image in images if identity.usable(image)]
    first = campaign.drew_audit(batches)
    if first is None:  # the threshold is what makes an image an audit image
        threshold = campaign.audit_threshold(seed, usable, settings.audit)
        first = campaign.Batch("", 0, "", "", (), (), threshold, seed=seed)
        state = state._replace(batches=[*batches, first])
    drawn_by = seed if first.seed is None else first.seed
    ordinary, audit = candidates(images, state, seed)
    ordinary = ordinary[space.embedded[ordinary]]
    audit = np.array(sorted(audit, key=lambda n: campaign.audit_rank(drawn_by, images[n].sha256)), np.int64)
    size = settings.batch
    if settings.budget:
        size = min(size, settings.budget - campaign.bought(state))
    # Where the others run out, the rest of the audit may fill the batch.
    share = max(int(size * AUDIT_SHARE), size - len(ordinary))
    audit = audit[:share]
    budget = size - len(audit)
    picks = np.empty(0, np.int64)
    rng = seeds.generator(seed, 0, number, "selection")
    if len(ordinary) and budget > 0:
        labels = state.rounds[-1].labels if state.rounds else {}
        position = {image.sha256: n for n, image in enumerate(images)}
        known = [(position[name], settings.classes.index(label)) for name, label in labels.items() if name in position]
        index, classes = np.array(known, np.int64).reshape(-1, 2).T
        seen = models.pool(space, model, index, classes, ordinary, len(settings.classes))
        picks, _ = models.choose(seen, strategy, config, budget, rng, settings.near_copies)
    guesses = {}
    if model is not None and len(picks):
        for n, best, confidence in zip(picks, *models.predict(model, space.clean, picks), strict=True):
            guesses[n] = settings.classes[best], round(float(confidence), 4)
    asked = [
        campaign.Asked(images[n].sha256, images[n].path, bool(is_audit), *guesses.get(n, (None, None)))
        for positions, is_audit in ((audit, True), (picks, False))
        for n in positions
    ]
    # One order for all, so that nothing tells an audit image from another.
    order = seeds.generator(seed, 0, number, "order of a batch").permutation(len(asked))
    asked = tuple(asked[n] for n in order)
    have = {image.sha256 for batch in batches for image in batch.images}
    earlier = {name for batch in batches for name in batch.known}
    known = tuple(sorted(name for name in state.answers if name not in have and name not in earlier))
    return campaign.Batch(
        settings.name,
        number,
        campaign.batch_id(settings.name, number, [image.sha256 for image in asked]),
        strategy.__name__.rpartition(".")[2],
        asked,
        known,
        first.threshold,
        seed=first.seed,
    )
