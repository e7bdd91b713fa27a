"""What the workflow asks of a campaign's folder while it builds its plan."""

import os
from types import SimpleNamespace

import pytest

from labelbench.labelling import batch_files, identity
from labelbench.planning import campaigns


@pytest.fixture
def labelling(tmp_path, monkeypatch):
    """A `Labelling` in an empty folder, with one batch that went out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    settings = campaigns.Settings("birds", "pictures", ["heron", "owl"], wrong=5.0)
    made = campaigns.Labelling(SimpleNamespace(name="birds", settings=settings, seed=0))
    batch = made.folder / "batch01"
    batch.mkdir(parents=True)
    (batch / "batch.json").write_text("{}")
    write(batch / "batch.csv", "")
    return made


def write(path, label, **more):
    row = dict.fromkeys(batch_files.COLUMNS, "") | {"image": "one.png", "sha256": "a" * 64, "label": label} | more
    identity.write_table(path, batch_files.COLUMNS, [row.values()], encoding="utf-8-sig")


@pytest.mark.parametrize("age", [-1000, 0, 1000])
def test_a_filled_cell_makes_a_batch_csv_count_and_its_date_does_not(labelling, age):
    path = labelling.folder / "batch01/batch.csv"

    def counts():
        written = path.with_name("batch.json").stat().st_mtime
        os.utime(path, (written + age, written + age))
        return labelling.answer_files() == [path]

    assert not counts()
    write(path, "owl")
    assert counts()
    write(path, "", status="skip")
    assert counts()
    path.write_bytes(b"PK\x03\x04\x00\x00")  # saved as a spreadsheet: it is read, to be complained of
    assert counts()
