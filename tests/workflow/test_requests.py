"""What jobs ask a scheduler for, at the size of digits and of ImageNet, and on clusters of several kinds."""

import json
import re

import numpy as np
import pytest
import yaml

from conftest import configure, snakemake
from labelbench.data import dataset_file
from labelbench.planning import plan, requests
from labelbench.selection import memory
from studies import a_study

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
    expected = {"gpu": "1", "threads": "16", "mem_mb": "6000", "runtime": str(30 + 50_000 // 6000 + 80_000 // 600)}
    assert {key: found[key] for key in expected} == expected


def test_first_labels_by_features_ask_for_what_a_selection_does(fresh):
    a_dataset(fresh, IMAGENET)
    target = ("results/initial/digits/glyphclip/trial0/labels.h5", "--allowed-rules", "initial_labels", "embed")
    assert asked(fresh, *target)["initial_labels"]["gpu"] == "0"  # random: it looks at nothing
    configure(fresh, {"run": {"initial": "typiclust"}, "strategies": {"typiclust": None}})
    found = asked(fresh, *target)["initial_labels"]
    assert found["gpu"] == "1" and int(found["mem_mb"]) > 9_000 and int(found["runtime"]) > 240


def test_memory_follows_the_encoder_and_the_classes(selecting):
    """A checkpoint of 4 GB is in the memory of the host several times; BAIT holds matrices of classes × features."""
    path = selecting / "results/datasets/digits.h5"
    names, pool = tuple(f"class {k}" for k in range(24)), 50_000
    split = {
        n: dataset_file.Split(labels=np.zeros(k, int), source=np.arange(k)) for n, k in (("pool", pool), ("val", 9))
    }
    path.unlink()
    dataset_file.write(path, dataset_file.Dataset(split, names, ("{}",), "0"), "{}", "0")
    with (selecting / "resources/huge.safetensors").open("wb") as file:
        file.truncate(4_000_000_000)
    configure(selecting, {"encoders": {"glyphclip": {"pretrained": "resources/huge.safetensors", "like": ""}}})
    configure(selecting, {"run": {"strategies": ["bait_topc"]}, "strategies": {"bait_topc": None}})
    images = path.stat().st_size // 16  # embeddings are not there yet, so their width is taken for 512
    found = asked(selecting, f"{RUN}/linear-flexmatch/bait_topc/trial0/round02/labels.h5", *BUY)
    threads = int(found["embed"]["threads"])
    assert threads == 16
    assert int(found["embed"]["mem_mb"]) == requests.asked(requests.of_images(threads, 4000, 2), requests.COMPUTING)
    entry = plan.resolve("strategies", {"bait_topc": {}})["bait_topc"]
    estimate = requests.of_selection(entry, memory.Sizes(images - 20, 20, 24, 512, 5))
    assert int(found["select_batch"]["mem_mb"]) == requests.asked(estimate) > 1.5 * 5 * 8 * (23 * 512) ** 2 / 1e6
    found = asked(selecting, f"{RUN}/finetune-flexmatch_images/bait_topc/trial0/round01/proxy.safetensors", *BUY)
    estimate = requests.of_images(threads, 4000, 5)
    assert int(found["finetune_round"]["mem_mb"]) == requests.asked(estimate, requests.COMPUTING + 4000) > 30_000


def test_a_model_that_is_copied_asks_for_no_gpu(selecting):
    configure(selecting, {"run": {"finetune": {"trainers": ["flexmatch_images", "passive_images"], "rounds": "last"}}})

    def final(selector, model):
        run = f"{RUN}/{selector}/margin/trial0/round03/finetune-{model}/metrics.json"
        return asked(selecting, run, *BUY, "finetune")["finetune"]

    copied = final("finetune-flexmatch_images", "flexmatch_images")
    assert [copied[key] for key in ("gpu", "runtime", "threads", "mem_mb")] == ["0", "10", "1", "1000"]
    trained = final("finetune-flexmatch_images", "passive_images")
    assert [trained[key] for key in ("gpu", "runtime", "threads")] == ["1", "1080", "16"]


def test_an_encoder_asks_for_its_gpus_and_as_many_times_the_rest(selecting):
    target = f"{RUN}/finetune-flexmatch_images/margin/trial0/round01/proxy.safetensors"
    a_dataset(selecting, 100_000)
    one = asked(selecting, target, *BUY)["finetune_round"]
    configure(selecting, {"encoders": {"glyphclip": {"end_to_end": {"gpus": 4}}}})
    four = asked(selecting, target, *BUY)["finetune_round"]
    assert (one["gpu"], one["threads"], four["gpu"], four["threads"]) == ("1", "16", "4", "32")  # of 64, by -c32
    assert int(four["mem_mb"]) == 4 * int(one["mem_mb"]) and four["runtime"] == one["runtime"]
    assert one["nodes"] == four["nodes"] == "1"
    found = asked(selecting, target, *BUY, env={"LABELBENCH_GPU": "0"})["finetune_round"]
    assert (found["gpu"], found["threads"]) == ("0", "2")


def test_threads_and_decoded_images_follow_the_gpu_and_not_the_dataset(selecting):
    target = f"{RUN}/finetune-flexmatch_images/margin/trial0/round01/proxy.safetensors"

    def found(env, images):
        a_dataset(selecting, images)
        job = asked(selecting, target, *BUY, env=env)["finetune_round"]
        return job["gpu"], job["threads"], job["decoded_mb"]

    assert found({}, 1797) == ("1", "16", "4000")
    fewer = {"LABELBENCH_GPU_THREADS": "6", "LABELBENCH_DECODED_MB": "9000"}
    assert found(fewer, IMAGENET) == ("1", "6", "9000")
    assert found({"LABELBENCH_GPU": "0"}, 1797) == ("0", "1", "0")
    assert found({"LABELBENCH_GPU": "0"}, IMAGENET) == ("0", "2", "0")


def test_a_cluster_without_gpus_is_asked_for_none(selecting):
    target = f"{RUN}/finetune-flexmatch_images/margin/trial0/round02/proxy.safetensors"
    for env, gpus in (({}, {"0", "1"}), ({"LABELBENCH_GPU": "0"}, {"0"})):
        assert {job["gpu"] for job in asked(selecting, target, *BUY, env=env).values()} == gpus


def test_qos_by_environment(fresh):
    output = snakemake(fresh, "--profile", "slurm", "-n", "results/datasets/digits.h5", env={"LABELBENCH_QOS": "mine"})
    assert "qos=mine" in output


def test_jobs_ask_for_what_their_dataset_needs(fresh):
    dataset = fresh / "results/datasets/digits.h5"
    dataset.parent.mkdir(parents=True)
    view, model = "results/embeddings/digits/glyphclip/clean.h5", "results/runs/digits/glyphclip/linear-flexmatch"
    # A file of the size that a dataset of 1,797 images has, and one of the size of ImageNet's; the job that makes it is
    # not asked for.
    for images, expected in (
        (1797, {"mem_mb": "3900", "threads": "1", "gpu": "0", "runtime": "30"}),
        (1_331_167, {"mem_mb": "6000", "threads": "16", "gpu": "1", "runtime": "473"}),
    ):
        with dataset.open("wb") as file:
            file.truncate(16 * images)
        found = asked(fresh, view, "--allowed-rules", "embed")["embed"]
        assert {key: found[key] for key in expected} == expected
    again = asked(fresh, view, "--attempt", "2", "--allowed-rules", "embed")["embed"]
    assert (again["mem_mb"], again["runtime"], again["threads"]) == ("12000", "946", "16")
    rules = ["--allowed-rules", "select_batch", "train_proxy", "embed", "initial_labels"]
    target = f"{model}/margin/trial0/round02/proxy.safetensors"
    large = asked(fresh, target, *rules)["select_batch"]
    with dataset.open("wb") as file:
        file.truncate(16 * 1797)
    small = asked(fresh, target, *rules)["select_batch"]
    assert (small["mem_mb"], small["gpu"]) == ("1500", "0")
    assert int(large["mem_mb"]) > 5_000 and large["gpu"] == "1"


@pytest.mark.parametrize("name", ["LABELBENCH_ACCOUNT", "LABELBENCH_PARTITION"])
def test_account_and_partition_by_environment(fresh, name):
    output = snakemake(fresh, "--profile", "slurm", "-n", "results/datasets/digits.h5", env={name: "mine"})
    assert f"slurm_{name.removeprefix('LABELBENCH_').lower()}=mine" in output


def test_staged_are_the_datasets_and_weights_of_a_study(fresh):
    snakemake(fresh, "stage", "-c1")
    (staged,) = json.loads((fresh / "results/staged.json").read_text())
    assert staged["encoder"]["model"] == "glyphclip" and len(staged["weights"]) == 64
    assert {path.name for path in (fresh / "results").rglob("*.h5")} == {"digits.h5", "digits_longtail.h5"}


def test_costs_of_a_study(repo):
    output = snakemake(repo, "costs", "-c1", "--quiet", "all")
    jobs = {row[0]: int(row[1]) for row in (line.split() for line in output.splitlines()) if len(row) == 4}
    assert jobs == {"training": 28, "selection": 24, "fine-tuning": 12, "embedding": 6, "total": 70}
