"""The strategy of docs/developing.md works, exactly as the page has it."""

import re
import types

import numpy as np
import yaml

from conftest import REPO, configure, snakemake
from labelbench.selection.pool import Pool

PAGE = (REPO / "docs/developing.md").read_text()
CODE = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
OVERLAY = re.search(r"```yaml\n(.*?)```", PAGE, re.S)[1]
FILE = re.search(r"Write `(\S+\.py)`", PAGE)[1]


def test_picks():
    module = types.ModuleType("example")
    exec(compile(CODE, FILE, "exec"), module.__dict__)
    first = np.linspace(0.5, 0.99, 40)
    probabilities = np.stack([first, 1 - first], axis=1)
    pool = Pool.from_arrays(np.zeros((40, 2)), probabilities, [0, 1], [0, 1])
    picks = module.select(pool, 10, module.Config(), np.random.default_rng(0))
    assert picks[:5].tolist() == [2, 3, 4, 5, 6]
    assert picks.dtype == np.int64
    assert len(set(picks)) == 10
    assert set(picks) <= set(range(2, 40))


def test_it_is_planned_as_the_page_says(fresh):
    (fresh / FILE).write_text(CODE)
    configure(fresh, yaml.safe_load(OVERLAY))
    assert "least_margin_mix" in snakemake(fresh, "-n")
