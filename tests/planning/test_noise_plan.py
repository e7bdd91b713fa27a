"""Label noise, as the config names it."""

import json

import numpy as np
import pytest
import yaml

from conftest import REPO, merged
from labelbench.common.errors import UserError
from labelbench.data import annotator
from labelbench.data.dataset_file import Dataset, Split
from labelbench.planning import plan

SYMMETRIC = {"kind": "symmetric", "rate": 0.3}


@pytest.fixture
def config():
    """The default study, on both sets of digits."""
    default = yaml.safe_load((REPO / "config/config.yaml").read_text())
    return merged(default, {"run": {"datasets": ["digits", "digits_longtail"]}})


def with_noise(config, noise):
    return merged(config, {"datasets": {"digits": {"noise": noise}}})


def test_noise_is_part_of_the_plan_of_its_dataset_only(config):
    assert set(map(str, plan.study(config).noise.values())) == {"{}"}
    noise = plan.study(with_noise(config, SYMMETRIC)).noise
    assert noise["digits"] == {"noise": {**SYMMETRIC, "matrix": ""}}
    assert noise["digits_longtail"] == {}
    assert "noise" not in plan.study(with_noise(config, SYMMETRIC)).datasets["digits"].settings


def test_another_content_of_a_matrix_file_is_another_setting(config, tmp_path):
    path = tmp_path / "noise.csv"
    asked = with_noise(config, {"kind": "matrix", "matrix": str(path)})
    specs = []
    for content in ("1,0\n0,1", "0,1\n1,0"):
        path.write_text(content)
        specs.append(plan.study(asked).noise["digits"])
    assert specs[0]["noise"] == specs[1]["noise"]
    assert specs[0] != specs[1]
    path.unlink()
    assert "noise_matrix" not in plan.study(asked).noise["digits"]  # the job that needs the file says so


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"kind": "symmetric"}, "needs a rate"),
        ({"kind": "symmetric", "rate": 1.5}, "needs a rate"),
        ({"kind": "matrix"}, "needs a matrix"),
        ({"kind": "column", "rate": 0.1}, "rate belongs to noise of kind symmetric"),
        ({"kind": "symetric", "rate": 0.1}, "the text 'symetric' is none of"),
        ({"kind": "symmetric", "rat": 0.1}, "Did you mean 'rate'?"),
        ({"kind": "matrix", "matrix": [[1, "x"], [0, 1]]}, "matrix"),
    ],
)
def test_noise_that_cannot_be(config, noise, message):
    with pytest.raises(UserError) as caught:
        plan.study(with_noise(config, noise))
    assert "config, datasets: digits: noise" in str(caught.value)
    assert message in str(caught.value)


def test_a_matrix_in_the_config_reaches_the_annotator(config):
    matrix = [[0.5, 0.5], [0, 1]]
    parts = plan.study(with_noise(config, {"kind": "matrix", "matrix": matrix})).noise["digits"]
    settings = json.loads(json.dumps(parts))["noise"]
    assert annotator.Config(**settings).matrix == matrix
    dataset = Dataset({"pool": Split(np.arange(100) % 2, np.arange(100))}, ("a", "b"), ("{}",), "0")
    given = annotator.of_trial(dataset, settings, 0, 0)
    assert (given[1::2] == 1).all()
    assert 10 < (given[::2] == 1).sum() < 40
