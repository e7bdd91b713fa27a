"""The published datasets through the whole workflow."""

import csv

import pytest

import replicas
from conftest import configure, copy_workflow, snakemake
from labelbench.data import dataset_file


@pytest.mark.slow  # tests/data/test_published_datasets.py reads every replica every day
@pytest.mark.parametrize("studied", [["iwildcam"], ["cifar10", "imagenet"]], ids="-".join)
def test_replicas_through_the_whole_workflow(studied, tmp_path):
    """A study of one dataset of each kind (arrays, folders, a table); the others as far as their dataset file."""
    written = {name: write(tmp_path / "published" / name) for name, write in replicas.ALL.items()}
    repo = copy_workflow(tmp_path / "repo")
    variants = {"imagenet": {"n_class": 10, "pool_size": 60}, "iwildcam": {"n_class": 14}}
    configure(
        repo,
        {
            "run": {
                "datasets": studied,
                "strategies": ["random"],
                "trials": 1,
                "finetune": {"trainers": [], "rounds": ["last"]},
            },
            "budgets": {"default": {"initial": 15, "batches": [5], "rounds": 2}},
            "augmentations": 1,
            "datasets": {name: {**settings, **variants.get(name, {})} for name, settings in written.items()},
            "trainers": {"flexmatch": {"epochs": 2, "min_steps_per_epoch": 2}},
        },
    )
    snakemake(repo, "-c2", "all", *(f"results/datasets/{name}.h5" for name in written))
    for name in written:
        splits = dataset_file.read(repo / f"results/datasets/{name}.h5").splits
        assert ("test_ood" in splits) == (name in ("iwildcam", "fmow"))
    with (repo / "results/tables/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "proxy" and row["round"] == "2"]
    assert {row["dataset"] for row in rows} == set(studied)
    for name in studied:
        values = {(row["split"], row["metric"]): float(row["value"]) for row in rows if row["dataset"] == name}
        grouped = {split for split, metric in values if metric == "worst_group_accuracy"}
        assert grouped == ({"val", "test", "test_ood"} if name == "iwildcam" else set())
        for split in ("val", "test"):
            assert values[split, "worst_class_accuracy"] <= values[split, "balanced_accuracy"]
        assert (repo / f"results/tables/final_{name}.csv").is_file()
