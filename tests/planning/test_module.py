"""The workflow used from another folder: as a module, as `snakedeploy deploy-workflow` writes it, and by `-s`."""

import shutil

import pytest

from conftest import REPO, snakemake

MODULE = f"""
configfile: "config/config.yaml"


module labelbench:
    snakefile:
        "{REPO}/workflow/Snakefile"
    config:
        config


use rule * from labelbench as lb_*


onstart:
    labelbench.onstart()
"""
HEAD = "results/embeddings/digits/glyphclip/zero_shot_head.safetensors"


@pytest.fixture
def folder(tmp_path):
    """Somebody's folder: a copy of the config, and nothing else of the workflow."""
    shutil.copytree(REPO / "config", tmp_path / "config")
    return tmp_path


def test_a_module_plans_and_runs_in_another_folder(folder):
    (folder / "workflow").mkdir()
    (folder / "workflow/Snakefile").write_text(MODULE)
    plan = snakemake(folder, "-n")
    assert "warning" not in plan.lower()
    assert "lb_all" in plan
    out = snakemake(folder, "-c2", HEAD)
    assert "2 of 2 steps (100%) done" in out
    assert (folder / HEAD).exists()
    assert "Nothing to be done" in snakemake(folder, "-c1", HEAD)


def test_the_workflow_runs_in_a_directory_elsewhere(folder):
    snakefile = str(REPO / "workflow/Snakefile")
    snakemake(folder, "-s", snakefile, "--directory", str(folder), "-c2", HEAD)
    assert (folder / HEAD).exists()


def test_folders_of_results_that_an_included_config_names_count(folder):
    (folder / "base.yaml").write_text("pathvars: {results: results/base}\n")
    (folder / "own.yaml").write_text("include: base.yaml\n")
    head = HEAD.replace("results/", "results/base/")
    snakefile = str(REPO / "workflow/Snakefile")
    assert f"output: {head}" in snakemake(folder, "-s", snakefile, "-n", "--configfile", "own.yaml", "--", head)


def test_a_file_of_the_users_own_comes_before_the_shipped_one(folder, monkeypatch):
    from labelbench.common import shipped

    monkeypatch.chdir(folder)
    path = "resources/glyphclip/glyphclip.json"
    assert shipped.find(path) == str(REPO / path)
    (folder / path).parent.mkdir(parents=True)
    (folder / path).write_text("{}")
    assert shipped.find(path) == path
    assert shipped.find("no/such/file") == "no/such/file"
