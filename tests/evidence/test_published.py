"""The paper's printed values, and results held against them."""

import math

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from conftest import REPO
from labelbench.evidence import paper, published, typeset
from labelbench.planning import plan

SETTING = {
    "dataset": "cifar10",
    "encoders": {"clip": "clip_vitb32"},
    "selectors": {"linear": "linear", "end_to_end": "finetune"},
    "trainers": ["flexmatch_images", "flexmatch_linear"],
    "strategies": {"random": "random", "margin_of_mine": "margin"},
}


def row(**changes):
    about = {"dataset": "mine", "encoder": "clip", "selector": "linear", "trainer": "flexmatch_linear"}
    about |= {"strategy": "margin_of_mine", "trial": 0, "round": 10, "num_labels": 10_000, "stage": "finetune"}
    about |= {"model": "flexmatch_images", "split": "test", "metric": "accuracy", "value": 0.97, "pair": "p"}
    return about | changes


def test_every_cell_was_transcribed():
    cells = pd.DataFrame(paper.cells())
    # Strategies × three selectors × two splits.
    assert cells.groupby("table").size().to_dict() == {"1": 36, "3": 36, "4": 48, "5": 42, "6": 42, "7": 42}
    assert not cells.duplicated(["table", "split", "selector", "strategy"]).any()
    assert (cells["mean"].astype(float).between(30, 100) & cells["spread"].astype(float).between(0, 14)).all()
    # Random sampling looks at no model, and one number stands for all selectors; but see the remark.
    random = cells[(cells["strategy"] == "random") & (cells["remark"] == "")]
    assert len(random.drop_duplicates(["table", "split", "mean"])) == len(random.drop_duplicates(["table", "split"]))


def test_the_interval_is_welchs():
    scores = np.array([97.3, 97.9, 97.5, 98.2, 97.0])
    found = published.held_against(scores, "97.97", "0.12", 4)
    exact = stats.ttest_ind_from_stats(scores.mean(), scores.std(ddof=1), 5, 97.97, 0.12, 4, equal_var=False)
    own, other = scores.var(ddof=1) / 5, 0.125**2 / 4  # printed .12, but as much as .125
    freedom = (own + other) ** 2 / (own**2 / 4 + other**2 / 3)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(own + other)
    assert found["low"] == pytest.approx(scores.mean() - 97.97 - half - 0.005)
    assert found["high"] == pytest.approx(scores.mean() - 97.97 + half + 0.005)
    assert found["within_noise"] == (exact.pvalue > 0.05)
    assert found["noticed"] == pytest.approx((found["high"] - found["low"]) / 2)


def test_a_rounded_deviation_may_have_been_larger():
    """±.01 is .005 to .015: with little spread here, the interval of the largest of them is half as wide again."""
    scores = np.array([97.9701, 97.9699])
    found = published.held_against(scores, "97.97", "0.01", 2)
    own, other = scores.var(ddof=1) / 2, 0.015**2 / 2
    freedom = (own + other) ** 2 / (own**2 + other**2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(own + other) + 0.005
    assert found["noticed"] == pytest.approx(half)
    beyond = published.held_against(scores + 1.01 * half, "97.97", "0.01", 2)
    assert (found["within_noise"], beyond["within_noise"]) == (True, False)


@pytest.mark.parametrize(("shift", "answer"), [(0.0, True), (2.0, False), (-2.0, False)])
def test_noise_is_what_the_interval_holds(shift, answer):
    scores = 97.97 + shift + np.array([-0.1, 0.1, 0.0, 0.05])
    assert published.held_against(scores, "97.97", "0.12", 4)["within_noise"] is answer


def test_one_trial_leaves_noise_unknown():
    found = published.held_against(np.array([97.0]), "97.97", "0.12", 4)
    assert found["within_noise"] is None
    assert math.isnan(found["noticed"])
    assert found["difference"] == pytest.approx(-0.97)


def test_a_cell_is_found_by_what_was_run():
    rows = [row(trial=t, value=0.97 + 0.001 * t) for t in range(3)]
    rows += [row(split="pool", metric="pool_model_accuracy", value=0.99), row(split="pool", metric="pool_accuracy")]
    rows += [row(round=9, num_labels=9000), row(round=10, num_labels=5000), row(stage="proxy", model="", value=0.5)]
    rows += [row(model="passive_images"), row(encoder="other"), row(strategy="badge")]
    rows += [row(selector="end_to_end", trainer="flexmatch_images", stage="proxy", model="", num_labels=10_009)]
    table = published.comparison(pd.DataFrame(rows), "mine", SETTING)
    found = table[["selector", "split", "published", "here", "trials", "labels"]].to_numpy().tolist()
    assert found == [
        ["end_to_end", "test", "97.97", 97.0, 1, 10_009],
        ["linear", "test", "97.80", pytest.approx(97.1), 3, 10_000],
        ["linear", "pool", "99.64", 99.0, 1, 10_000],
    ]
    text = typeset.to_text(published.page(table, "mine"))
    assert "97.80 ± 0.03" in text
    assert "97.10 ± 0.10" in text
    line = published.to_csv(table).splitlines()[2].split(",")
    assert line[:11] == [
        *("4", "mine", "clip", "linear", "flexmatch_linear", "flexmatch_images"),
        *("margin_of_mine", "10000", "test", "accuracy", "97.80"),
    ]


def test_nothing_to_hold_against_is_no_failure():
    table = published.comparison(pd.DataFrame([row(round=3)]), "mine", SETTING)
    assert table.empty
    assert "no cell" in published.page(table, "mine").note
    assert published.to_csv(table).startswith("table,dataset,encoder")


def settings(**changes):
    """`paper.setting` of every dataset of all the paper's definitions."""
    default = yaml.safe_load((REPO / "config/config.yaml").read_text())
    study = plan.study(plan.merged(plan.merged(default, plan.included(["config/paper/all.yaml"])), changes))
    parts = (study.encoders, study.selectors, study.trainers, study.strategies)
    return {
        name: paper.setting(entry, study.noise[name], study.budgets[name], *parts)
        for name, entry in study.datasets.items()
    }


def test_the_studys_settings_are_told_by_what_they_are(monkeypatch):
    monkeypatch.chdir(REPO)
    found = {name: setting["dataset"] for name, setting in settings().items() if setting}
    assert {found[name] for name in found} == {"cifar10", "cifar100", "imagenet", "iwildcam", "fmow"}
    assert "digits" not in found
    cifar10 = settings()["cifar10"]
    assert cifar10["encoders"] == {"clip_vitb32": "clip_vitb32", "coca_vitb32": "coca_vitb32"}
    assert "passive" not in cifar10["trainers"]
    assert settings(datasets={"cifar10": {"imbalance_ratio": 10}})["cifar10"] == {}
    assert settings(budgets={"cifar10": {"initial": 200, "batches": [200], "rounds": 20}})["cifar10"] == {}


def test_a_setting_is_repeated_by_flexmatch_alone():
    run = ("clip", "linear", "flexmatch_linear", "random")
    assert paper.repeated(SETTING, [run], [("clip", "flexmatch_images")])
    assert paper.repeated(SETTING, [("clip", "end_to_end", "flexmatch_images", "random")], [])
    assert not paper.repeated(SETTING, [run], [("clip", "passive_images")])
    assert not paper.repeated(SETTING, [("clip", "linear", "passive", "random")], [("clip", "flexmatch_images")])
    assert not paper.repeated({}, [run], [])
