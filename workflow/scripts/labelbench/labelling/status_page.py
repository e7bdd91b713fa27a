"""Where a campaign stands: ten lines for a terminal, and a page with the curve, the classes and what to look at."""

import base64
import io
import re
from dataclasses import dataclass, field
from html import escape

from labelbench.common.words import counted
from labelbench.labelling.assessment import Interval

COLOURS = ("#0072B2", "#D55E00")  # of Okabe & Ito's palette for all eyes


@dataclass(frozen=True)
class RoundStatus:
    """A round: labels its model learnt from, and its accuracy on the audit, None where too few are answered."""

    number: int
    labels: int
    accuracy: Interval | None


@dataclass(frozen=True)
class Picture:
    """A thumbnail (JPEG bytes) and what is said of it."""

    jpeg: bytes
    image: str
    text: str


@dataclass(frozen=True)
class Status:
    """All that a status tells. Counts are of images; `classes`: (name, audit images, Interval or None) of each.

    counts: answers by status, of images that can be read; labels_gone: labels of images that no file has any more;
    lost: images that a batch before the open one asked about, and that are gone without an answer.
    """

    campaign: str
    images: int
    missing: int
    unreadable: int
    copies: int
    counts: dict
    conflicts: int
    problems: int
    audit: int
    rounds: list
    gain: Interval | None
    kappa: float | None
    verdict: str
    cost: str
    forecast: str
    next: str
    unsure: str = ""
    classes: list = field(default_factory=list)
    confused: list = field(default_factory=list)
    disputed: list = field(default_factory=list)
    note: str = ""
    warning: str = ""
    labels_gone: int = 0
    lost: int = 0


def percent(interval):
    """An `Interval` of shares as a reader wants it."""
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def lines(status):
    """The status, about ten lines of text; what to do next is told by the command that was given."""
    counts = status.counts
    odd = ", ".join(f"{counts[k]} {k}" for k in ("skip", "none", "unsure", "new") if counts.get(k))
    past = f"{counted(status.labels_gone, 'label')} of images that are gone" if status.labels_gone else ""
    besides = "; ".join(part for part in (odd, past) if part)
    found = [
        f"{status.campaign}: {counted(status.images, 'image')}, {counts.get('label', 0)} labelled"
        + (f" ({besides})" if besides else "")
        + (f", {status.copies} exact {'copy' if status.copies == 1 else 'copies'}" if status.copies else "")
        + (f", {status.missing} missing (problems.csv)" if status.missing else "")
        + (f", {status.unreadable} unreadable" if status.unreadable else "")
    ]
    if status.lost:
        found.append(
            f"{counted(status.lost, 'image')} of earlier batches {'is' if status.lost == 1 else 'are'} gone without an "
            "answer, and nobody waits for them. Brought back, they may be asked again."
        )
    if status.warning:
        found.append(status.warning)
    last = status.rounds[-1] if status.rounds else None
    if last and last.accuracy:
        audit = counted(status.audit, "image")
        found.append(f"Accuracy of the model: {percent(last.accuracy)}, told by {audit} drawn at random.")
        if status.unsure:
            found.append(status.unsure)
    if status.gain:
        gain = status.gain
        found.append(
            f"The last batch gained {100 * gain.value:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]."
        )
    if status.kappa is not None:
        found.append(f"The last two models agree on the images with kappa {status.kappa:.3f}.")
    found += [status.verdict, status.forecast, status.cost]
    if status.conflicts:
        found.append(f"{counted(status.conflicts, 'image')} on which people disagree: conflicts.csv.")
    if status.problems:
        found.append(f"{counted(status.problems, 'thing')} in the answers or images to mend: problems.csv.")
    return [line for line in found if line]


def text(status):
    """The content of `status.txt`."""
    return "\n".join(lines(status)) + "\n"


def _curve(rounds):
    """The learning curve as SVG text; empty where no round has an accuracy."""
    known = [r for r in rounds if r.accuracy]
    if not known:
        return ""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.size": 10, "svg.hashsalt": "labelbench", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
        x = [r.labels for r in known]
        y = [100 * r.accuracy.value for r in known]
        low = [100 * (r.accuracy.value - r.accuracy.low) for r in known]
        high = [100 * (r.accuracy.high - r.accuracy.value) for r in known]
        axes.errorbar(x, y, [low, high], color=COLOURS[0], marker="o", capsize=3)
        axes.set_xlabel("labels the model learnt from")
        axes.set_ylabel("accuracy on audit images (%)")
        axes.grid(alpha=0.3)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    svg = out.getvalue()
    return svg[svg.index("<svg") :]


STYLE = """
:root { color-scheme: light dark; --line: #8886; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
tr { border-bottom: 1px solid var(--line); } td.n { text-align: right; }
.curve { background: #fff; border-radius: 6px; } .curve svg { width: 100%; height: auto; max-width: 40rem; }
.grid { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; width: 8rem; overflow-wrap: anywhere; font-size: .85rem; }
figure img { width: 8rem; height: 8rem; object-fit: contain; image-rendering: auto; background: #8882; }
.next { border: 2px solid #0072B2; border-radius: 6px; padding: .6rem 1rem; font-weight: 600; }
"""


def html(status):
    """The content of `status.html`: one page that needs nothing else."""
    told = lines(status)
    parts = [f"<h1>{escape(status.campaign)}</h1>", *(f"<p>{escape(line)}</p>" for line in told[1:])]
    parts.insert(1, f"<p>{escape(told[0].partition(': ')[2])}</p><p class='next'>{_linked(status.next)}</p>")
    if status.note:
        parts.append(f"<p>{escape(status.note)}</p>")
    if curve := _curve(status.rounds):
        parts.append(f"<h2>Learning curve</h2><div class='curve'>{curve}</div>")
        parts.append("<p>Bars are 95 % intervals. All rounds are judged by the same audit images.</p>")
    if status.classes:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td class='n'>{n}</td><td>{percent(i) if i else 'too few to tell'}</td></tr>"
            for name, n, i in status.classes
        )
        parts.append(
            "<h2>Classes</h2><table><tr><th>class</th><th>audit images</th><th>recognised</th></tr>" + rows + "</table>"
        )
    for title, pictures in (
        ("Most often confused, among the audit images", status.confused),
        ("Model and person disagree: look at these labels again", status.disputed),
    ):
        if pictures:
            shown = "".join(
                f"<figure><img alt='' src='data:image/jpeg;base64,{base64.b64encode(p.jpeg).decode()}'>"
                f"<figcaption>{escape(p.text)}<br>{_name(p.image)}</figcaption></figure>"
                for p in pictures
            )
            parts.append(f"<h2>{title}</h2><div class='grid'>{shown}</div>")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<meta http-equiv='Content-Security-Policy' content=\"{policy}\">"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(status.campaign)}: status</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _linked(text):
    """A sentence for the page, in which the page of a batch, which lies in a folder beside it, is a link."""
    return re.sub(r"\S*(batch\d+/label\.html)", r"<a href='\1'>\g<0></a>", escape(text))


def _name(path):
    """A file name for a page; bytes that are no text are shown as question marks."""
    return escape(path.encode(errors="replace").decode())
