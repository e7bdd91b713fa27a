"""A clone of the authors' results through the workflow."""

import pandas as pd
import pytest
import yaml

import authors_results
from conftest import snakemake


@pytest.fixture
def folder(tmp_path):
    return authors_results.a_clone(tmp_path)


def test_a_clone_of_theirs_becomes_tables_and_figures(fresh, folder):
    """By the config that does so, with its other datasets left out."""
    overlay = yaml.safe_load((fresh / "config/published_results.yaml").read_text())
    chosen = overlay["imports"]["authors"] | {"folder": str(folder), "datasets": {"cifar10": "cifar10/bs_1000"}}
    (fresh / "theirs.yaml").write_text(yaml.safe_dump(overlay | {"imports": {"authors": chosen}}))
    snakemake(fresh, "-c1", "--configfile", "theirs.yaml", "--", "all")
    place = fresh / "results/published_results"
    printed = pd.read_csv(place / "tables/published_cifar10.csv")
    assert set(printed["strategy"]) <= {"random", "margin", "badge"}
    compared = pd.read_csv(place / "tables/comparisons_cifar10.csv")
    assert set(compared["split"]) == {"test", "pool (model)"}
    assert "pool (model): predictions only" in (place / "tables/comparisons_cifar10.html").read_text()
    for name in ("curves", "finetuned", "selectors", "savings", "differences"):
        assert "pool (model): predictions of all images" in (place / f"figures/{name}_cifar10.svg").read_text()
