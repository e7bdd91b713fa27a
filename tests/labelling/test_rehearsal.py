"""Whole campaigns of simulated people on synthetic embeddings."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from labelbench.labelling import predict, rehearsal

CLASSES = ["one", "two", "three", "four"]
TRAINER = {"name": "passive", "learning_rate": 0.01, "epochs": 5, "min_steps_per_epoch": 10}


def settings(**change):
    made = {"name": "r", "classes": CLASSES, "rounds": 3, "batch": 30, "audit": 40, "near_copies": 1.0,
            "target": 80.0, "wrong": 20.0, "confidence": 95.0, "looks": 3, "mistakes": 0.0, "skips": 0.0,
            "further": 0, "late": 0.0, "budget": 0, "forecast": [],
            "first": {"name": "kmeans"}, "strategy": {"name": "margin"}, "selector": {"name": "linear"},
            "trainer": TRAINER}  # fmt: skip
    return SimpleNamespace(**made | change)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 800)
    return (rng.normal(0, 1, (800, 6)) + 2.5 * np.eye(4, 6)[classes]).astype(np.float16), classes


def test_a_campaign_learns_and_claims_what_is_true(images):
    made = settings()
    found = rehearsal.campaigns(*images, 400, made, range(8))
    assert [r["labels"] for r in found[0]["rounds"]] == [15, 30, 50]  # without the audit: 15, 15 and 10 of it
    assert [r["audit"] for r in found[0]["rounds"]] == [15, 30, 40]
    rates = rehearsal.summary(found, made)
    assert rates["campaigns"] == 8
    assert rates["final_accuracy"] > 0.7
    assert rates["intervals_cover"] >= 0.7
    assert rates["promises_broken"] <= 0.3
    assert 0 < rates["automatic"] <= 1


def test_the_same_seed_is_the_same_campaign(images):
    one, two = (rehearsal.campaigns(*images, 400, settings(), [3]) for _ in range(2))
    assert one == two
    assert rehearsal.campaigns(*images, 400, settings(), [4]) != one


def test_people_who_skip_and_err(images):
    skipping = rehearsal.campaigns(*images, 400, settings(skips=0.5), [0])[0]
    assert skipping["rounds"][-1]["labels"] < 40
    mistaken = rehearsal.campaigns(*images, 400, settings(mistakes=0.9), [0])[0]
    assert mistaken["rounds"][-1]["truth"] < 0.5


def test_batches_end_with_the_budget(images):
    found = rehearsal.campaigns(*images, 400, settings(budget=70, wrong=0), [0])[0]
    assert [r["answers"] for r in found["rounds"]] == [30, 60, 70]


def test_what_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["rehearsal", str(tmp_path), str(tmp_path / "truth.csv")])
    with pytest.raises(SystemExit, match="holds no batch"):
        rehearsal.main()
    (tmp_path / "model").mkdir()
    monkeypatch.setattr("sys.argv", ["predict", str(tmp_path / "model"), str(tmp_path)])
    with pytest.raises(SystemExit, match=r"There is no .*model\.json"):
        predict.main()
    (tmp_path / "model/model.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["predict", str(tmp_path / "model"), str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="is no folder of images"):
        predict.main()
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("sys.argv", ["predict", str(tmp_path / "model"), str(tmp_path / "empty")])
    with pytest.raises(SystemExit, match=rf"^{tmp_path}/empty holds no image file"):
        predict.main()


def test_who_reads_no_further_ends_the_labels_without_a_complaint(monkeypatch):
    monkeypatch.setattr(predict, "predictions", lambda *_: (("one.jpg", "heron", 0.9) for _ in range(10_000)))
    monkeypatch.setattr("sys.argv", ["predict", "model", "images"])
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        predict.main()
        pipe.write("after that nothing complains")


def test_what_more_labels_would_have_given_is_known_and_forecast(images):
    made = settings(rounds=2, further=30, forecast=[70, 99.9])
    found = rehearsal.campaigns(*images, 400, made, range(4))
    one = found[0]
    assert one["rounds"][-1]["labels"] == 360  # all but the audit
    assert one["rounds"][-1]["reach"] == 360
    assert "promise" in one
    reached, never = one["reached"]
    assert 0 < reached["labels"] < 360
    assert never is None
    rates = rehearsal.summary(found, made)
    assert rates["labels_to_99.9"] == np.inf
    assert rates["forecasts_99.9"] == 0  # forty audit images do not show one wrong of a thousand
    assert rates["forecasts_70"] > 0
    assert rates["final_accuracy"] == np.mean([c["rounds"][1]["truth"] for c in found])


def test_answers_that_come_one_batch_late_are_learnt_one_round_later(images):
    prompt, late = (rehearsal.campaigns(*images, 400, settings(late=share), [0])[0]["rounds"] for share in (0.0, 0.4))
    assert [r["answers"] for r in prompt] == [30, 60, 90]
    answers = [r["answers"] for r in late]
    assert answers[0] == 18
    assert 30 < answers[1] < 60  # all of the first batch, and some of the second
    assert 60 <= answers[2] < 90
