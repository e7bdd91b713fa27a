"""Labels of all images, each with who says so; and the model, with what it takes to use it elsewhere."""

import hashlib
import os
import re
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

from labelbench.common.jobs import write_result
from labelbench.labelling import identity
from labelbench.labelling.tabular import DELIVERED

COLUMNS = ("image", "sha256", "label", "source", "confidence", "annotators", "answers", "needs_eyes")
LONGEST = 255  # bytes of a file's name, on all usual file systems


def rows(images, answers, predicted, confidence, automatic):
    """The rows of `labels.csv`: one per file, so that copies have their label, too.

    images: the index; answers: `Answered` by hash; predicted, confidence: by hash, of images without an answer;
    automatic: hashes whose predicted label is delivered, or None where no promise was asked for and all are. `source`
    is person or model, or empty where there is no label; answers: where the people's answers stand, which a correction
    of the row replaces when it is handed back; needs_eyes: why somebody should look, or empty.
    """
    found = []
    for image in images:
        if not image.present:
            continue
        name, answer = image.sha256, answers.get(image.sha256)
        label = source = score = people = look = ""
        given = answer.sources if answer is not None else ""
        if image.problem:
            look = f"cannot be read: {image.problem}"
        elif answer is not None and answer.status == "label":
            label, source, people = answer.label, "person", answer.annotators
        elif answer is not None:
            people = answer.annotators
            look = {
                "skip": "skipped",
                "none": "none of the classes",
                "unsure": "the person was unsure",
                "new": f"a new class: {answer.label}",
                "conflict": "people disagree, see conflicts.csv",
            }[answer.status]
        elif name in predicted:
            score = f"{confidence[name]:.4f}"
            if automatic is None or name in automatic:
                label, source = predicted[name], "model"
            else:
                look = f"the model is not sure enough for the promise; its guess: {predicted[name]}"
        else:
            look = "no answer and no prediction"
        found += [(path, name, label, source, score, people, given, look) for path in (image.path, *image.copies)]
    return sorted(found)


def write(labels, metadata, found):
    """Write `labels.csv` and, for the labelled files, `metadata.csv` as Hugging Face's imagefolder reads it."""
    identity.write_table(labels, COLUMNS, found, encoding="utf-8-sig")
    identity.write_table(metadata, ("file_name", "label"), ((row[0], row[2]) for row in found if row[2]))


def link(folder, root, found):
    """Make `folder` anew: one folder per class, with a link to each labelled file. found: of `rows`.

    A link is called after its path, / becoming __; characters that no folder should have become _ in a class. Names
    that are one to a file system, or too long for it, end in a part of a hash of the path or class. Each folder has a
    table, `delivered.csv`, of who sorted its files: where it is handed back, only what was changed is an answer.
    """
    shutil.rmtree(folder, ignore_errors=True)
    rows_of = {}
    for row in found:
        if row[2]:
            rows_of.setdefault(row[2], []).append(row)
    folders = _names({label: re.sub(r"[^\w .,()+-]|^\.+", "_", label) for label in rows_of})
    for label, mine in rows_of.items():
        place = Path(folder, folders[label])
        place.mkdir(parents=True)
        names = _names({path: path.replace("/", "__") for path, *_ in mine})
        for path, name in names.items():
            Path(place, name).symlink_to(Path(root, path).resolve())
        table = ((names[row[0]], *row[1:]) for row in mine)
        identity.write_table(place / DELIVERED, COLUMNS, table, encoding="utf-8-sig")


def _names(wanted):
    """A file name for each key of `wanted`, whose values are the names wished for: different, of 255 bytes at most.

    Names that differ by case or by Unicode form alone are one on some machines.
    """

    def folded(name):
        return unicodedata.normalize("NFC", name).casefold()

    often = Counter(folded(name) for name in wanted.values())
    return {
        key: name if often[folded(name)] == 1 and len(os.fsencode(name)) <= LONGEST else _marked(name, key)
        for key, name in wanted.items()
    }


def _marked(name, key):
    """`name`, shortened where it is too long, with 8 hex digits of `key` before its ending."""
    mark = "-" + hashlib.sha256(os.fsencode(key)).hexdigest()[:8]
    stem, ending = os.path.splitext(name)  # noqa: PTH122  "a." and ".a" keep their dot
    if len(os.fsencode(ending)) > 20:
        stem, ending = name, ""
    while len(os.fsencode(stem + mark + ending)) > LONGEST:
        stem = stem[:-1]
    return stem + mark + ending


def model_settings(settings, finetuned):
    """What `predict` needs to know of a model besides its weights; finetuned: whether it is an encoder itself."""
    return {key: settings[key] for key in ("campaign", "classes", "encoder")} | {"finetuned": finetuned}


def write_no_model(folder, why):
    """Write a model's folder where there is no model: a note that says why."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "no_model.txt").write_text(why + "\n", encoding="utf-8")


def write_model(folder, model, settings):
    """Write a model's folder: its weights, and the settings that say how to use them.

    model: the file of weights, of a proxy or, where it was trained end to end, of the encoder with its classifier;
    settings: of `model_settings`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, folder / "model.safetensors")
    write_result(folder / "model.json", settings)
