"""One self-contained HTML page per batch: people label in a browser, offline, and the page saves a CSV file.

Two decisions keep the audit blind. The guess of the model is never shown where one image is asked at a time: it would
pull people towards it, and where it is missing it would give the audit images away. Guesses are shown in the grid only,
where the confident ones are accepted many at a time. And the grid leaves out the least confident images, at least as
many as there are audit images: what it leaves out may be either. The page knows neither flag nor guess of those.
"""

import base64
import hashlib
import html
import io
import json
import re
from pathlib import Path

SIDE = 256  # pixels of a thumbnail's longer side
LIMIT = 17_500  # bytes of a thumbnail: 500 of them make 12 MB in base64


def thumbnail(image):
    """A PIL image (mode L or RGB) as JPEG bytes: at most `SIDE` pixels a side, at most about `LIMIT` bytes."""
    from PIL import Image

    image = image if image.mode in ("L", "RGB") else image.convert("RGB")
    small = max(image.size) <= 64  # a few pixels that all count: no loss that can be seen
    attempts = [(SIDE, 98)] if small else [(SIDE, q) for q in (88, 80, 70, 60, 45)]
    for side, quality in [*attempts, (192, 45), (128, 45)]:
        smaller = image.copy()
        smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        smaller.save(file, "JPEG", quality=quality, optimize=True, subsampling=0 if small else 2)
        if file.tell() <= LIMIT:
            break
    return file.getvalue()


def write_page(path, *, campaign, batch, batch_id, classes, items, title):
    """Write the page of a batch.

    path: the HTML file; batch: its number; batch_id: 8 hex digits; classes: names in the order of their keys; items: a
    dict for each image, in the order in which they are asked, with `image` (path, its name for people), `sha256`,
    `thumbnail` (JPEG bytes), `original` (URL relative to the page, or None), `audit`, `guess` (a class, or None) and
    `confidence` (or None).
    """
    shown = in_grid(items)
    data = {
        "campaign": campaign,
        "batch": batch,
        "id": batch_id,
        "title": title,
        "classes": list(classes),
        "images": [
            {
                "image": item["image"],
                "sha256": item["sha256"],
                "thumbnail": base64.b64encode(item["thumbnail"]).decode(),
                "original": _relative(item["original"]),
                "guess": item["guess"] if n in shown else None,
                "confidence": item["confidence"] if n in shown else None,
            }
            for n, item in enumerate(items)
        ],
    }
    # In a script element only `<` could end it or open another; as an escape it means the same to JSON.
    embedded = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")
    template = Path(__file__).with_name("label.html").read_text(encoding="utf-8")
    parts = {"title": html.escape(title), "policy": _policy(template), "data": embedded}
    page = re.sub(r"\{\{(title|policy|data)\}\}", lambda found: parts[found[1]], template)
    Path(path).write_bytes(page.encode(errors="replace"))


def in_grid(items):
    """Positions of the images that the grid may show: guessed, no audit, and without the least confident ones."""
    guessed = [n for n, item in enumerate(items) if item["guess"] is not None and not item["audit"]]
    guessed.sort(key=lambda n: (-(items[n]["confidence"] or 0), n))
    return set(guessed[: max(0, len(guessed) - sum(item["audit"] for item in items))])


def _relative(url):
    """A URL below or beside the page, whatever the file is called: never that of a host."""
    return url if url is None or url.startswith(("./", "../")) else f"./{url}"


def _policy(template):
    """Content security policy: nothing is loaded but images from the disk, nothing runs but the page's own script."""

    def source(tag):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)[1]
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    rules = {
        "default-src": "'none'",
        "img-src": "data: file: 'self'",  # 'self' where the folder is served to others
        "script-src": source("script"),
        "style-src": source("style"),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
