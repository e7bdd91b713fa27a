"""A change reruns the jobs it invalidates, and no others."""

import json
import re

import h5py
import pytest
import yaml

from conftest import configure, snakemake
from studies import (
    count,
    edit,
    library,
    models,
    planned,
    values,
)


def test_finished_is_finished(repo):
    assert planned(repo) == []
    assert "Nothing to be done" in snakemake(repo, "-c1")


def test_checkout_reruns_nothing(repo):
    for path in repo.rglob("*"):
        if path.is_file() and not {"results", ".snakemake"} & set(path.relative_to(repo).parts):
            path.touch()
    assert planned(repo) == []


@pytest.mark.parametrize("spelling", ["3.0e-3", "0.003", "3.0e-03"])
def test_same_value_in_another_spelling_reruns_nothing(repo, spelling):
    text = yaml.safe_load((repo / "config/config.yaml").read_text())
    text["trainers"]["flexmatch"]["learning_rate"] = "@"
    (repo / "config/config.yaml").write_text(yaml.safe_dump(text).replace("'@'", spelling))
    assert planned(repo) == []


def test_default_written_out_reruns_nothing(repo):
    configure(repo, {"trainers": {"flexmatch": {"threshold": 0.95, "unlabelled_weight": 1}}})
    assert planned(repo) == []


def test_training_setting_reruns_proxies_and_what_follows(repo):
    configure(repo, {"trainers": {"flexmatch": {"learning_rate": 1e-3}}})
    jobs = planned(repo)
    # 2 datasets × 2 trials × (round 1 + 3 strategies × rounds 2 and 3)
    assert count(jobs)["train_proxy"] == 28
    assert not {"prepare_dataset", "embed", "initial_labels"} & set(count(jobs))
    # random's label sets depend on no model, so they and their fine-tunes stand.
    assert {w["strategy"] for rule, w in jobs if rule in ("select_batch", "finetune")} == {"margin", "badge"}


def test_swapped_values_rerun(repo):
    configure(repo, {"trainers": {"flexmatch": {"supervised_warmup": 0.4, "ramp": 0.25}}})
    assert count(planned(repo))["train_proxy"] == 28


def test_finetune_setting_reruns_only_finetunes(repo):
    configure(repo, {"trainers": {"flexmatch_images": {"learning_rate": 1e-4}}})
    assert count(planned(repo)) == {"finetune": 12}


def test_strategy_code_reruns_only_that_strategy(repo):
    edit(library(repo, "selection/strategies/badge.py"), "def select(", "UNUSED = 1\n\n\ndef select(")
    jobs = planned(repo)
    assert values(jobs, "strategy") == {"badge"}
    # Round 1's proxies were trained before any strategy chose anything: they stand.
    assert count(jobs) == {"select_batch": 8, "train_proxy": 8, "finetune": 4}


def test_shared_code_reruns_every_strategy_that_imports_it(repo):
    with library(repo, "selection/strategies/_scores.py").open("a") as file:
        file.write("\nUNUSED = 1\n")
    assert values(planned(repo), "strategy") == {"margin"}


def test_comment_and_docstring_rerun_nothing(repo):
    with library(repo, "training/training.py").open("a") as file:
        file.write("\n# A remark.\n")
    edit(library(repo, "data/oracle.py"), '"""The oracle:', '"""An oracle:')
    assert planned(repo) == []


def test_more_rounds_keep_the_earlier_ones(repo):
    configure(repo, {"budgets": {"default": {"rounds": 4}}})
    jobs = planned(repo)
    assert values(jobs, "round") == {"04"}
    assert count(jobs)["select_batch"] == 12


def test_later_budget_keeps_earlier_rounds(repo):
    configure(repo, {"budgets": {"default": {"batches": [5, 10]}}})
    jobs = planned(repo)
    assert values(jobs, "round") == {"03"}
    assert count(jobs) == {"select_batch": 12, "train_proxy": 12, "finetune": 12}


def test_another_trial_keeps_the_others(repo):
    configure(repo, {"run": {"trials": 3}})
    assert values(planned(repo), "trial") == {"2"}


def test_replicates_are_trained_beside_what_stands(repo):
    configure(repo, {"run": {"replicates": 1}})
    jobs = planned(repo)
    # 2 datasets × 2 trials: the first and the last proxy, and the last fine-tune, of random.
    assert count(jobs) == {"train_proxy_again": 8, "finetune_again": 4}
    assert values(jobs, "strategy") == {"initial", "random"}
    place = repo / "results/runs/digits/glyphclip/linear-flexmatch/random/trial0/round03"
    names = ["metrics.json", "finetune-flexmatch_images/metrics.json"]
    snakemake(repo, "-c1", *(str(place.relative_to(repo) / "replicate1" / name) for name in names))
    for name in names:
        first, again = (json.loads((place / folder / name).read_text()) for folder in ("", "replicate1"))
        assert first["metrics"] != again["metrics"]
        for same in ("num_labels", "settings", "code", "trial"):
            assert first[same] == again[same]


def test_another_dataset_keeps_the_others(repo):
    configure(repo, {"datasets": {"digits_steep": {"name": "digits", "imbalance_ratio": 10}}})
    assert planned(repo) == []  # defined, not yet named under `run`
    configure(repo, {"run": {"datasets": ["digits", "digits_longtail", "digits_steep"]}})
    assert values(planned(repo), "dataset") == {"digits_steep"}


def test_a_view_setting_reruns_the_augmented_embeddings_not_the_clean(repo):
    configure(repo, {"datasets": {"digits": {"views": {"crop_scale": 0.9}}}})
    jobs = planned(repo)
    assert {w["view"] for rule, w in jobs if rule == "embed"} == {"aug0", "aug1"}
    assert values(jobs, "dataset") == {"digits"}


def test_changed_checkpoint_reruns_the_embeddings(repo):
    path = repo / "resources/glyphclip/glyphclip.safetensors"
    path.write_bytes(path.read_bytes()[:-2] + b"\0\0")
    assert count(planned(repo))["embed"] == 6


def test_dropping_a_strategy_reruns_only_tables_and_figures(repo):
    configure(repo, {"run": {"strategies": ["random", "margin"]}})
    jobs = planned(repo)
    assert jobs
    assert models(jobs) == []


def test_new_strategy_is_one_file_and_one_line(repo):
    library(repo, "selection/strategies/last.py").write_text(
        "from dataclasses import dataclass\n\nUSES = ()\n\n\n"
        "@dataclass(frozen=True)\nclass Config:\n    pass\n\n\n"
        "def select(pool, budget, config, rng):\n    return pool.unlabelled[-budget:]\n"
    )
    configure(repo, {"strategies": {"last": None}, "run": {"strategies": ["random", "margin", "badge", "last"]}})
    assert values(planned(repo), "strategy") == {"last"}
    target = "results/runs/digits/glyphclip/linear-flexmatch/last/trial0/round02/labels.h5"
    snakemake(repo, "-c1", target)
    with h5py.File(repo / target) as file:
        assert 999 in file["index"]


def test_touch_accepts_a_change_that_does_not_matter(repo):
    edit(library(repo, "selection/strategies/margin.py"), "def select(", "UNUSED = 1\n\n\ndef select(")
    assert planned(repo)
    snakemake(repo, "-c1", "--touch")
    assert planned(repo) == []


def test_parsing_the_workflow_imports_nothing_heavy(repo):
    # pandas would be one of them, but Snakemake imports its Slurm plugin at every start, and that imports pandas.
    for name in ("torch", "scipy", "sklearn", "matplotlib", "torchvision"):
        (repo / f"{name}.py").write_text(f"raise ImportError('the Snakefile must not import {name}')\n")
    # Not a dry run: comparing params, Snakemake itself imports pandas.
    assert "train_proxy" in snakemake(repo, "--list-rules", env={"PYTHONPATH": str(repo)})


def test_the_catalog_entry_point_runs_the_same_study(repo):
    assert "Nothing to be done" in snakemake(repo, "-n", "-s", "workflow/Snakefile")


@pytest.mark.parametrize("flags", [(), ("--quiet", "rules")])
def test_plans_are_those_of_snakemake_as_published(repo, flags):
    """Of its jobs and reasons, where a setting has changed, an output is gone, and another newer than what follows."""
    configure(repo, {"strategies": {"badge": {"name": "margin"}}})
    runs = repo / "results/runs/digits/glyphclip/linear-flexmatch"
    (runs / "random/trial0/round02/history.csv").unlink()
    labels = runs / "margin/trial1/round02/labels.h5"
    labels.write_bytes(labels.read_bytes())
    plans = [snakemake(repo, "-n", *flags)]
    edit(library(repo, "planning/snakemake_speed.py"), "if not snakemake.__version__.startswith(REPAIRED):", "if True:")
    plans.append(snakemake(repo, "-n", *flags))
    assert "select_batch" in plans[0]
    assert comparable(plans[0]) == comparable(plans[1])


def comparable(plan):
    """The lines of a plan without times and numbers, and in an order; jobs and sets of files come in any.

    Nor with the warning that repairs are off.
    """
    plan = re.sub(r"^.*docs/developing\.md.*\n", "", plan, flags=re.MULTILINE)
    lines = re.sub(r"^\[.*|jobid: .*|Date: .*|Workflow ID: .*", "", plan, flags=re.MULTILINE).splitlines()
    return sorted(sorted(re.findall(r"[^\s,]+", line)) for line in lines)
