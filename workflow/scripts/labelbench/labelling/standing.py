"""From a campaign's models and answers to its `status_page.Status`."""

import math
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np

from labelbench.common import seeds
from labelbench.common.words import counted
from labelbench.data import image_files
from labelbench.labelling import assessment, batch_page, campaign, forecast, identity, models, status_page

SAMPLE = 2000  # images on which consecutive models are compared
DISPUTED = 12  # pictures of answers that the model contradicts


def audited(images, state, embedded, classes):
    """(positions (n,), classes (n,), skipped) of the audit images that have a label; −1 for "none of these".

    skipped: how many audit images have an answer that is no class (skip, unsure, new class, conflict).
    """
    position = {image.sha256: n for n, image in enumerate(images)}
    index, truth, skipped = [], [], 0
    for name in sorted(state.audit):
        answer = state.answers.get(name)
        if answer is None or name not in position or not embedded[position[name]]:
            continue
        if answer.status in ("label", "none"):
            index.append(position[name])
            truth.append(classes.index(answer.label) if answer.status == "label" else -1)
        else:
            skipped += 1
    return np.array(index, np.int64), np.array(truth, np.int64), skipped


def status(images, root, state, space, trained, settings, problems, missing, folder):
    """(`status_page.Status`, its numbers as JSON values).

    trained: proxies by round; settings: as `proposal.propose` takes them, with `target`, `budget`, `price`, `looks`,
    `confidence`; problems: how many are listed besides missing; missing: files that the table of images
    names and that are not there, or folders that cannot be read; folder: `labelling/<campaign>`.
    """
    classes, level = list(settings.classes), settings.confidence / 100
    index, truth, skipped = audited(images, state, space.embedded, classes)
    pool = sum(identity.usable(image) for image in images)
    # The audit was drawn from images that may be gone since: among fewer it would look like one of nearly all.
    drawn_from = sum(not image.problem for image in images)
    sample = np.flatnonzero(space.embedded)
    sample = np.random.default_rng(settings.seed).permutation(sample)[:SAMPLE]
    labels = {round_.number: len(round_.labels) for round_ in state.rounds}
    hits, said, rounds, kappas = {}, {}, [], []
    for number, model in sorted(trained.items()):
        predicted, _ = models.predict(model, space.clean, index)
        hits[number] = predicted == truth
        looked, _ = models.predict(model, space.clean, sample)
        if said:
            kappas.append(assessment.kappa(said[max(said)], looked, len(classes)))
        said[number] = looked
        enough = len(index) >= assessment.ENOUGH
        accuracy = assessment.accuracy(int(hits[number].sum()), len(index), drawn_from, level) if enough else None
        rounds.append(status_page.RoundStatus(number, labels[number], accuracy))
    order = sorted(hits)
    enough = len(index) >= assessment.ENOUGH
    gain = assessment.paired_gain(hits[order[-2]], hits[order[-1]], level) if len(order) > 1 and enough else None
    right = int(hits[order[-1]].sum()) if order else 0
    present = {image.sha256 for image in images if identity.usable(image)}
    counts = Counter(answer.status for name, answer in state.answers.items() if name in present)
    left = sum(identity.usable(image) and image.sha256 not in state.answers for image in images)
    worth = (
        assessment.Worth(gain.high, pool - counts["label"], settings.mistake, settings.price * settings.batch)
        if gain
        else None
    )
    verdict = assessment.verdict(
        right, len(index) if order else 0, skipped, settings.target / 100, 1 - level, settings.looks, len(order),
        campaign.bought(state), settings.budget, kappas, worth, _drawn(images, state, settings),
    )  # fmt: skip
    unsure = ""
    if skipped:
        low = assessment.accuracy(right, len(index) + skipped, drawn_from, level).low
        unsure = (
            f"{counted(skipped, 'audit image')} skipped or unclear: were all of these wrong, it could be "
            f"{100 * low:.1f} %."
        )
    found = status_page.Status(
        campaign=settings.name,
        images=pool,
        missing=missing,
        unreadable=sum(bool(image.problem) for image in images if image.present),
        copies=sum(len(image.copies) for image in images),
        counts=dict(counts),
        labels_gone=campaign.labelled(answer for name, answer in state.answers.items() if name in state.gone),
        lost=campaign.lost([batch for batch in state.batches if batch is not state.open], state),
        conflicts=sum(answer.status == "conflict" for answer in state.answers.values()),
        problems=problems,
        audit=len(index),
        rounds=rounds,
        gain=gain,
        kappa=kappas[-1] if kappas else None,
        verdict=_verdict(verdict, state, settings) if order else "",
        cost=_cost(state, settings),
        forecast=_forecast(hits, labels, len(present - state.audit), settings, verdict.key),
        next=campaign.order(state, folder, left, settings.budget),
        warning=_warning(state, pool, settings, folder),
        unsure=unsure,
        classes=_classes(classes, truth, trained, space, index, level),
        confused=_confused(images, root, classes, trained, space, index, truth),
        disputed=_disputed(images, root, state, space, trained, classes),
    )
    numbers = {
        "verdict": verdict.key,
        "audit": len(index),
        "rounds": [
            {"round": r.number, "labels": r.labels, "right": int(hits[r.number].sum()), "accuracy": r.accuracy}
            for r in rounds
        ],
    }
    return found, numbers


def of_delivered(images, state, predict, settings, labels=True):
    """Sentences, none or one, on the accuracy of the model that labels are delivered by, as the audit tells it.

    predict: as of `models.predictor`; labels: whether any label is delivered by it, or its promise failed.
    """
    usable = np.array([identity.usable(image) for image in images])
    index, truth, _ = audited(images, state, usable, list(settings.classes))
    if len(index) < assessment.ENOUGH:
        return []
    seen, said, _ = predict(index)
    right = int((said == truth[np.isin(index, seen)]).sum())
    level = settings.confidence / 100
    interval = assessment.accuracy(right, len(seen), int(usable.sum()), level)
    which = "labels" if labels else "was frozen"
    return [
        f"The model that {which} is right on {status_page.percent(interval)} of the images "
        f"({100 * level:g} % interval, told by {len(seen)} drawn at random)."
    ]


def _verdict(verdict, state, settings):
    """The verdict's sentence, and one on a batch that is open although the budget is spent."""
    beyond = campaign.open_beyond_budget(state, settings.budget) if verdict.key == "budget" else ""
    return f"{verdict.sentence} {beyond}".rstrip()


def _drawn(images, state, settings):
    """How many images belong to the audit, asked or not."""
    if campaign.drew_audit(state.batches) is None:
        return settings.audit
    return sum(i.present and campaign.is_audit(state.batches, settings.seed, i.sha256) for i in images)


def _warning(state, pool, settings, folder):
    """A sentence where the audit takes half of the images or more, as long as nobody has answered."""
    audit = min(settings.audit, pool)
    begun = any(image.sha256 in state.answers for batch in state.batches for image in batch.images)
    if 2 * audit < pool or begun or len(state.batches) > 1:
        return ""
    return (
        f"The audit takes {audit} of the {pool} images, and teaches nothing: "
        f"{f'{pool - audit} are' if pool > audit else 'none is'} left to learn from. Fewer can be set as `audit`, "
        f"before anybody labels; remove {Path(folder, campaign.folder_name(1))} then, and run the same command again."
    )


def _forecast(hits, labels, most, settings, verdict):
    """A sentence on the labels that the target still needs; empty where none is set, or the verdict has said all."""
    order = sorted(hits)
    if not settings.target or verdict in ("target", "budget") or not order or len(hits[order[0]]) < assessment.ENOUGH:
        return ""
    target, counts = settings.target / 100, [labels[n] for n in order]
    rng = seeds.generator(settings.seed, 0, order[-1], "forecast")
    found = forecast.labels_to(target, counts, [hits[n] for n in order], most, rng)
    return forecast.sentence(found, counts[-1], target)


def _cost(state, settings):
    labels = campaign.labelled(state.answers.values())  # those of images that are gone were paid, too
    times = [answer.seconds for answer in state.answers.values() if answer.seconds]
    told = []
    if times:
        told.append(f"{sum(times) / 3600:.1f} hours of labelling so far, {median(times):.1f} s an image in the middle")
    if settings.price:
        told.append(f"{settings.price * labels:,.2f} {settings.currency} for {counted(labels, 'label')}")
    return f"Cost: {'; '.join(told)}." if told else ""


def _last(trained, space, index):
    return models.predict(trained[max(trained)], space.clean, index)


def _classes(classes, truth, trained, space, index, level):
    if not trained or len(index) < assessment.ENOUGH:
        return []
    said, _ = _last(trained, space, index)
    found = assessment.per_class(truth, said, len(classes), level)
    return [(name, n, interval) for name, (n, interval) in zip(classes, found, strict=True)]


def _confused(images, root, classes, trained, space, index, truth):
    """One picture for each of the most frequent confusions."""
    if not trained or len(index) < assessment.ENOUGH:
        return []
    said, _ = _last(trained, space, index)
    found = []
    for true, other, count in assessment.confusions(truth, said):
        if true >= 0:
            at = index[np.flatnonzero((truth == true) & (said == other))[0]]
            found.append(_picture(images[at], root, f"{classes[true]} taken for {classes[other]}, {count}×"))
    return found


def _disputed(images, root, state, space, trained, classes):
    """Pictures of the labels that the last model contradicts with most confidence: the label may be wrong."""
    if not trained:
        return []
    position = {image.sha256: n for n, image in enumerate(images)}
    mine = [(position[a.sha256], classes.index(a.label)) for a in state.answers.values() if a.status == "label"]
    mine = [(n, c) for n, c in mine if space.embedded[n] and images[n].present]
    if not mine:
        return []
    index, labels = np.array(mine).T
    said, confidence = _last(trained, space, index)
    order = sorted(np.flatnonzero(said != labels), key=lambda n: -confidence[n])[:DISPUTED]
    return [
        _picture(images[index[n]], root, f"labelled {classes[labels[n]]}, model says {classes[said[n]]} "
                 f"({math.floor(100 * confidence[n])} %)")
        for n in order
    ]  # fmt: skip


def _picture(image, root, text):
    try:
        jpeg = batch_page.thumbnail(image_files.opened(Path(root, image.path)))
    except (OSError, ValueError):  # it went meanwhile
        jpeg = b""
    return status_page.Picture(jpeg, image.path, text)
