"""Several processes train one model: the metrics of one process, and one end for all."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import small_ranks
from labelbench.common import ranks

SCRIPT = Path(__file__).with_name("small_ranks.py")


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """The folder of two processes with their results by case: they start once for all of them."""
    folder = tmp_path_factory.mktemp("ranks")
    small_ranks.stopped(folder / "of_one")
    assert ranks.run(2, [sys.executable, str(SCRIPT), str(folder)]) == 0
    return folder


def check_same(found, expected):
    """The same in all printed digits of the history, and weights but for rounding."""
    (weights, history), (own_weights, own) = found, expected
    assert printed(history) == printed(own)
    for name, values in own_weights.items():
        np.testing.assert_allclose(weights[name], values, rtol=2e-4, atol=2e-5, err_msg=name)


def printed(history):
    return [{key: f"{value:.4f}" for key, value in epoch.items()} for epoch in history]


@pytest.mark.parametrize("case", small_ranks.CASES)
def test_two_processes_train_what_one_trains(of_two, case):
    found = json.loads((of_two / "found.json").read_text())
    check_same(found[case], small_ranks.run(**{**small_ranks.CASES[case], "parts": 1}))


@pytest.mark.parametrize("name", small_ranks.TRAININGS)
def test_a_step_in_parts_is_the_whole_step(name):
    whole = small_ranks.run(name)
    for parts in (2, 5, 1000):
        check_same(small_ranks.run(name, parts=parts), whole)


def test_another_number_of_processes_goes_on(of_two, caplog):
    caplog.set_level("INFO")
    undisturbed = small_ranks.run(**small_ranks.RESUMED)
    found = json.loads((of_two / "found.json").read_text())
    check_same(found["resumed"], undisturbed)
    check_same(small_ranks.run(**small_ranks.RESUMED, checkpoint=of_two / "of_two"), undisturbed)
    assert "go on after epoch 1 and 6 steps" in caplog.text


@pytest.mark.parametrize("view", ["clean", "aug0"])
def test_two_processes_embed_what_one_embeds(of_two, view, tmp_path):
    assert small_ranks.embed(tmp_path, view) in json.loads((of_two / "found.json").read_text())["embedded"]
    assert (tmp_path / f"{view}.h5").read_bytes() == (of_two / f"{view}.h5").read_bytes()
