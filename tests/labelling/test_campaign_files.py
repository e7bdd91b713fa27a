"""What the workflow asks of a campaign's folder while it builds its plan."""

import os
from types import SimpleNamespace

import pytest

from labelbench.labelling import batch_files, campaign, identity
from labelbench.labelling.campaign import Answered, Asked, Batch
from labelbench.planning import campaigns


@pytest.fixture
def labelling(tmp_path, monkeypatch):
    """A `Labelling` in an empty folder, with one batch that went out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    settings = campaigns.Settings("birds", "pictures", ["heron", "owl"], wrong=5.0)
    made = campaigns.Labelling(SimpleNamespace(name="birds", settings=settings, seed=0, classes=("heron", "owl")))
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


POOL = [f"{n:064x}" for n in range(400)]


def promised(labelling, wrong_in_audit, further=0, audit=100):
    """The state after a batch of 20, a promise whose audit is answered, and `further` answers of one more batch."""
    batches, answers = [asked(1, POOL[:20])], {n: label(n) for n in POOL[:20]}
    drawn = POOL[20 : 20 + audit]
    batches.append(asked(2, drawn, kind="promise", folder=labelling.folder / "batch02"))
    batches[1].folder.mkdir()
    rows = [(n, "owl", 0.9, 1) for n in POOL[20:]]
    identity.write_table(batches[1].folder / "frozen.csv", batch_files.FROZEN, rows)
    answers |= {n: label(n, "heron" if k < wrong_in_audit else "owl") for k, n in enumerate(drawn)}
    if further:
        batches.append(asked(3, POOL[200:220]))
        answers |= {n: label(n) for n in POOL[200 : 200 + further]}
    return campaign.state(batches, answers, 0)


def asked(number, names, **more):
    return Batch("birds", number, "0" * 8, "margin", tuple(Asked(n, n) for n in names), **more)


def label(name, said=None):
    return Answered(name, "label", said or ("heron" if int(name, 16) % 2 else "owl"))


@pytest.fixture
def index(tmp_path):
    path = tmp_path / "images.csv"
    identity.write_index(path, [identity.Image(n, f"{n}.png") for n in POOL])
    return path


def test_a_promise_that_failed_is_asked_for_again_after_a_further_batch(labelling, index):
    failed = promised(labelling, wrong_in_audit=30)
    assert labelling.next_promise(failed, index) == []
    assert labelling.deliverable(failed, index)  # people's labels, and why the model's are not
    (labelling.folder / "batch02/frozen.csv").unlink()
    (labelling.folder / "batch02").rmdir()
    half = promised(labelling, wrong_in_audit=30, further=19)
    assert labelling.next_promise(half, index) == []
    answers = half.answers | {POOL[219]: label(POOL[219])}
    again = campaign.state(half.batches, answers, 0)
    assert labelling.next_promise(again, index) == "labelling/birds/batch04/frozen.csv"
    assert not labelling.deliverable(again, index)


def test_a_promise_that_was_kept_is_not_asked_for_again(labelling, index):
    kept = promised(labelling, wrong_in_audit=0, further=20)
    assert labelling.next_promise(kept, index) == []
    assert labelling.deliverable(kept, index)
    assert labelling.frozen(kept).number == 2
    begun = kept._replace(answers={n: a for n, a in kept.answers.items() if n != POOL[20]})
    assert labelling.frozen(begun) is None


def test_labels_by_people_are_delivered_without_a_model(labelling, index):
    alone = campaign.state([asked(1, POOL[:20], threshold="g")], {n: label(n) for n in POOL[:20]}, 0)
    assert labelling.trained(alone) == []
    assert labelling.next_promise(alone, index) == []
    assert labelling.deliverable(alone, index)


def test_every_command_gives_one_order_about_a_page_that_it_makes_or_that_exists(labelling, index):
    known = {n: label(n) for n in POOL[:20]}
    begin, first = campaign.state([], {}, 0), campaign.state([asked(1, POOL[:20])], known, 0)
    assert labelling.order_to_label(begin, index).startswith("Batch 1: Open labelling/birds/batch01/label.html")
    assert labelling.order_to_label(first, index).startswith("Batch 2: Open labelling/birds/batch02/label.html")
    told = labelling.order_to_deliver(first, index)
    assert "last audit, drawn at random: batch 2: Open labelling/birds/batch02/label.html" in told
    batches = [asked(1, POOL[:20]), asked(2, POOL[20:40], kind="promise")]
    begun = campaign.state(batches, known | {POOL[20]: label(POOL[20])}, 0)
    for told in (labelling.order_to_deliver(begun, index), labelling.order_to_label(begun, index)):
        assert "batch 2: 19 of 20 images wait for an answer. Open labelling/birds/batch02/label.html" in told
        assert told.endswith("run snakemake deliver … again.")
    finished = promised(labelling, wrong_in_audit=0)
    assert labelling.order_to_deliver(finished, index) == ""
    assert labelling.order_to_label(finished, index).startswith("Batch 3: Open")  # and `label` makes it
    assert labelling.next_batch(finished, index) == "labelling/birds/batch03/batch.json"
