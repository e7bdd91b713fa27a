"""Files that come with the workflow, also for a study in another folder (docs/module.md)."""

import hashlib
from pathlib import Path

from labelbench.common.errors import UserError

WORKFLOW = Path(__file__).resolve().parents[4]
SUMS = "resources/SHA256SUMS"  # as sha256sum writes and checks them


def find(path):
    """A path as given where it exists; else, where the workflow ships it, its place there; else as given."""
    there = WORKFLOW / path
    return str(there) if not Path(path).exists() and there.exists() else str(path)


def check(path):
    """Raise `UserError` for a file in the place of a shipped one that is not what was shipped; others are not read."""
    sums = WORKFLOW / SUMS
    known = dict(reversed(line.split(maxsplit=1)) for line in sums.read_text().splitlines()) if sums.exists() else {}
    expected = {WORKFLOW / name: digest for name, digest in known.items()}.get(Path(path).resolve())
    if expected:
        with Path(path).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise UserError(
                f"{path} is not the file that comes with the workflow: its sha256 is {found}, and {SUMS} says "
                f"{expected}. Take it from the repository again. Weights of your own go into a file of another name."
            )
