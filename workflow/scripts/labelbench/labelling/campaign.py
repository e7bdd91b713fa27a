"""The state of a campaign: which batches went out, what was answered, and what each round knows of it.

Importing this module imports neither torch nor numpy: the Snakefile asks it what there is to do.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from labelbench.common import json_files
from labelbench.common.errors import UserError
from labelbench.common.words import are, counted
from labelbench.labelling import identity

NOTHING_LABELLED = "Nothing was labelled yet: answer a batch (snakemake label …), then deliver."
NOTHING_LEARNT = "Nothing was learnt yet: answer a batch that holds at least two classes, then deliver."
NO_MODEL = (
    "There is no model: outside the audit, which teaches nothing, fewer than two classes are labelled. All labels are "
    "people's."
)
ANSWERS = ("sha256", "path", "status", "label", "annotators", "seconds", "sources")


class Asked(NamedTuple):
    """An image of a batch. audit: drawn at random, to judge models by; guess, confidence: of the model that chose."""

    sha256: str
    path: str
    audit: bool = False
    guess: str | None = None
    confidence: float | None = None


class Batch(NamedTuple):
    """What people were asked at once, as `batch.json` says it; it is written once and never changes.

    number: 1, 2, …; id: 8 hex digits; kind: `batch`, or `promise` for the last audit before labels are delivered;
    known: hashes of images that had been answered by then without having been asked; threshold: images whose
    `audit_rank` is below it are audit images (64 hex digits, None where there is no audit); seed: of these ranks;
    folder: where it stands.
    """

    campaign: str
    number: int
    id: str
    strategy: str
    images: tuple
    known: tuple = ()
    threshold: str | None = None
    kind: str = "batch"
    folder: Path = Path()
    seed: int | None = None


class Answered(NamedTuple):
    """The one answer that counts for an image: status label, skip, none, unsure, new or conflict, and its class."""

    sha256: str
    status: str
    label: str = ""
    annotators: str = ""
    seconds: float | None = None
    path: str = ""
    sources: str = ""


def folder_name(number):
    """The name of a batch's folder."""
    return f"batch{number:02d}"


_CURE = (
    "It says what was asked and must stay as it was written: bring it back from a copy. The answers are not affected."
)


def batches(folder):
    """The campaign's batches, a list of `Batch` by number, from the folder `labelling/<campaign>`.

    Raises `UserError` for one that cannot be read, and where one is missing in between.
    """
    found = []
    written = [p for p in Path(folder).glob("batch*/batch.json") if re.fullmatch(r"batch\d+", p.parent.name)]
    for path in sorted(written, key=lambda p: int(p.parent.name.removeprefix("batch"))):
        try:
            content = json_files.read(path, ("images", "known", "batch"), _CURE)
            images = tuple(Asked(**image) for image in content.pop("images"))
            content["known"] = tuple(content["known"])
            number = content.pop("batch")
            found.append(Batch(number=number, images=images, folder=path.parent, **content))
        except (TypeError, AttributeError) as error:
            raise UserError(f"{path} cannot be read ({error}). {_CURE}") from None
    numbers = [batch.number for batch in found]
    if numbers != list(range(1, len(found) + 1)):
        raise UserError(
            f"{folder} holds the batches {numbers}, but they are numbered from 1 without gaps. Bring the missing "
            "folders back from a copy: they say which images were drawn at random."
        )
    return found


# What a campaign's folder holds besides the folders of batches.
OURS = {"answers", "classes.csv", "problems.csv", "conflicts.csv", "status.txt", "status.html"} | {
    *("labels.csv", "metadata.csv", "delivered.txt", "model", "by_class")
}


def strays(folder):
    """Names of what lies in a campaign's folder and is none of its own: answers that nobody will read, maybe."""
    found = Path(folder).iterdir() if Path(folder).is_dir() else ()
    names = sorted(path.name for path in found)
    return [n for n in names if n not in OURS and not n.startswith(".") and not re.fullmatch(r"batch\d+", n)]


def write_batch(path, batch):
    """Write `batch.json`."""
    content = batch._asdict()
    del content["folder"]
    content = {"campaign": content.pop("campaign"), "batch": content.pop("number"), **content}
    content["images"] = [image._asdict() for image in batch.images]
    Path(path).write_text(json.dumps(json_files.sealed(content), indent=1, ensure_ascii=True) + "\n")


def batch_id(campaign, number, hashes):
    """8 hex digits that identify a batch: what answers in a browser are kept under."""
    text = "\n".join([campaign, str(number), *hashes])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def write_answers(path, settled, images):
    """Write the answers that count, a list of `Answered`, in the order of the images."""
    position = {image.sha256: (n, image.path) for n, image in enumerate(images)}
    rows = [
        (a.sha256, position[a.sha256][1], a.status, a.label, a.annotators, a.seconds, a.sources)
        for a in sorted(settled, key=lambda a: position[a.sha256])
    ]
    identity.write_table(path, ANSWERS, (["" if v is None else v for v in row] for row in rows))


def read_answers(path):
    """`Answered` by hash, from a file made by `write_answers`."""
    return {
        row["sha256"]: Answered(**row | {"seconds": float(row["seconds"]) if row["seconds"] else None})
        for row in identity.read_table(path)
    }


def audit_rank(seed, sha256):
    """64 hex digits that depend on the content alone: the smallest ones of a pool are a random draw."""
    return hashlib.sha256(f"audit {seed} {sha256}".encode()).hexdigest()


def audit_threshold(seed, hashes, size):
    """The threshold below which `size` of these images rank, or None for no audit.

    It is fixed with the first batch. Images that are added later are drawn at the same rate, and move no other.
    """
    ranks = sorted(audit_rank(seed, name) for name in hashes)
    if not size:
        return None
    return ranks[size] if size < len(ranks) else "g"  # above every hexadecimal digit: all of them


class Round(NamedTuple):
    """What is known after a batch: `labels`, class by hash, without audit images; `asked`: all hashes asked so far."""

    number: int
    labels: dict
    digest: str


class State(NamedTuple):
    """Where a campaign stands.

    rounds: `Round` of each closed batch, and of round 0 where labels existed before; audit: hashes of the audit
    images that were asked; closed: numbers of the batches that are answered as far as the config wants; open: the
    `Batch` that waits for answers, or None; next: the number of the batch to propose, or None; missing: how many
    images of the open batch wait for an answer; gone: hashes of images that no file has any more.
    """

    batches: list
    answers: dict
    rounds: list
    audit: frozenset
    open: Batch | None
    next: int | None
    missing: int
    gone: frozenset = frozenset()


def is_audit(batches, seed, sha256):
    """Whether an image belongs to the audit, asked or not: never chosen by a strategy, never trained on.

    The first batch has drawn it; a `seed` that is another one since changes nothing.
    """
    first = drew_audit(batches)
    if first is None or first.threshold is None:
        return False
    return audit_rank(seed if first.seed is None else first.seed, sha256) < first.threshold


def drew_audit(batches):
    """The first batch, which fixed the audit; None before it. A promise that was asked for earlier fixes none."""
    return next((batch for batch in batches if batch.kind == "batch"), None)


def state(batches, answers, seed, complete=1.0, gone=frozenset()):
    """The `State` from the batches and `Answered` by hash.

    complete: share of a batch's images that must be answered before the next one is proposed; gone: hashes of images
    that no file has any more, which nobody waits for, though an answer of theirs counts. An answer counts from
    the round of the batch that asked; one that nobody asked for, from the first batch that was proposed knowing it
    (round 0 where that is the first), or from the last round.
    """
    ordinary = [batch for batch in batches if batch.kind == "batch"]
    promised = {image.sha256 for batch in promises(batches) for image in batch.images}
    waiting, closed = None, []
    for batch in batches:
        answered = [image.sha256 for image in batch.images if image.sha256 in answers]
        due = len(answered) + len(unanswered(batch, answers, gone))
        enough = round(complete * due, 9)  # rounded: four fifths of 60 are 48, whatever 0.8 is in binary
        if batch is batches[-1] and len(answered) < enough:
            waiting = batch
        # A promise, whose images may be in an open batch as well, opens no round: its model is frozen. And a batch
        # that nobody has touched teaches nothing.
        taught = sum(name not in promised for name in answered)
        if batch.kind == "batch" and taught and (taught >= enough or batch is not ordinary[-1]):
            closed.append(batch.number)
    since = {}
    for batch in ordinary:
        for name in batch.known:
            since.setdefault(name, batch.number - 1)
    for batch in ordinary:
        for image in batch.images:
            since.setdefault(image.sha256, batch.number)
    latest = max(closed, default=0)
    trained = {}
    for name, answer in answers.items():
        if answer.status == "label" and name not in promised and not is_audit(batches, seed, name):
            trained.setdefault(min(since.get(name, latest), len(batches)), {})[name] = answer.label
    rounds, labels = [], {}
    for number in [0, *closed]:
        # A batch that is not closed yet holds answers, too: they count from the next round that is.
        labels = labels | trained.get(number, {})
        if number or labels:
            rounds.append(Round(number, dict(labels), _digest(labels)))
    asked_audit = frozenset(image.sha256 for batch in ordinary for image in batch.images if image.audit) | frozenset(
        n for n in answers if is_audit(batches, seed, n) and n not in promised
    )
    missing = len(unanswered(waiting, answers, gone)) if waiting else 0
    following = None if waiting else len(batches) + 1
    return State(batches, answers, rounds, asked_audit, waiting, following, missing, frozenset(gone))


def promises(batches):
    """The batches that promises rest on, in the order in which they were asked for."""
    return [batch for batch in batches if batch.kind == "promise"]


def labelled(answers):
    """How many images people gave a label, of many `Answered`."""
    return sum(answer.status == "label" for answer in answers)


def bought(state):
    """How many labels count against the budget: all but those of promises, whose audits come on top."""
    ordinary = {image.sha256 for batch in state.batches if batch.kind == "batch" for image in batch.images}
    promised = {image.sha256 for batch in promises(state.batches) for image in batch.images} - ordinary
    return labelled(answer for name, answer in state.answers.items() if name not in promised)


def unanswered(batch, answers, gone):
    """Hashes of the images of a batch that wait for an answer: those that have none and are not gone."""
    return [i.sha256 for i in batch.images if i.sha256 not in answers and i.sha256 not in gone]


def answered(batch, state):
    """Whether every image of a batch has an answer, or is gone."""
    return not unanswered(batch, state.answers, state.gone)


def lost(batches, state):
    """How many images of these batches are gone without an answer."""
    asked = {image.sha256 for batch in batches for image in batch.images}
    return len((asked & state.gone) - state.answers.keys())


def asks(state, left, budget):
    """Whether another batch may go out: none waits, something is left to ask, and the budget is not spent.

    left: images without an answer; budget: labels at most, 0 for no limit.
    """
    return bool(state.next and left and not (budget and bought(state) >= budget))


def page_order(number, promise, folder, begun=""):
    """What a person is to do with a batch that exists, and waits.

    promise: whether it is the last audit before labels are delivered; begun: a sentence on how far it is.
    """
    place, again = Path(folder), "snakemake deliver …" if promise else "the same command"
    what = "Before labels are delivered, a last audit, drawn at random: batch" if promise else "Batch"
    return (
        f"{what} {number}: {begun}Open {place / folder_name(number) / 'label.html'}, label, put the file that it saves "
        f"into {place / 'answers'}/, and run {again} again."
    )


def waits(batch, state, folder):
    """What a person is to do with a batch that waits, and how far it is."""
    missing, lost_here = len(unanswered(batch, state.answers, state.gone)), lost([batch], state)
    begun = ""
    if missing < len(batch.images):
        more = f"; {are(lost_here)} gone, for which nobody waits" if lost_here else ""
        begun = f"{missing} of {counted(len(batch.images), 'image')} wait for an answer{more}. "
    return page_order(batch.number, batch.kind == "promise", folder, begun)


def open_beyond_budget(state, budget):
    """A sentence on the batch that waits although the budget is spent; empty where there is none."""
    if not (state.open and state.open.kind == "batch" and budget and bought(state) >= budget):
        return ""
    number, images = state.open.number, counted(len(state.open.images), "image")
    return f"Batch {number} is still open: {state.missing} of {images} wait for an answer, and need none."


def order(state, folder, left, budget):
    """What a person is to do next, for a page."""
    if begun := open_beyond_budget(state, budget):
        page = Path(folder, folder_name(state.open.number), "label.html")
        return (
            f"The budget is spent. {begun} Deliver the labels (snakemake deliver …), or raise `budget`. What is "
            f"answered in {page} all the same counts, once the same command is run again."
        )
    if state.open:
        return waits(state.open, state, folder)
    if asks(state, left, budget):
        # As of a batch that waits: whether this one is there yet is chance, for both are made side by side.
        return page_order(state.next, False, folder)
    if not left:
        return "Every image has an answer. Deliver the labels: snakemake deliver …"
    return (
        "The budget is spent: no further batch is asked. Deliver the labels (snakemake deliver …), or raise `budget`."
    )


def _digest(labels):
    text = json.dumps(sorted(labels.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def trainable(round_, minimum=2):
    """Whether a model can be trained on a round: it knows at least two classes."""
    return len(set(round_.labels.values())) >= minimum
