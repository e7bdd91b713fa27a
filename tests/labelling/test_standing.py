"""What a status says besides accuracies."""

from types import SimpleNamespace

import numpy as np
import pytest

from labelbench.labelling import assessment, campaign, identity, models, standing, status_page
from labelbench.labelling.campaign import Answered, Asked, Batch
from labelbench.labelling.identity import Image

IMAGES = [Image(f"{n:064x}", f"{n}.png") for n in range(87)]


def status(batches=(), answers=None, missing=0, images=IMAGES, trained=None, **change):
    settings = SimpleNamespace(
        **{"name": "birds", "classes": ["heron", "owl"], "seed": 0, "audit": 100, "batch": 20, "target": 0.0,
           "budget": 0, "price": 0.0, "mistake": 0.0, "looks": 10, "confidence": 95.0} | change
    )  # fmt: skip
    state = campaign.state(list(batches), answers or {}, 0, gone=identity.gone(images))
    space = models.Space(np.zeros((87, 2), np.float16), None, None, np.ones(87, bool), [], [])
    return standing.status(images, ".", state, space, trained or {}, settings, 0, missing, "labelling/birds")[0]


@pytest.mark.parametrize(("audit", "words"), [(100, "87 of the 87 images"), (44, "44 of the 87 images"), (43, "")])
def test_an_audit_that_takes_half_of_the_images_is_warned_of(audit, words):
    first = [Batch("birds", 1, "0" * 8, "kmeans", (Asked(IMAGES[0].sha256, "0.png"),))]
    for batches in ([], first):
        told = status_page.text(status(batches, audit=audit))
        assert ("The audit takes" in told) == bool(words)
        assert words in told
    second = [*first, first[0]._replace(number=2)]
    assert "The audit takes" not in status_page.text(status(second, audit=audit))  # too late to change


def test_missing_files_are_counted():
    assert "40 missing (problems.csv)" in status_page.text(status(missing=40))
    assert "missing" not in status_page.text(status())


def test_labels_of_images_that_are_gone_are_told_apart():
    asked = Batch("birds", 1, "0" * 8, "kmeans", tuple(Asked(i.sha256, i.path) for i in IMAGES[:32]))
    answers = {i.sha256: Answered(i.sha256, "label", "owl") for i in IMAGES[:29]}
    answers |= {IMAGES[29].sha256: Answered(IMAGES[29].sha256, "skip")}
    assert "birds: 87 images, 29 labelled (1 skip)\n" in status_page.text(status([asked], answers))
    images = [image._replace(present=n in (0, 1, 2, 86)) for n, image in enumerate(IMAGES)]
    told = status_page.text(status([asked], answers, images=images, price=2.0, currency="EUR"))
    assert "birds: 4 images, 3 labelled (26 labels of images that are gone)\n" in told
    assert "58.00 EUR for 29 labels" in told  # which were paid
    assert "2 images of earlier batches are gone without an answer, and nobody waits for them" in told
    # Of a batch that is open, the order says so.
    images = [image._replace(present=n != 30) for n, image in enumerate(IMAGES)]
    found = status([asked], answers, images=images)
    assert "earlier batches" not in status_page.text(found)
    assert "1 of 32 images wait for an answer; 1 is gone" in found.next


def test_an_audit_whose_images_are_gone_does_not_look_like_one_of_all_images(monkeypatch):
    monkeypatch.setattr(models, "predict", lambda model, clean, index: (np.zeros(len(index), int), np.ones(len(index))))
    asked = Batch("birds", 1, "0" * 8, "kmeans", tuple(Asked(i.sha256, i.path, True) for i in IMAGES[:40]))
    answers = {i.sha256: Answered(i.sha256, "label", "owl" if n else "heron") for n, i in enumerate(IMAGES[:40])}
    few = [image._replace(present=n < 4) for n, image in enumerate(IMAGES)]
    for images in (IMAGES, few):
        found = status([asked], answers, images=images, trained={1: None}).rounds[0].accuracy
        assert found == assessment.accuracy(1, 40, 87, 0.95)
        assert found.low < found.value < found.high


def test_the_page_says_what_to_do_and_points_at_no_page_that_is_missing():
    asked = Batch("birds", 1, "0" * 8, "kmeans", tuple(Asked(i.sha256, i.path) for i in IMAGES[:20]))
    answers = {i.sha256: Answered(i.sha256, "label", "owl") for i in IMAGES[:20]}
    page = "<a href='batch01/label.html'>labelling/birds/batch01/label.html</a>"
    assert f"<p class='next'>Batch 1: Open {page}, label" in status_page.html(status([asked]))
    assert "Open" not in status_page.text(status([asked]))  # the commands say it, each its own
    spent = status_page.html(status([asked], answers, budget=20))
    assert "<p class='next'>The budget is spent" in spent
    assert "label.html" not in spent


def test_a_spent_budget_and_an_open_batch_stand_in_one_line():
    asked = Batch("birds", 1, "0" * 8, "kmeans", tuple(Asked(i.sha256, i.path) for i in IMAGES[:20]))
    answers = {i.sha256: Answered(i.sha256, "label", "owl") for i in IMAGES[:15]}
    state = campaign.state([asked], answers, 0)
    spent = assessment.Verdict("budget", "Budget spent: 15 of 12 labels.")
    told = standing._verdict(spent, state, SimpleNamespace(budget=12))
    assert told == f"{spent.sentence} Batch 1 is still open: 5 of 20 images wait for an answer, and need none."
    assert standing._verdict(assessment.Verdict("stable", "Agree."), state, SimpleNamespace(budget=12)) == "Agree."
    page = status_page.html(status([asked], answers, budget=12))
    assert "<p class='next'>The budget is spent. Batch 1 is still open: 5 of 20 images wait" in page
