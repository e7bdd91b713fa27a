"""The paper's studies: their configs, all of them as one, and in miniature."""

import re
from pathlib import Path

import pytest
import yaml

import replicas
from conftest import REPO, configure, copy_workflow, merged, snakemake
from labelbench.planning import plan

PAPER = sorted(path.stem for path in (REPO / "config/paper").glob("*.yaml"))


@pytest.fixture
def config():
    return yaml.safe_load((REPO / "config/config.yaml").read_text())


def paper(name):
    """A file of config/paper, alone and as the overlay that it is."""
    overlay = plan.included([f"config/paper/{name}.yaml"])
    return overlay, merged(yaml.safe_load((REPO / "config/config.yaml").read_text()), overlay)


@pytest.mark.parametrize("name", [name for name in PAPER if name != "definitions"])
def test_the_papers_studies_are_valid(name, config, monkeypatch):
    monkeypatch.chdir(REPO)
    overlay, whole = paper(name)
    plan.check(whole, REPO / "workflow/schemas/config.schema.yaml")
    study = plan.study(whole)
    for grid in study.grids:
        for dataset in grid.datasets:
            # Each has its own settings: those of another dataset would be an oversight.
            own = dataset.split("_")[0]
            used = [t for trainers in grid.trainers.values() for t in trainers] + grid.finetune_trainers
            assert all(trainer.startswith(own) for trainer in used if name not in ("caltech256", "svhn"))
            assert all(("coca" in trainer) == ("coca_vitb32" in grid.encoders) for trainer in used)
    # Under the name of a definition of the default study they would inherit its settings.
    for section in ("datasets", "encoders", "trainers"):
        assert not set(overlay[section]) & set(config[section])


def test_a_study_of_the_paper_on_its_data(fresh):
    settings = {
        "datasets": {"cifar10": replicas.cifar10(fresh / "cifar10")},
        "run": {"grids": {"cifar10": {"trials": 1}}},
    }
    settings["budgets"] = {"cifar10": {"rounds": 2}}
    (fresh / "here.yaml").write_text(yaml.safe_dump(settings))
    text = snakemake(fresh, "-n", "--quiet", "rules", "--configfile", "config/paper/cifar10.yaml", "here.yaml")
    assert "finetune_round" in text


def test_all_of_the_papers_studies_are_one(monkeypatch):
    monkeypatch.chdir(REPO)
    _, whole = paper("all")
    study = plan.study(whole)
    assert list(whole["run"]["grids"]) == [Path(file).stem for file in whole["include"]]
    runs = {
        (d, e, s, t, a, n)
        for g in study.grids
        for d in g.datasets
        for e in g.encoders
        for s in g.selectors
        for t in g.trainers[s]
        for a in g.strategies
        for n in range(g.trials)
    }
    # CIFAR-10: 8 strategies of 3 selectors, and 8 without pseudo-labels; 7 of 3 in smaller batches, and on three more
    # datasets; ImageNet: 6 of 3, with two encoders and in two trials.
    assert len(runs) == 4 * (8 * 3 + 8 + 4 * 7 * 3) + 2 * (2 * 6 * 3)


@pytest.mark.slow
def test_the_jobs_of_all_of_the_papers_studies(tmp_path):
    """On folders that look like the data."""
    repo, names = copy_workflow(tmp_path / "repo"), ("cifar10", "cifar100", "imagenet", "iwildcam", "fmow")
    datasets = {name: getattr(replicas, name)(repo / name) for name in names}
    datasets["cifar10_batches_of_200"] = datasets["cifar10"]
    (repo / "here.yaml").write_text(yaml.safe_dump({"datasets": datasets}))
    text = snakemake(repo, "-n", "--quiet", "rules", "--configfile", "config/paper/all.yaml", "here.yaml")
    jobs = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}
    assert jobs["total"] == 13_991
    assert sum(n for name, n in jobs.items() if name.startswith("finetune")) == 4936


def test_the_miniature_has_every_table_and_figure(fresh):
    text = snakemake(fresh, "-n", "--configfile", "config/paper_miniature.yaml")
    place = "results/paper_miniature"
    for setting in ("cifar10", "cifar10_small_batches", "cifar100", "imagenet", "iwildcam", "fmow"):
        tables = [f"tables/{name}" for name in ("final", "comparisons", "selectors", "costs")]
        figures = [f"figures/{name}" for name in ("curves", "finals", "selectors", "savings", "differences")]
        for name in (*tables, *figures):
            format = "tex" if name.startswith("tables") else "pdf"
            assert f"{place}/{name}_like_{setting}.{format}" in text
    for name in ("tables/wins.csv", "tables/ranks.csv", "figures/ranks.svg", "tables/findings.html"):
        assert f"{place}/{name}" in text
    for setting in ("cifar10", "cifar10_small_batches"):
        assert f"{place}/figures/finetuned_like_{setting}.svg" in text
    for encoder in ("glyphclip", "glyphclip_projected"):
        assert f"{place}/runs/like_imagenet/{encoder}/finetune-flexmatch_images/margin/trial1/round03" in text
    assert f"{place}/runs/like_cifar10/glyphclip/finetune-passive_images/margin/trial1/round03" in text


def test_a_run_that_is_in_two_grids_is_run_once(fresh):
    grids = {
        "a": {
            "datasets": ["digits"],
            "strategies": ["random", "margin"],
            "finetune": {"trainers": [], "rounds": "last"},
        },
        "b": {"datasets": ["digits"], "strategies": ["margin", "badge"]},
    }
    configure(fresh, {"run": {"grids": grids, "trials": 1}})
    text = snakemake(fresh, "-n", "--quiet", "rules")
    jobs = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}
    # One first round, two further ones for each of three strategies; only b's are fine-tuned.
    assert (jobs["train_proxy"], jobs["select_batch"], jobs["finetune"]) == (1 + 3 * 2, 3 * 2, 2)
