"""What an answer is, and a complaint about one."""

from typing import NamedTuple

STATES = ("label", "skip", "none", "unsure", "new", "several", "empty")
OPINIONS = ("label", "none", "new")  # skipped and unsure contradict nobody


class Answer(NamedTuple):
    """What one person said about one image.

    sha256: the image; status: one of `STATES`; label: class name, '' unless status is label or new (several: names
    joined by ' | '); annotator: '' if unknown; seconds: float or None; when: ISO time in UTC, or ''; source: file,
    relative to the campaign's folder; row: line of a table, number of a task, 0 for folders; shown: whether a
    prediction was on view while the person answered; replaces: files whose answers on this image were known when a
    table of delivered labels, of which this is a row, was written.
    """

    sha256: str
    status: str
    label: str = ""
    annotator: str = ""
    seconds: float | None = None
    note: str = ""
    when: str = ""
    source: str = ""
    row: int = 0
    shown: bool = False
    replaces: tuple = ()


class Problem(NamedTuple):
    """What could not be used as it stands. what: a sentence for people; row: 0 where it is about the file."""

    source: str
    row: int
    what: str
