"""What people handed back: whichever program wrote it, each answer with its image, or a sentence on what is wrong.

Nothing is guessed. An answer belongs to an image by content (the column sha256, or the bytes of an image in a class
folder), or else by a name that fits one image only. What cannot be understood is listed, and everything else goes on.
"""

from collections import Counter

from labelbench.common.errors import UserError
from labelbench.common.words import counted
from labelbench.labelling import answer_files, tabular
from labelbench.labelling.class_lookup import Classes
from labelbench.labelling.image_lookup import UNKNOWN, Images
from labelbench.labelling.records import Answer, Problem
from labelbench.labelling.tabular import Unreadable

_HINTS = 5  # sentences per file that look for near names: that is slow in a large pool


def read(folders_or_files, images, classes, renames, campaign):
    """(answers, problems), lists of `Answer` and `Problem`, of all files, in a fixed order.

    images: list of `identity.Image`; classes: names; renames: old name → new name, applied first; campaign: its name.
    Never raises for what a file holds. A file of the same content as an earlier one is passed over.
    """
    places, known = Images(images), Classes(classes, renames)
    found, problems, seen, beside = [], [Problem("classes.csv", 0, what) for what in known.problems], set(), {}
    files, closed = answer_files.files(folders_or_files)
    problems += closed
    for root, path, source, is_image in files:
        try:
            if is_image:
                claims, complaints = answer_files.sorted_image(root, path, beside)
            else:
                claims, complaints = answer_files.claims(path, seen)
        except Unreadable as error:
            problems.append(Problem(source, 0, f"{path.name} {error}"))
            continue
        except UserError as error:
            problems.append(Problem(source, 0, str(error)))
            continue
        except OSError as error:
            problems.append(Problem(source, 0, f"{path.name} cannot be read: {error.strerror or error}."))
            continue
        problems += [Problem(source, row, what) for row, what in complaints]
        answers, more = _understood(source, claims, places, known, campaign)
        found += answers
        problems += more
    return found, problems + known.complaints()


def filled(path):
    """Whether a table holds any answer, or anything that has to be complained of; a `batch.csv` goes out with none."""
    try:
        found, problems = answer_files.claims(path, set())
    except (Unreadable, UserError, OSError):
        return True
    return bool(found or problems)


def labels(path):
    """Whether a table has a column of labels, by its heading: one that only names images is no file of answers."""
    try:
        at = tabular.columns(tabular.heading(path))
    except (Unreadable, UserError, OSError):
        return False
    return bool(at)


def _understood(source, claims, places, known, campaign):
    """(answers, problems) of a file's claims: images and classes looked up."""
    found, problems, foreign, moved, lost = [], [], Counter(), [], []
    for claim in claims:
        name, why = places.find(claim)
        if not name:
            other = claim.batch.split("/")[0] if claim.batch.count("/") == 2 else ""
            if other and other != campaign:
                foreign[other] += 1
            else:
                lost.append((claim, why))
            continue
        if why:
            moved.append(claim.row)
        status, label, what = known.answer(claim, source)
        if what:
            problems.append(Problem(source, claim.row, what))
        if status:
            found.append(
                Answer(
                    name,
                    status,
                    label,
                    claim.annotator,
                    claim.seconds,
                    claim.note,
                    claim.when,
                    source,
                    claim.row,
                    claim.shown,
                    claim.replaces,
                )  # fmt: skip
            )
    for other, count in foreign.items():
        what = f"{_rows(count)} of the campaign {other!r}, for images that {campaign!r} does not have. "
        problems.append(Problem(source, 0, f"{what}Hand them back there."))
    if moved:
        name = "names" if len(moved) == 1 else "name"
        what = f"{counted(len(moved), 'answer')} {name} one image by content (sha256) and another by path; content "
        what += "counts. Either files were replaced or exchanged since, and nothing is wrong. Or single columns of the "
        what += "table were sorted: then restore it, because its labels stand beside the wrong images."
        problems.append(Problem(source, moved[0], what))
    if len(lost) > 3 and len(lost) == len(claims):
        what = f"None of the {len(lost)} images that it names is in {campaign!r}, such as {_shown(lost[0][0])}. "
        problems.append(Problem(source, 0, f"{what}Is it an export of another project, or of another folder?"))
    else:
        for n, (claim, why) in enumerate(lost):
            hint = places.near(claim) if n < _HINTS and why == UNKNOWN else ""
            problems.append(Problem(source, claim.row, f"{_shown(claim)} {why}{hint}"))
    return found, problems


def opened(found, audit):
    """A `Problem` for each source in which audit images were answered while a prediction was on view.

    found: a list of `Answer`; audit: a function that tells whether a hash is one of the audit.
    """
    seen = Counter(answer.source for answer in found if answer.shown and audit(answer.sha256))
    return [
        Problem(
            source,
            0,
            f"{_rows(count)} about audit images beside which a prediction was shown. People tend to follow it, so the "
            "accuracy may look better than it is: hide predictions of images that carry none in label_studio.json.",
        )
        for source, count in seen.items()
    ]


def _rows(count):
    return "1 answer is" if count == 1 else f"{count} answers are"


def _shown(claim):
    name = claim.names[0] if claim.names else claim.sha256
    if not name:
        return "This row"
    return repr(name if len(name) <= 200 else name[:200] + "…")
