"""Candidates of settings, as the config names them."""

import copy

import pytest
import yaml

from conftest import REPO, merged
from labelbench.common.errors import UserError
from labelbench.planning import plan
from labelbench.training import tuning


@pytest.fixture
def config():
    """The default study, on both sets of digits."""
    default = yaml.safe_load((REPO / "config/config.yaml").read_text())
    return merged(default, {"run": {"datasets": ["digits", "digits_longtail"]}})


def with_tune(config, **tune):
    return plan.study(merged(copy.deepcopy(config), {"trainers": {"flexmatch": {"tune": tune}}}))


def test_candidates_are_all_combinations(config):
    study = with_tune(config, learning_rate=[1e-3, 3e-3], batch_size=[32, 64, 128])
    expected = [{"learning_rate": rate, "batch_size": size} for rate in (1e-3, 3e-3) for size in (32, 64, 128)]
    assert study.tuning["flexmatch"].candidates == expected
    assert study.tuning["flexmatch"].config == tuning.Config("validation", 0.1, 5)


def test_without_candidates_a_study_is_what_it_was(config):
    plain, off = plan.study(config), plan.study(merged(config, {"trainers": {"flexmatch": {"tune": None}}}))
    assert plain.tuning == off.tuning == {}
    assert plain.trainers["flexmatch"].spec == with_tune(config, epochs=[1, 2]).trainers["flexmatch"].spec


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"learning_rat": [1e-3]}, "there is no setting 'learning_rat'. Did you mean 'learning_rate'?"),
        ({"learning_rate": 1e-3}, "learning_rate needs a list of candidates, such as [0.001, 0.003], not 0.001"),
        ({"learning_rate": []}, "learning_rate needs a list of candidates"),
        ({"learning_rate": [1e-3, "fast"]}, "learning_rate: the text 'fast' stands where a number is due"),
        ({"threshold": [0.9, 1.5]}, "threshold is a probability"),
        ({"folds": 3}, "names no setting with candidates"),
        ({"epochs": [3], "folds": 1}, "folds must be at least 2"),
        ({"epochs": [3], "fraction": 0.0}, "fraction is a share of the pool in (0, 1], not 0.0"),
        ({"epochs": [3], "by": "cross"}, "by: the text 'cross' is none of"),
    ],
)
def test_candidates_that_cannot_be(config, tune, message):
    with pytest.raises(UserError) as error:
        with_tune(config, **tune)
    assert str(error.value).startswith("config, trainers: flexmatch: tune")
    assert message in str(error.value)


def test_tune_names_settings(config):
    with pytest.raises(UserError, match="must name settings with their candidates"):
        plan.study(merged(config, {"trainers": {"flexmatch": {"tune": [1e-3, 1e-2]}}}))
