"""The documentation says what the code does, where a test can tell."""

import re

import pytest
import yaml

from conftest import REPO, merged
from labelbench.common import registry
from labelbench.planning import plan

TABLE = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (REPO / "docs/strategies.md").read_text().splitlines()
    if line.startswith("| `")
]


def test_every_strategy_has_its_row():
    assert sorted(row[0].strip("`") for row in TABLE) == registry.names("strategies")


@pytest.mark.parametrize("row", TABLE, ids=[row[0].strip("`") for row in TABLE])
def test_a_row_says_what_the_strategy_uses_and_is(row):
    module = registry.load("strategies", row[0].strip("`"))
    assert row[2] == (", ".join(module.USES) or "nothing")
    kind = {"no": "", "**yes**": "SEQUENTIAL", "**upper bound**": "UPPER_BOUND"}[row[5]]
    assert [flag for flag in ("SEQUENTIAL", "UPPER_BOUND") if getattr(module, flag, False)] == ([kind] if kind else [])


def test_links_of_the_documentation_lead_somewhere():
    pages = ("README.md", "config/README.md", "docs/strategies.md", "docs/statistics.md", "docs/cluster.md")
    for page in (*pages, "docs/results.md", "resources/published/README.md"):
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", (REPO / page).read_text()):
            assert (REPO / page).parent.joinpath(target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("overlay", sorted(path.name for path in (REPO / "config").glob("*.yaml")))
def test_every_config_is_a_study(overlay):
    default, changes = (yaml.safe_load((REPO / "config" / name).read_text()) for name in ("config.yaml", overlay))
    config = merged(default, changes)
    plan.check(config, REPO / "workflow/schemas/config.schema.yaml")
    plan.study(config)
