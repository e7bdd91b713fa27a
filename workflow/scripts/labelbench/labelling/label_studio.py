"""Label Studio: the tasks and the config that go in, and what its three exports say.

Matching is by `data.sha256`, never by a task's id, which Label Studio gives anew. Audit images carry no prediction.
"""

import base64
import json
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from labelbench.common.errors import UserError
from labelbench.labelling import batch_page
from labelbench.labelling.tabular import NAMES, Claim, Unreadable, moment, number

CONTROL, NEW, IMAGE = "label", "new_class", "image"


def write(folder, batch, items, classes):
    """Write `label_studio.json` and `label_studio.xml` of a batch into `folder`.

    batch: `campaign.Batch`; items: dicts with image, sha256, thumbnail (JPEG bytes or None), audit, guess, confidence.
    """
    name = f"{batch.campaign}/{batch.number:02d}/{batch.id}"
    # Guesses go along for the same images as in the page's grid: those without one may be audit images, or others.
    shown = batch_page.in_grid(items)
    items = [item if n in shown else item | {"guess": None} for n, item in enumerate(items)]
    text = json.dumps(tasks(name, items, f"round{batch.number - 1}"), indent=1)
    Path(folder, "label_studio.json").write_text(text + "\n", encoding="utf-8")
    Path(folder, "label_studio.xml").write_text(config_xml(classes), encoding="utf-8")


def tasks(batch, items, version=""):
    """Tasks to import, a list of dicts. The picture lies in the task where there is a thumbnail, so no path can break.

    Without one, the image is a path below Label Studio's root for local files. Images to be judged blind (`audit`)
    and those without a guess have no prediction.
    """
    found = []
    for item in items:
        if item.get("thumbnail"):
            picture = "data:image/jpeg;base64," + base64.b64encode(item["thumbnail"]).decode()
        else:
            picture = "/data/local-files/?d=" + quote(item["image"], errors="surrogateescape")
        # File names that are no valid text cannot stand in JSON that others read: their bytes are shown instead.
        path = item["image"].encode(errors="surrogateescape").decode(errors="backslashreplace")
        task = {"data": {"image": picture, "sha256": item["sha256"], "path": path, "batch": batch}}
        if item.get("guess") and not item.get("audit"):
            value = {"choices": [item["guess"]]}
            result = {"id": "guess", "from_name": CONTROL, "to_name": IMAGE, "type": "choices", "value": value}
            prediction = {"model_version": version, "result": [result]}
            if item.get("confidence") is not None:
                prediction["score"] = float(item["confidence"])
            task["predictions"] = [prediction]
        found.append(task)
    return found


def config_xml(classes):
    """The labelling interface: one choice among the classes, none, unsure, or the name of a new class.

    Raises `UserError` for a class name with a character that XML cannot hold.
    """
    lines = ["<View>", f'  <Image name="{IMAGE}" value="$image" zoom="true"/>']
    lines += [f'  <Choices name="{CONTROL}" toName="{IMAGE}" choice="single" showInLine="true">']
    for n, name in enumerate(classes):
        if any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 or ord(c) in (0xFFFE, 0xFFFF) for c in name):
            raise UserError(f"Label Studio's config cannot hold the class name {name!r}. Rename the class.")
        hotkey = f' hotkey="{n + 1}"' if n < 9 else ""
        lines.append(f"    <Choice value={quoteattr(name)}{hotkey}/>")
    lines += [
        '    <Choice value="none of these" alias="__none__" hotkey="0"/>',
        '    <Choice value="unsure" alias="__unsure__"/>',
        "  </Choices>",
        '  <Header value="A class that is missing above:" size="6"/>',
        f'  <TextArea name="{NEW}" toName="{IMAGE}" maxSubmissions="1" rows="1"/>',
        "</View>",
    ]
    return "\n".join(lines) + "\n"


def choices(value):
    """Class names, a tuple, of what a row of JSON_MIN or CSV holds: one name, or {"choices": […]}, or nothing."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            loaded = json.loads(value)
        except ValueError:
            loaded = None
        value = loaded if isinstance(loaded, dict) and "choices" in loaded else value
    if isinstance(value, dict):
        value = value.get("choices") or []
    if isinstance(value, list):
        return tuple(dict.fromkeys(str(v) for v in value))
    return () if value is None or not str(value).strip() else (str(value),)


def status(labels, new=""):
    """The status of an annotation with these choices and this text for a new class."""
    if new:
        return "new"
    return {0: "empty", 1: ""}.get(len(labels), "several")


def claims(content):
    """(claims, problems) of a parsed export, JSON or JSON_MIN; problems are (number of the task, sentence).

    Raises `Unreadable` for JSON that is no export.
    """
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise Unreadable("is JSON, but no Label Studio export: export the project as JSON, JSON-MIN or CSV.")
    if not content:
        raise Unreadable("is an export without any task.")
    found, problems = [], []
    if not any(isinstance(task.get("data"), dict) for task in content):
        if not any("annotation_id" in task or "annotator" in task for task in content):
            raise Unreadable("is JSON, but no Label Studio export: export the project as JSON, JSON-MIN or CSV.")
        return [_flat(row, n) for n, row in enumerate(content, 1)], problems
    answered = False
    for n, task in enumerate(content, 1):
        data = task.get("data")
        if not isinstance(data, dict):
            problems.append((n, "This task has no data: it cannot be told which image it is."))
            continue
        annotations = task.get("annotations", task.get("completions"))
        for annotation in annotations if isinstance(annotations, list) else ():
            answered = True
            try:
                seen = bool(task.get("predictions")) or bool(annotation.get("prediction"))
                found.append(_annotation(annotation, data, n)._replace(shown=seen))
            except (TypeError, AttributeError, ValueError):
                problems.append((n, "This annotation is not as Label Studio writes it, and is not read."))
    if not answered and not problems:
        raise Unreadable("holds tasks, but nobody's answers: label in Label Studio, then export the project.")
    return found, problems


def _names(data):
    keys = [key for key in NAMES["image"] if key in data]
    values = [data[key] for key in keys]
    return tuple(v for v in values if isinstance(v, str) and v.strip() and not v.startswith("data:"))


def _text(value):
    return value.strip() if isinstance(value, str) else ""


def _person(value):
    if isinstance(value, dict):
        value = value.get("email") or value.get("username") or value.get("id")
    return "" if value is None else str(value).strip()


def _annotation(annotation, data, n):
    labels, new, other = [], "", False
    results = annotation.get("result") or []
    for result in results:
        value = result.get("value") or {}
        if result.get("type") == "choices" or "choices" in value:
            labels += [str(v) for v in value.get("choices") or []]
        elif result.get("type") == "textarea" and result.get("from_name") == NEW:
            new = " ".join(str(v) for v in value.get("text") or []).strip()
        else:
            other = True
    labels = tuple(dict.fromkeys(labels))
    if annotation.get("was_cancelled") or annotation.get("skipped"):
        state = "skip"
    elif other and not labels and not new:
        raise ValueError("no choice")
    else:
        state = status(labels, new)
    return Claim(
        n,
        _text(data.get("sha256")).lower(),
        _names(data),
        state,
        () if state == "skip" else (new,) if state == "new" else labels,
        _person(annotation.get("completed_by")),
        number(annotation.get("lead_time")),
        "",
        moment(annotation.get("updated_at") or annotation.get("created_at")),
        _text(data.get("batch")),
    )


def _flat(row, n):
    value = next((row[key] for key in NAMES["label"] if key in row), None)
    labels = choices(value)
    new = row.get(NEW) or ""
    if isinstance(new, dict):
        new = new.get("text") or ""
    new = " ".join(map(str, new)) if isinstance(new, list) else str(new)
    state = status(labels, new.strip())
    return Claim(
        n,
        _text(row.get("sha256")).lower(),
        _names(row),
        state,
        (new.strip(),) if state == "new" else labels,
        _person(row.get("annotator")),
        number(row.get("lead_time")),
        "",
        moment(row.get("updated_at") or row.get("created_at")),
        _text(row.get("batch")),
    )
