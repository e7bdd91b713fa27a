"""Label Studio's files: tasks and a labelling interface for it, and what it exports.

A task's own number is not kept by an import, but its `data` is: the image's content hash stands there. Facts of the
formats: Label Studio's documentation, "Import data" and "Export annotations", and its SDK's converter.
"""

import base64
import json
import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

# Values of choices that are no classes. A class cannot begin so, as the config says what is a class.
NONE, UNSURE = "__none__", "__unsure__"
STATES = {NONE: "none", UNSURE: "unsure"}
KEYS = "123456789"


def write(folder, batch, items, classes):
    """Write a batch's `label_studio.json` (tasks to import) and `label_studio.xml` (the labelling interface).

    Images are inside as thumbnails, so that no path has to be right. No guess goes along: it would lead people.
    """
    name = f"{batch.campaign}/{batch.number:02d}/{batch.id}"
    tasks = [
        {
            "data": {
                "image": f"data:image/jpeg;base64,{base64.b64encode(item['thumbnail']).decode()}",
                "sha256": item["sha256"],
                "path": item["image"].encode(errors="replace").decode(),
                "batch": name,
            }
        }
        for item in items
    ]
    Path(folder, "label_studio.json").write_text(json.dumps(tasks, indent=1) + "\n")
    Path(folder, "label_studio.xml").write_text(interface(classes), encoding="utf-8")


def interface(classes):
    """The labelling interface, XML text: one choice of the classes, "none of these" or "unsure"."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
    choices = {"name": "label", "toName": "image", "choice": "single", "showInLine": "true"}
    choices = ElementTree.SubElement(view, "Choices", choices)
    for number, name in enumerate(classes):
        key = {"hotkey": KEYS[number]} if number < len(KEYS) else {}
        ElementTree.SubElement(choices, "Choice", value=name, **key)
    ElementTree.SubElement(choices, "Choice", value="none of these", alias=NONE, hotkey="0")
    ElementTree.SubElement(choices, "Choice", value="unsure", alias=UNSURE)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def read(content):
    """Yields the answers of an export, JSON or JSON-MIN, as dicts of the fields of `answers.Raw`.

    States that exports tell apart: a cancelled annotation was skipped, one without a result was handed in empty, a task
    without annotations was not answered and yields nothing. JSON-MIN leaves cancelled ones out.
    """
    if not isinstance(content, list):
        raise ValueError("it is no list of tasks")
    for row, task in enumerate(content, start=1):
        if "data" not in task:
            yield _minimal(row, task)
            continue
        data = task["data"]
        where = {
            "row": row,
            "image": str(data.get("path") or data.get("image") or ""),
            "sha256": str(data.get("sha256") or "").lower(),
            "batch": str(data.get("batch") or ""),
        }
        for annotation in task.get("annotations") or task.get("completions") or []:
            who = annotation.get("completed_by") or ""
            if isinstance(who, dict):
                who = who.get("email") or who.get("id") or ""
            cancelled = annotation.get("was_cancelled") or annotation.get("skipped")
            chosen = [c for result in annotation.get("result") or [] for c in result["value"].get("choices", [])]
            status, label = ("skip", "") if cancelled else choice(chosen)
            yield {
                **where,
                "status": status,
                "label": label,
                "annotator": str(who),
                "seconds": str(annotation.get("lead_time") or ""),
                "when": str(annotation.get("updated_at") or annotation.get("created_at") or ""),
            }


def _minimal(row, task):
    status, label = choice(_chosen(task.get("label")))
    return {
        "row": row,
        "image": str(task.get("path") or task.get("image") or ""),
        "sha256": str(task.get("sha256") or "").lower(),
        "batch": str(task.get("batch") or ""),
        "status": status,
        "label": label,
        "annotator": str(task.get("annotator") or ""),
        "seconds": str(task.get("lead_time") or ""),
        "when": str(task.get("updated_at") or ""),
    }


def _chosen(value):
    """The choices in a cell of JSON-MIN or CSV: a word, or JSON that holds several."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return [value]
    if isinstance(value, dict):
        value = value.get("choices", [])
    return value if isinstance(value, list) else [value] if value else []


def choice(chosen):
    """(status, label) of a list of choices."""
    if not chosen:
        return "empty", ""
    if len(chosen) > 1:
        return "several", " | ".join(map(str, chosen))
    return (STATES[chosen[0]], "") if chosen[0] in STATES else ("label", str(chosen[0]))


def cell(text):
    """(status, label) of a cell in a CSV export, or ("", text) where it is an ordinary word."""
    chosen = _chosen(text)
    if chosen == [text] and text not in STATES:
        return "", text
    return choice(chosen)


def plain_path(value):
    """The path that a task's image stands for: without host, storage prefix, quoting (twice) and backslashes."""
    value = re.sub(r"^[a-z][a-z0-9+.-]*://[^/]*/", "", value)
    value = value.partition("/data/local-files/?d=")[2] or value.removeprefix("data/local-files/?d=")
    return unquote(unquote(value)).replace("\\", "/")


def without_prefix(name):
    """A file's name without the eight hexadecimal digits that an upload puts before it."""
    return re.sub(r"^[0-9a-f]{8}-", "", name)
