"""What is trained in each round: proxies, the encoder itself, or both in turn; and the trainers that need images."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from conftest import REPO, configure, copy_workflow, snakemake
from labelbench.common import jobs, torchvision_cpu  # noqa: F401
from labelbench.common.errors import UserError
from labelbench.data import dataset_file  # noqa: F401
from labelbench.data.label_set import read as read_labels
from labelbench.data.views import Config as ViewsConfig
from labelbench.data.views import make_views
from labelbench.embedding import embeddings, images  # noqa: F401
from labelbench.embedding.encoders import open_clip as open_clip_encoder
from labelbench.embedding.encoders import timm as timm_encoder
from labelbench.training import proxy  # noqa: F401
from labelbench.training.trainers import linear_probe_then_finetune, lora
from test_interruption import job_processes

torch.set_num_threads(1)
GLYPHCLIP = REPO / "resources/glyphclip/glyphclip"
RUNS = "results/runs/digits/glyphclip"
SHORT = {"epochs": 1, "min_steps_per_epoch": 2, "batch_size": 8}


def a_study(selectors, rounds, every, **run):
    """Overlay: these selectors on the digits, one trial, everything as small as it can be."""
    trainers = {"linear": ["flexmatch"], "blend": ["flexmatch"], "finetune": ["flexmatch_images"]}
    return {
        "run": {
            "datasets": ["digits"],
            "selectors": selectors,
            "trainers": {name: trainers[name] for name in selectors},
            "strategies": ["random", "margin"],
            "trials": 1,
            "replicates": 0,
            "finetune": {"trainers": ["flexmatch_images", "passive_images"], "rounds": "last"},
            **run,
        },
        "budgets": {"default": {"initial": 20, "batches": [5], "rounds": rounds}},
        "augmentations": 1,
        "selectors": {"blend": {"refresh": {"every": every, "trainer": "flexmatch_images"}}},
        "trainers": {"flexmatch": {"epochs": 2}, "flexmatch_images": SHORT, "passive_images": SHORT},
    }


# The DAG. Its jobs are played by a script that does nothing but write what the rule promises.

STUB = "from pathlib import Path\n\nfor path in snakemake.output:\n    Path(path).write_text('made')\n"


@pytest.fixture(scope="module")
def planned_workflow(tmp_path_factory):
    repo = copy_workflow(tmp_path_factory.mktemp("planned") / "repo")
    for script in (repo / "workflow/scripts").glob("*.py"):
        script.write_text(STUB)
    configure(repo, a_study(["linear", "blend", "finetune"], rounds=5, every=2))
    return repo


def planned(repo, *arguments):
    """What the next run would do: the inputs of each job, by (rule, selector, strategy, round)."""
    found = {}
    for block in re.split(r"\n(?=(?:local)?rule )", snakemake(repo, "-n", "--quiet", "progress", *arguments)):
        rule, inputs, wildcards = (
            re.search(pattern, block) for pattern in (r"^(?:local)?rule (\w+):", r"input: (.*)", r"wildcards: (.*)")
        )
        if rule and wildcards and "selector=" in wildcards[1]:
            at = dict(w.split("=") for w in wildcards[1].split(", "))
            model = [at["model"]] if "model" in at else []
            found[rule[1], at["selector"], at["strategy"], int(at["round"]), *model] = inputs[1].split(", ")
    return found


@pytest.fixture(scope="module")
def everything(planned_workflow):
    return planned(planned_workflow)


def test_a_blend_refreshes_in_time_for_later_rounds(everything):
    refreshed = {key[2:] for key in everything if key[0] == "refresh"}
    assert refreshed == {(strategy, round_) for strategy in ("random", "margin") for round_ in (2, 4)}


def test_proxies_and_selections_use_the_last_refresh_before_them(everything):
    own, run = "results/embeddings/digits/glyphclip", f"{RUNS}/blend-flexmatch/margin/trial0"
    for round_, place in ((2, own), (3, f"{run}/round02/refresh"), (4, f"{run}/round02/refresh"), (5, None)):
        place = place or f"{run}/round04/refresh"
        inputs = everything["train_proxy", "blend", "margin", round_]
        assert {f"{place}/clean.h5", f"{place}/aug0.h5"} <= set(inputs)
        if round_ < 5:  # and the proxy is looked at on what it was trained on
            assert f"{place}/clean.h5" in everything["select_batch", "blend", "margin", round_ + 1]


def test_without_a_blend_nothing_changes(everything):
    own, run = "results/embeddings/digits/glyphclip", f"{RUNS}/linear-flexmatch/margin/trial0"
    mine = {key: inputs for key, inputs in everything.items() if key[1] == "linear"}
    assert len(mine) == 1 + 2 * 4 * 2 + 2 * 2  # round 1, proxies and selections of four rounds, two fine-tunes each
    dataset = "results/datasets/digits.h5"
    labels = f"{run}/round03/labels.h5"
    assert mine["train_proxy", "linear", "margin", 3] == [dataset, labels, f"{own}/clean.h5", f"{own}/aug0.h5"]
    assert mine["select_batch", "linear", "margin", 4] == [
        dataset,
        labels,
        f"{run}/round03/proxy.safetensors",
        f"{own}/clean.h5",
    ]


def test_the_encoder_takes_the_proxys_place(everything):
    assert ("train_proxy", "finetune", "margin", 2) not in everything
    before = f"{RUNS}/finetune-flexmatch_images/margin/trial0/round03"
    inputs = everything["select_batch", "finetune", "margin", 4]
    assert {f"{before}/proxy.safetensors", f"{before}/features.h5"} <= set(inputs)
    # Round 1 is trained once, and random waits for no model.
    assert [key for key in everything if key[0] == "finetune_round" and key[3] == 1] == [
        ("finetune_round", "finetune", "initial", 1)
    ]
    assert everything["select_batch", "finetune", "random", 4] == [
        "results/datasets/digits.h5",
        f"{RUNS}/finetune-flexmatch_images/random/trial0/round03/labels.h5",
    ]


def test_a_model_is_not_trained_twice(everything):
    metrics = f"{RUNS}/finetune-flexmatch_images/margin/trial0/round05/metrics.json"
    assert metrics in everything["finetune", "finetune", "margin", 5, "flexmatch_images"]
    assert metrics not in everything["finetune", "finetune", "margin", 5, "passive_images"]
    # The last round of a blend refreshes nothing.
    assert not any("metrics" in path for path in everything["finetune", "blend", "margin", 5, "flexmatch_images"])


def test_a_change_reruns_what_follows_from_it(planned_workflow, everything):
    snakemake(planned_workflow, "-c2", "--quiet", "all")
    assert planned(planned_workflow) == {}
    # The blend's own trainer, which no other selector has.
    changed = {"selectors": {"blend": {"refresh": {"trainer": "passive_images"}}}}
    configure(planned_workflow, changed)
    jobs = set(planned(planned_workflow))
    assert {key[1] for key in jobs} == {"blend"}
    assert {key[2:] for key in jobs if key[0] == "refresh"} == {(s, r) for s in ("random", "margin") for r in (2, 4)}
    assert min(key[3] for key in jobs if key[0] == "train_proxy") == 3
    assert {key[2:4] for key in jobs if key[0] == "select_batch"} == {("margin", 4), ("margin", 5)}
    # Another interval: round 2 refreshes no more, round 3 does.
    configure(planned_workflow, {"selectors": {"blend": {"refresh": {"trainer": "flexmatch_images", "every": 3}}}})
    jobs = set(planned(planned_workflow))
    assert {key[1] for key in jobs} == {"blend"}
    assert {key[3] for key in jobs if key[0] == "refresh"} == {3}
    assert {key[3] for key in jobs if key[0] == "train_proxy"} == {3, 4, 5}
    # Another strategy finds what the encoder's first round has left.
    configure(planned_workflow, a_study(["linear", "blend", "finetune"], rounds=5, every=2))
    configure(planned_workflow, {"run": {"strategies": ["random", "margin", "confidence"]}})
    jobs = set(planned(planned_workflow))
    assert {key[2] for key in jobs} == {"confidence"}
    assert ("finetune_round", "finetune", "confidence", 2) in jobs


# Real jobs.


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """A finished study of two rounds in which round 1 refreshes the embeddings of round 2."""
    repo = copy_workflow(tmp_path_factory.mktemp("selected") / "repo")
    configure(repo, a_study(["blend", "finetune"], rounds=2, every=1, strategies=["margin"]))
    configure(repo, {"run": {"finetune": {"trainers": ["flexmatch_images"], "rounds": "all"}}})
    snakemake(repo, "-c2")
    return repo


def record(repo, place):
    return json.loads((repo / RUNS / place / "metrics.json").read_text())


def test_a_round_leaves_its_head_and_features(selected):
    dataset = dataset_file.read(selected / "results/datasets/digits.h5")
    run = selected / RUNS / "finetune-flexmatch_images/margin/trial0/round02"
    features = embeddings.read(run / "features.h5", "pool", dataset.fingerprint)
    model, labels = proxy.load(run / "proxy.safetensors"), read_labels(run / "labels.h5", dataset)
    assert torch.equal(model.features(torch.from_numpy(features)), torch.from_numpy(features).float())
    predicted = model(torch.from_numpy(features)).detach().argmax(1).numpy()
    found = record(selected, "finetune-flexmatch_images/margin/trial0/round02")
    assert found["stage"] == "proxy"
    truth = dataset.splits["pool"].labels
    # The features have gone through float16.
    assert found["metrics"]["pool"]["pool_model_accuracy"] == pytest.approx((predicted == truth).mean(), abs=2e-3)
    assert len(labels.index) == 25


def test_refreshed_embeddings_are_another_encoders(selected):
    dataset = dataset_file.read(selected / "results/datasets/digits.h5")
    own = selected / "results/embeddings/digits/glyphclip"
    refreshed = selected / RUNS / "blend-flexmatch/initial/trial0/round01/refresh"
    for file, name in (("clean.h5", "pool"), ("clean.h5", "test"), ("aug0.h5", "weak"), ("aug0.h5", "strong")):
        before, after = (embeddings.read(place / file, name, dataset.fingerprint) for place in (own, refreshed))
        assert before.shape == after.shape
        assert 0 < np.abs(before.astype(float) - after).mean() < np.abs(before.astype(float)).mean()
    cost = json.loads((refreshed / "cost.json").read_text())
    assert cost["embed_seconds"] > 0
    assert 0 < cost["wait_seconds"] < cost["train_seconds"]


def test_a_model_that_is_taken_over_is_the_one_that_would_be_trained(selected):
    trained = record(selected, "blend-flexmatch/margin/trial0/round02/finetune-flexmatch_images")
    run = "finetune-flexmatch_images/{}/finetune-flexmatch_images"
    taken = record(selected, run.format("initial/trial0/round01"))
    refreshed = record(selected, "blend-flexmatch/initial/trial0/round01/finetune-flexmatch_images")
    assert (taken["stage"], taken["model"]) == (trained["stage"], trained["model"]) == ("finetune", "flexmatch_images")
    assert taken["metrics"] == refreshed["metrics"]  # by two selectors, on the same labels of round 1
    history = selected / RUNS / run.format("initial/trial0/round01") / "history.csv"
    assert len(list(csv.DictReader(history.open()))) == 1


def test_a_killed_finetune_goes_on_where_it_was(selected):
    """On the labels of a finished study, with more epochs, so that there is time to kill."""
    configure(selected, {"trainers": {"passive_images": {"epochs": 8, "min_steps_per_epoch": 6}}})
    place = f"{RUNS}/finetune-flexmatch_images/margin/trial0/round02/finetune-passive_images"
    results = ("metrics.json", "history.csv")
    command = [*(f"{place}/{name}" for name in results), "-c1", "--quiet", "all"]
    snakemake(selected, *command)
    undisturbed = [(selected / place / name).read_bytes() for name in results]
    for name in results:
        (selected / place / name).unlink()
    run = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *command],
        cwd=selected,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint = selected / place / "checkpoint.safetensors"
    while not checkpoint.exists():
        assert run.poll() is None
        time.sleep(0.01)
    for process in job_processes(selected):
        os.kill(process, signal.SIGKILL)
    run.wait(timeout=60)
    assert checkpoint.exists()
    assert not (selected / place / "metrics.json").exists()
    snakemake(selected, *command)
    log = selected / "logs" / place.removeprefix("results/")
    assert "go on after epoch" in log.with_suffix(".log").read_text()
    assert [(selected / place / name).read_bytes() for name in results] == undisturbed
    assert not checkpoint.exists()


# Views in worker processes.


def drawn(workers, plan, epoch=0, first_step=0):
    source = np.arange(50)[::-1]
    dataset = SimpleNamespace(splits={"pool": SimpleNamespace(source=source)}, fingerprint="f")
    encoder = open_clip_encoder.load(
        open_clip_encoder.Config("glyphclip", f"{GLYPHCLIP}.safetensors", f"{GLYPHCLIP}.json")
    )

    def image(at):
        return Image.fromarray(np.random.default_rng(at).integers(0, 256, (8, 8), dtype=np.uint8))

    data = images.Data(dataset, encoder, image, "cpu", workers)
    views = images.LiveViews(data, make_views(encoder.transform, ViewsConfig()), "0/0/1")
    batches = list(views.batches(epoch, first_step, plan))
    assert views.wait_seconds > 0
    return batches


def test_live_views_depend_on_neither_workers_nor_epochs():
    steps = np.random.default_rng(0).integers(0, 50, (6, 9))
    plan = [(step[:3], step[3:] if number else None) for number, step in enumerate(steps)]
    batches = drawn(0, plan)
    assert batches[0][1:] == (None, None)
    assert [tuple(view.shape) for view in batches[1]] == [(3, 3, 28, 28), (6, 3, 28, 28), (6, 3, 28, 28)]
    in_workers, resumed = drawn(2, plan), drawn(0, plan[4:], epoch=7, first_step=4)
    for mine, theirs in [*zip(batches, in_workers, strict=True), *zip(batches[4:], resumed, strict=True)]:
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    # The same image at another step, and in another role, is another view.
    again = drawn(0, [(np.array([5]), np.array([5])), (np.array([5]), None)])
    assert len({tuple(view.flatten().tolist()) for step in again for view in step if view is not None}) == 4


# Trainers that prepare the model.


def an_encoder(name):
    if name == "glyphclip":
        config = open_clip_encoder.Config(
            "glyphclip", f"{GLYPHCLIP}.safetensors", f"{GLYPHCLIP}.json", projection=False
        )
        return open_clip_encoder.load(config)
    return timm_encoder.load(timm_encoder.Config(image_size=32))


@pytest.mark.parametrize(("name", "adapted"), [("glyphclip", 4 * 4), ("efficientnet_lite0", 32)])
def test_lora_trains_low_rank_changes_of_frozen_matrices(name, adapted):
    encoder = an_encoder(name)
    side = encoder.transform(Image.new("RGB", (8, 8))).shape[-1]
    x = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    model = images.classifier(encoder, None, 3, seed=0)
    before = model(x).detach(), encoder.embed(x)
    frozen = {name: value.clone() for name, value in model[0].named_parameters()}
    config = lora.Config(rank=2, alpha=6.0)
    lora.prepare(config, model, None, None, np.random.default_rng(0))
    torch.testing.assert_close(model(x), before[0])  # B is zero
    matrices = [m for m in model.modules() if hasattr(m, "parametrizations")]
    assert len(matrices) == adapted
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 2 * adapted + 2  # A and B of each, and the head
    model(x).square().sum().backward()
    with torch.no_grad():
        for parameter in trained:
            parameter -= 0.1 * parameter.grad.sign()
    assert not torch.allclose(model(x), before[0], atol=1e-3)
    assert not torch.allclose(encoder.embed(x), before[1], atol=1e-3)  # selectors embed with the adapted encoder
    for module in matrices:
        (tensor, (adapter,)) = next((n, list(m)) for n, m in module.parametrizations.items())
        change = getattr(module, tensor) - module.parametrizations[tensor].original
        torch.testing.assert_close(change.flatten(1), 3 * adapter.b @ adapter.a, rtol=1e-3, atol=1e-5)
        assert torch.linalg.matrix_rank(change.flatten(1), atol=1e-4) <= 2
    for key, value in model[0].named_parameters():
        if not key.endswith((".a", ".b")):
            assert torch.equal(value, frozen[re.sub(r"parametrizations\.(\w+)\.original", r"\1", key)])


def test_the_linear_probe_is_the_penalised_logistic_regression():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=40)
    features = 5 * (rng.normal(size=(3, 6))[labels] + rng.normal(size=(40, 6)))
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(6, 4))  # nobody has seen the fourth class
    config = linear_probe_then_finetune.Config(probe_penalty=0.1)
    linear_probe_then_finetune.prepare(config, model, lambda: torch.from_numpy(features).float(), labels, None)
    length = np.sqrt(np.square(features).sum(1).mean())
    x = torch.from_numpy(np.c_[features, np.ones(40)] / length)
    weight = torch.cat([model[1].weight, model[1].bias[:, None]], 1).detach().double() * length
    weight.requires_grad_()
    loss = torch.nn.functional.cross_entropy(x @ weight.T, torch.from_numpy(labels), reduction="sum")
    loss = loss + 0.1 / 2 * weight.square().sum()
    # At the minimum, where the gradient vanishes.
    assert torch.autograd.grad(loss, weight)[0].abs().max() < 1e-3
    reference = LogisticRegression(C=10, fit_intercept=False, tol=1e-8, max_iter=10_000).fit(x.numpy(), labels)
    assert (x @ weight.T).argmax(1).tolist() == reference.predict(x.numpy()).tolist()


# GPUs of one machine.


def test_jobs_spread_over_the_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    places = [jobs._free_places(3) for _ in range(7)]  # each as another process would see it
    assert [next(place) for place in places] == [0, 1, 2, 0, 1, 2, 0]


def test_a_place_on_a_gpu_is_free_again_when_its_job_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    code = "import sys; from labelbench.common.jobs import _free_places\n"
    code += "print(next(_free_places(2)), flush=True); sys.stdin.read()"
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPO / "workflow/scripts"),
        "TMPDIR": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "4,7",
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    job = subprocess.Popen([sys.executable, "-c", code], **pipes)
    assert job.stdout.readline() == "0\n"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,4")  # numbered otherwise
    assert next(jobs._free_places(2)) == 0
    assert next(jobs._free_places(2)) == 0  # a second place there: card 4 is taken by the job, card 7 by the line above
    job.kill()
    job.wait()
    assert next(jobs._free_places(2)) == 1


def a_job(**resources):
    return SimpleNamespace(resources=resources)


@pytest.mark.parametrize(("count", "expected"), [(0, "cpu"), (1, "cuda")])
def test_one_gpu_needs_no_agreement(monkeypatch, count, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert jobs.device(a_job(gpu=0)) == expected


def test_several_gpus_are_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert [jobs.device(a_job(gpu=0)), jobs.device(a_job(gpu=0))] == ["cuda:0", "cuda:1"]
    assert chosen == [0, 1]


def test_under_slurm_a_job_uses_a_gpu_if_it_asked_for_one(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [jobs.device(a_job(**asked)) for asked in ({}, {"gpu": 0}, {"gres": "lscratch:20"})] == ["cpu"] * 3
    assert [jobs.device(a_job(**asked)) for asked in ({"gpu": 1}, {"gpu": 0, "gres": "gpu:a100:1"})] == ["cuda"] * 2


def test_under_slurm_a_gpu_that_cannot_be_used_is_no_cpu(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert jobs.device(a_job(gpu=1)) == "cpu" and not caplog.text  # on one machine, as ever
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(jobs, "NVIDIA", tmp_path / "nvidia0")
    assert jobs.device(a_job(gpu=1)) == "cpu" and "IT COMPUTES ON THE CPU" in caplog.text
    jobs.NVIDIA.write_text("")
    with pytest.raises(UserError, match="(?s)asked Slurm for a GPU.*nvidia-smi.*LABELBENCH_GPU=0"):
        jobs.device(a_job(gpu=1))
    assert jobs.device(a_job(gpu=0)) == "cpu"
