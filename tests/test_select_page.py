"""The examples of docs/select.md run."""

import re

import numpy as np

from conftest import REPO


def test_the_examples_of_the_page_run_one_after_the_other():
    names = {}
    found = re.findall(r"```python\n(.*?)```", (REPO / "docs/select.md").read_text(), re.DOTALL)
    assert len(found) == 3
    for example in found[1:]:  # the first is a fragment of the second
        exec(example, names)
        picks = names.pop("picks")
        assert picks.shape == (100,)
        assert not np.isin(picks, names["labelled"]).any()
