"""What jobs ask a scheduler for, at the size of digits and of ImageNet, and on clusters of several kinds."""

import json
import re

import numpy as np
import pytest
import yaml

from conftest import configure, snakemake
from labelbench.data import dataset_file
from labelbench.evidence import costs
from test_selectors import a_study

IMAGENET = 1_331_167
RUN = "results/runs/digits/glyphclip"
BUY = ["--allowed-rules", "select_batch", "train_proxy", "finetune_round", "initial_labels", "embed", "zero_shot_head"]


def asked(repo, *args, env=None):
    """Resources and threads of the jobs of a dry run, a dict of texts by rule; the last job's where a rule has many."""
    output = snakemake(repo, "-n", "-c32", *args, env=env)
    found = {}
    for rule, job in re.findall(r"^rule (\w+):$(.*?)^(?=\S)", output + "\nend", re.MULTILINE | re.DOTALL):
        resources = dict(item.split("=") for item in re.search(r"resources: (.*)", job)[1].split(", "))
        threads = re.search(r"threads: (\d+)", job)
        found[rule] = resources | {"threads": threads[1] if threads else "1"}
    return found


def a_dataset(repo, images):
    """A file of the size that a dataset of so many images has."""
    path = repo / "results/datasets/digits.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(16 * images)


def partitions(repo, **limits):
    path = repo / "slurm/partitions.yaml"
    path.write_text(yaml.safe_dump({"partitions": {name: {"max_runtime": t} for name, t in limits.items()}}))


@pytest.fixture
def selecting(fresh):
    """The tiny workflow with selection by proxies and by the encoder itself, at ImageNet's size."""
    configure(fresh, a_study(["linear", "finetune"], rounds=3, every=2))
    a_dataset(fresh, IMAGENET)
    return fresh


def a_round(repo, selector, *args):
    """Minutes that the jobs of one round of a run ask for, of which selection is one, together."""
    names = {"linear": ("flexmatch", "train_proxy"), "finetune": ("flexmatch_images", "finetune_round")}
    trainer, rule = names[selector]
    target = f"{RUN}/{selector}-{trainer}/margin/trial0/round02/proxy.safetensors"
    found = asked(repo, target, *args, *BUY)
    return int(found["select_batch"]["runtime"]) + int(found[rule]["runtime"])


@pytest.mark.parametrize("selector", ["linear", "finetune"])
def test_a_round_fits_in_a_day(selecting, selector):
    partitions(selecting, day="1d", short="1h")
    for attempt in ("1", "2", "3"):
        assert a_round(selecting, selector, "--attempt", attempt) <= 24 * 60
    partitions(selecting, long="3-00:00:00")
    assert 24 * 60 < a_round(selecting, selector, "--attempt", "3") <= 72 * 60


def test_retries_ask_for_no_more_than_the_longest_partition_allows(fresh):
    a_dataset(fresh, IMAGENET)
    view = ("results/embeddings/digits/glyphclip/clean.h5", "--allowed-rules", "embed", "--attempt", "3")
    partitions(fresh, day="1d", short="10h")
    assert asked(fresh, *view)["embed"]["runtime"] == str(3 * 473)
    assert asked(fresh, *view, env={"LABELBENCH_PARTITION": "short"})["embed"]["runtime"] == "600"
    partitions(fresh, short="1h")  # it is refused at once, not killed three times
    assert asked(fresh, *view)["embed"]["runtime"] == "473"


def test_a_zero_shot_head_asks_for_its_prompts(fresh):
    """At ImageNet's size, where it encodes 80 prompts of 1000 classes."""
    path = fresh / "results/datasets/digits.h5"
    path.parent.mkdir(parents=True)
    splits = {"pool": 1_281_167, "val": 25_000, "test": 25_000}
    split = {n: dataset_file.Split(labels=np.zeros(k, int), source=np.arange(k)) for n, k in splits.items()}
    names, templates = tuple(f"class {k}" for k in range(1000)), tuple(f"{k} {{}}" for k in range(80))
    dataset_file.write(path, dataset_file.Dataset(split, names, templates, "0"), "{}", "0")
    head = "results/embeddings/digits/glyphclip/zero_shot_head.safetensors"
    found = asked(fresh, head, "--allowed-rules", "zero_shot_head")["zero_shot_head"]
    expected = {"gpu": "1", "threads": "16", "mem_mb": "64000", "runtime": str(30 + 50_000 // 6000 + 80_000 // 600)}
    assert {key: found[key] for key in expected} == expected


def test_first_labels_by_features_ask_for_what_a_selection_does(fresh):
    a_dataset(fresh, IMAGENET)
    target = ("results/initial/digits/glyphclip/trial0/labels.h5", "--allowed-rules", "initial_labels", "embed")
    assert asked(fresh, *target)["initial_labels"]["gpu"] == "0"  # random: it looks at nothing
    configure(fresh, {"run": {"initial": "typiclust"}, "strategies": {"typiclust": None}})
    found = asked(fresh, *target)["initial_labels"]
    assert found["gpu"] == "1" and int(found["mem_mb"]) > 10_000 and int(found["runtime"]) > 240


def test_a_model_that_is_copied_asks_for_no_gpu(selecting):
    configure(selecting, {"run": {"finetune": {"trainers": ["flexmatch_images", "passive_images"], "rounds": "last"}}})

    def final(selector, model):
        run = f"{RUN}/{selector}/margin/trial0/round03/finetune-{model}/metrics.json"
        return asked(selecting, run, *BUY, "finetune")["finetune"]

    copied = final("finetune-flexmatch_images", "flexmatch_images")
    assert [copied[key] for key in ("gpu", "runtime", "threads", "mem_mb")] == ["0", "10", "1", "1000"]
    trained = final("finetune-flexmatch_images", "passive_images")
    assert [trained[key] for key in ("gpu", "runtime", "threads")] == ["1", "1080", "16"]


def test_a_cluster_without_gpus_is_asked_for_none(selecting):
    target = f"{RUN}/finetune-flexmatch_images/margin/trial0/round02/proxy.safetensors"
    for env, gpus in (({}, {"0", "1"}), ({"LABELBENCH_GPU": "0"}, {"0"})):
        assert {job["gpu"] for job in asked(selecting, target, *BUY, env=env).values()} == gpus


def test_qos_by_environment(fresh):
    output = snakemake(fresh, "--profile", "slurm", "-n", "results/datasets/digits.h5", env={"LABELBENCH_QOS": "mine"})
    assert "qos=mine" in output


@pytest.mark.parametrize("trained", ["", "refresh/"])
def test_a_model_that_is_copied_costs_nothing(tmp_path, trained):
    def leave(name, seconds):
        path = tmp_path / "runs/d/e/s-t/margin/trial0/round02" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"train_seconds": seconds, "threads": 1, "gpus": 1}))

    leave(f"{trained}cost.json", 3600)
    leave("finetune-t/cost.json", 3600)
    leave("finetune-other/cost.json", 1800)
    rows = {row[0]: row[1:] for row in (line.split() for line in costs.summary(tmp_path).splitlines()[1:])}
    stage = "refreshing" if trained else "training"
    assert rows[stage] == ["1", "1.000", "1.000"] and rows["fine-tuning"] == ["1", "0.500", "0.500"]
