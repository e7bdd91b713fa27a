"""Files that come with the workflow, also for a study in another folder (docs/module.md)."""

from pathlib import Path

WORKFLOW = Path(__file__).resolve().parents[4]


def find(path):
    """A path as given where it exists; else, where the workflow ships it, its place there; else as given."""
    there = WORKFLOW / path
    return str(there) if not Path(path).exists() and there.exists() else str(path)
