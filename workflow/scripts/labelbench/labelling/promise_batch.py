"""The last audit of a campaign: a fresh random draw of what nobody has labelled, for labels under a promise."""

import hashlib

import numpy as np

from labelbench.common.errors import UserError
from labelbench.labelling import campaign, identity, promises


def remaining(images, state):
    """Positions of the images that can be read and have no answer."""
    return np.array(
        [n for n, image in enumerate(images) if identity.usable(image) and image.sha256 not in state.answers], np.int64
    )


def propose(images, state, predict, settings, number):
    """(`campaign.Batch` of kind `promise`, the frozen predictions as rows of `batch_files.FROZEN`).

    The model is frozen by writing down what it says of every image; judged are those without an answer. predict: a
    function from positions to (those that the model can see, their classes, their confidences), or None where nothing
    was learnt: then, as where no audit of what is left could keep the promise, `UserError` is raised.
    """
    if predict is None:
        raise UserError(campaign.NOTHING_LEARNT)
    usable = np.array([n for n, image in enumerate(images) if identity.usable(image)], np.int64)
    seen, classes, confidence = predict(usable)
    judged = np.isin(seen, remaining(images, state))
    rest = np.asarray(seen)[judged]
    epsilon, alpha = settings.wrong / 100, 1 - settings.confidence / 100
    tested = promises.risk(alpha, len(campaign.promises(state.batches)) + 1)
    n = promises.audit_size(len(rest), campaign.labelled(state.answers.values()), epsilon, tested)
    drawn = sorted(rest, key=lambda at: _rank(settings.seed, number, images[at].sha256))[:n]
    asked = tuple(campaign.Asked(images[at].sha256, images[at].path, True) for at in drawn)
    batch = campaign.Batch(
        settings.name,
        number,
        campaign.batch_id(settings.name, number, [image.sha256 for image in asked]),
        "random",
        asked,
        (),
        None,
        "promise",
    )
    frozen = [
        (images[at].sha256, settings.classes[c], f"{s:.6f}", int(j))
        for at, c, s, j in zip(seen, classes, confidence, judged, strict=True)
    ]
    return batch, frozen


def _rank(seed, number, sha256):
    return hashlib.sha256(f"promise {seed} {number} {sha256}".encode()).hexdigest()
