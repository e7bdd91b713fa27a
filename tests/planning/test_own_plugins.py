"""Plug-ins that users write: every mistake in the file is a sentence at planning."""

import importlib
import sys

import pytest

from conftest import configure, snakemake
from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.planning import plan, plugins
from labelbench.selection import strategies

FILE = "workflow/scripts/labelbench/selection/strategies/mine.py"
GOOD = """
from dataclasses import dataclass

USES = ("features",)


@dataclass(frozen=True)
class Config:
    share: float = 0.5


def memory(config, sizes):
    return sizes.features(sizes.unlabelled)


def select(pool, budget, config, rng):
    return pool.unlabelled[:budget]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A function from the text of a strategy `mine` to its entry in a study."""
    path = tmp_path / FILE
    path.parent.mkdir(parents=True)
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(path.parent)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # its date would hide a change within a second

    def entry(text):
        monkeypatch.delitem(sys.modules, f"{strategies.__name__}.mine", raising=False)
        path.write_text(text)
        importlib.invalidate_caches()
        return plan.resolve("strategies", {"best": {"name": "mine"}})["best"]

    return entry


def refusal(mine, text):
    with pytest.raises(UserError) as caught:
        mine(text)
    message = str(caught.value)
    assert message.startswith("config, strategies: best: ") and FILE in message
    return message


def test_a_good_one_is_taken(mine):
    assert mine(GOOD).settings == {"name": "mine", "share": 0.5}
    assert mine(GOOD.replace("return sizes", "return 1.5 * sizes"))
    assert mine(GOOD.partition("def memory")[0] + "def select(pool, budget, config, rng):\n    pass\n")


@pytest.mark.parametrize(("wrong", "words"), [
    ("return sizes.unlabeled", "fails with 900 unlabelled and 100 labelled examples: line 13: "
     "AttributeError: 'Sizes' object has no attribute 'unlabeled'. Did you mean 'unlabelled'? It is a function"),
    ("return None", "returns nothing (null)."),
    ("return float('nan')", "returns nan with 900 unlabelled and 100 labelled examples."),
    ("return float('inf')", "returns inf with"),
    ("return '2 GB'", "returns the text '2 GB'."),
    ("return True", "returns true."),
    ("return -1", "returns -1 with"),
    ("return 1 / sizes.labelled", "fails with 1000 unlabelled and 0 labelled examples: line 13: ZeroDivisionError"),
    ("return 1 / (sizes.budget - 20)", "fails with 900 unlabelled and 100 labelled examples: line 13: ZeroDiv"),
])  # fmt: skip
def test_a_memory_that_gives_no_bytes(mine, wrong, words):
    message = refusal(mine, GOOD.replace("return sizes.features(sizes.unlabelled)", wrong))
    assert f"`memory` of {FILE} {words}" in message
    assert message.endswith("a number from 0 (docs/developing.md).")


@pytest.mark.parametrize(("right", "wrong", "words"), [
    ("memory(config, sizes)", "memory(sizes)", "takes 1 positional argument but 2 were given"),
    ("def memory", "memory = 10**9\n\n\ndef _memory", "1000000000 stands where a function is due"),
    ('USES = ("features",)', "", "defines no `USES`. It is a tuple"),
    ('("features",)', '("probs",)', "there is no 'probs'. It is a tuple"),
    ('("features",)', '("feature",)', "there is no 'feature'. Did you mean 'features'? It is a tuple"),
    ('("features",)', '("features")', "the text 'features' stands where a tuple is due"),
    ("def select", "def choose", "defines no function `select(pool, budget, config, rng)`"),
    ("class Config:", "class Config", "mine.py, line 8: this is no Python: expected ':'."),
    ("class Config", "class Settings", "defines no dataclass `Config`"),
    ("@dataclass(frozen=True)", "", "defines no dataclass `Config`"),
    ("from dataclasses", "import nothing_like_it\nfrom dataclasses", "cannot be imported: line 2: ModuleNotFoundError"),
    ("USES =", "USES = names\nUSES =", "cannot be imported: line 4: NameError: name 'names' is not defined."),
])  # fmt: skip
def test_a_file_that_is_no_strategy(mine, right, wrong, words):
    assert words in refusal(mine, GOOD.replace(right, wrong, 1))


def test_a_setting_of_a_type_that_no_config_holds(mine):
    with pytest.raises(UserError, match="setting 'share' has a type that no config can hold"):
        mine(GOOD.replace("share: float", "share: complex"))


def test_all_shipped_strategies_say_their_memory():
    for name in registry.names("strategies"):
        entry = plan.resolve("strategies", {name: {}})[name]
        assert set(entry.module.USES) <= set(plugins.USES)


def test_the_dry_run_ends_in_the_sentence(fresh):
    (fresh / FILE).write_text(GOOD.replace("sizes.unlabelled", "sizes.unlabeled"))
    configure(fresh, {"strategies": {"mine": {}}, "run": {"strategies": ["random", "mine"]}})
    done = snakemake(fresh, "-n", check=False)
    assert done.returncode
    assert "config, strategies: mine: `memory` of" in done.stdout and "Traceback" not in done.stdout
