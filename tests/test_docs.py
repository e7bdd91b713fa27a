"""The documentation says what the code does, where a test can tell."""

import re

import pytest
import yaml

from conftest import REPO, merged
from labelbench.common import registry
from labelbench.planning import plan, sizes

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


PAGES = [
    *sorted(REPO.glob("*.md")),
    *sorted((REPO / "docs").glob("*.md")),
    REPO / "config/README.md",
    REPO / "resources/published/README.md",
]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(REPO)) for page in PAGES])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page} links to {target}"


def test_the_readme_is_one_screen_and_a_half():
    lines = (REPO / "README.md").read_text().splitlines()
    assert len(lines) <= 130
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("overlay", sorted(path.name for path in (REPO / "config").glob("*.yaml")))
def test_every_config_is_a_study(overlay, monkeypatch):
    monkeypatch.chdir(REPO)
    default, changes = (yaml.safe_load((REPO / "config" / name).read_text()) for name in ("config.yaml", overlay))
    config = merged(merged(default, plan.included(changes.get("include", []))), changes)
    plan.check(config, REPO / "workflow/schemas/config.schema.yaml")
    sizes.check(plan.study(config), "nowhere")
    sizes.check_models(plan.study(config))


def test_every_rule_has_its_row():
    told = set(re.findall(r"`([a-z_]+)`", (REPO / "docs/how-it-works.md").read_text()))
    files = [REPO / "Snakefile", REPO / "workflow/Snakefile", *(REPO / "rules").glob("*.smk")]
    rules = {name for path in files for name in re.findall(r"^ *(?:rule|checkpoint) (\w+):", path.read_text(), re.M)}
    assert len(rules) > 20
    assert rules - told == {"all", "report"}  # the default target, and its like for the report
