"""The training loop: batches, optimisers, schedules, early stopping, records."""

import csv
import gc
import json
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import REPO
from labelbench.common.classifier import Classifier
from labelbench.common.errors import UserError
from labelbench.training import proxy, results, training
from labelbench.training.trainers import flexmatch, passive
from small_trainings import LOG, a_problem, a_proxy, accuracy, fitted


def test_flexmatch_uses_the_unlabelled_examples():
    supervised, history, clean, truth = fitted(passive)
    semi, semi_history, _, _ = fitted(flexmatch, unlabelled_ratio=4, supervised_warmup=0.2)
    assert accuracy(semi, clean, truth) > accuracy(supervised, clean, truth)
    assert 0 < semi_history[-1]["mask_rate"] <= 1
    assert math.isnan(history[-1]["mask_rate"])


def test_training_learns():
    model, history, clean, truth = fitted(passive, epochs=20)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert accuracy(model, clean, truth) > 0.7


def test_best_state_on_validation_loss_is_kept():
    clean, views, labels, _, (batches, val_labels) = a_problem()
    model = a_proxy(clean)
    config = passive.Config(epochs=30, min_steps_per_epoch=20, learning_rate=0.5, patience=0)
    rng = np.random.default_rng(0)
    history = training.fit(model, passive, config, views, labels, 300, 4, (batches, val_labels), rng, LOG)
    losses = [epoch["val_loss"] for epoch in history]
    assert losses.index(min(losses)) < len(losses) - 1  # it did over-fit, so keeping the best matters
    final = float(F.cross_entropy(training.predict(model, batches()), torch.from_numpy(val_labels)))
    assert final == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize(("examples", "classes"), [(1, 2), (256, 10), (257, 3), (5000, 7)])
def test_validation_holds_no_logits_and_is_the_cross_entropy_to_the_bit(examples, classes):
    logits = 5 * torch.randn(examples, classes, generator=torch.Generator().manual_seed(examples))
    labels = torch.randint(classes, (examples,), generator=torch.Generator().manual_seed(0)).numpy()

    def held():
        """Numbers in all tensors that could be logits, those of other tests among them."""
        tensors = [found for found in gc.get_objects() if type(found) is torch.Tensor]
        return sum(found.numel() for found in tensors if found.ndim == 2 and found.shape[1] == classes)

    before = held()

    def batches():
        for begin in range(0, examples, 256):
            assert held() - before <= 10 * 256 * classes
            yield logits[begin : begin + 256].clone()

    found = training._validated(torch.nn.Identity(), (batches, labels), "float32")
    assert found == {
        "val_loss": float(F.cross_entropy(logits, torch.from_numpy(labels))),
        "val_accuracy": float((logits.argmax(1) == torch.from_numpy(labels)).float().mean()),
    }


def test_early_stopping_counts_epochs_without_improvement():
    _, history, *_ = fitted(passive, epochs=60, min_steps_per_epoch=20, learning_rate=0.5, patience=3)
    losses = [epoch["val_loss"] for epoch in history]
    assert len(history) < 60
    assert losses.index(min(losses)) == len(losses) - 4


def test_early_stopping_on_accuracy_or_not_at_all():
    problem = a_problem(separation=0.7)
    settings = {"problem": problem, "epochs": 30, "min_steps_per_epoch": 20, "learning_rate": 0.2, "patience": 4}
    batches, val_labels = problem[4]

    def kept(model):
        logits = training.predict(model, batches())
        return float((logits.argmax(1).numpy() == val_labels).mean())

    model, history, *_ = fitted(passive, early_stopping="accuracy", **settings)
    scores = [epoch["val_accuracy"] for epoch in history]
    assert scores.index(max(scores)) == len(scores) - 5
    assert kept(model) == pytest.approx(max(scores))
    model, history, *_ = fitted(passive, early_stopping="none", **settings)
    assert len(history) == 30
    assert kept(model) == pytest.approx(history[-1]["val_accuracy"])
    assert history[-1]["val_accuracy"] < max(epoch["val_accuracy"] for epoch in history)


@pytest.mark.parametrize("early_stopping", ["loss", "accuracy", "none"])
def test_divergence_is_an_error(early_stopping):
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        fitted(passive, learning_rate=1e30, optimiser="sgd", early_stopping=early_stopping)


def test_fewer_labels_than_a_batch_are_trained_on():
    _, history, *_ = fitted(flexmatch, problem=a_problem(labelled=3), batch_size=128, min_steps_per_epoch=1, epochs=4)
    assert [epoch["steps"] for epoch in history] == [1, 2, 3, 4]


def test_batches():
    rng = np.random.default_rng(0)
    assert [training.bounds(n, 4, 2) for n in (0, 1, 4, 5, 6, 9)] == [
        [0], [0, 1], [0, 4], [0, 5], [0, 4, 6], [0, 4, 9]
    ]  # fmt: skip
    batches = list(training.passes(10, 4, 5, rng))
    assert [len(b) for b in batches] == [4, 4, 2, 4, 4]
    assert sorted(np.concatenate(batches[:3])) == list(range(10))
    stream = training.cycle(10, 4, rng)
    for _ in range(20):
        first, second = next(stream), next(stream)  # two whole batches of one permutation
        assert len(set(first) | set(second)) == 8


def test_epoch_e_uses_augmentation_seed_e_modulo_n():
    arrays = [np.arange(6, dtype=np.float16).reshape(3, 2) + 10 * k for k in range(5)]
    views = training.CachedViews(arrays, [a + 100 for a in arrays], "cpu")
    plan = [(np.array([1]), None), (np.array([2, 0]), np.array([0, 2])), (np.array([1]), np.array([1]))]
    for epoch in range(12):
        seed = 10 * (epoch % 5)
        first, second, third = views.batches(epoch, 0, plan)
        assert first[0].tolist() == [[2 + seed, 3 + seed]]
        assert first[1:] == (None, None)
        assert second[0].tolist() == [[4 + seed, 5 + seed], [seed, 1 + seed]]
        assert second[1].tolist() == [[seed, 1 + seed], [4 + seed, 5 + seed]]
        assert torch.equal(second[2], second[1] + 100)
        assert third[1].tolist() == [[2 + seed, 3 + seed]]


def test_views_are_asked_for_what_a_step_uses():
    clean, views, labels, truth, validation = a_problem()
    plans = []

    class Recorded:
        def batches(self, epoch, first_step, plan):
            plans.append((epoch, first_step, plan))
            return views.batches(epoch, first_step, plan)

    problem = clean, Recorded(), labels, truth, validation
    fitted(flexmatch, problem=problem, epochs=4, supervised_warmup=0.375, unlabelled_ratio=2)
    assert [(epoch, first) for epoch, first, _ in plans] == [(0, 0), (1, 10), (2, 20), (3, 30)]
    steps = [step for _, _, plan in plans for step in plan]
    assert [unlabelled is None for _, unlabelled in steps] == [True] * 15 + [False] * 25
    for labelled, unlabelled in steps:
        assert set(labelled) <= set(labels.index)
        if unlabelled is not None:
            assert len(set(unlabelled)) == 32
            assert not set(unlabelled) & set(labels.index)


@pytest.mark.parametrize(
    ("name", "torchs"),
    [
        ("adamw", lambda p: torch.optim.AdamW(p, weight_decay=0.1)),
        ("adam", lambda p: torch.optim.Adam(p, weight_decay=0.1)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, nesterov=True, weight_decay=0.1)),
    ],
)
def test_optimisers_are_torchs(name, torchs):
    torch.manual_seed(0)
    ours = torch.nn.Linear(5, 3)
    theirs = torch.nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    optimisers = training.Optimiser(name, list(ours.parameters()), 0.1), torchs(theirs.parameters())
    for k in range(5):
        x = torch.randn(4, 5)
        for model in (ours, theirs):
            model(x).square().sum().backward()
        optimisers[0].step(0.01 * (k + 1))
        optimisers[1].param_groups[0]["lr"] = 0.01 * (k + 1)
        optimisers[1].step()
        optimisers[1].zero_grad()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reference)


def test_gradients_are_clipped_to_a_norm():
    """With SGD and one step, the change of the weights is the learning rate times (1 + momentum) times the norm."""
    settings = {"epochs": 1, "min_steps_per_epoch": 1, "batch_size": 64, "optimiser": "sgd", "weight_decay": 0}
    before = torch.cat([p.detach().flatten() for p in a_proxy(a_problem()[0]).parameters()])

    def change(**more):
        model = fitted(passive, learning_rate=0.1, **settings, **more)[0]
        return (torch.cat([p.detach().flatten() for p in model.parameters()]) - before).norm().item()

    assert change(max_gradient_norm=0.25) == pytest.approx(0.1 * 1.9 * 0.25, rel=1e-4)
    assert change() > 2 * change(max_gradient_norm=0.25)
    assert change(max_gradient_norm=1e6) == change()


def test_bfloat16_is_near_and_not_the_same():
    full, half = (fitted(flexmatch, precision=p, name="shallow", supervised_warmup=0.3) for p in ("auto", "bfloat16"))
    assert all(p.dtype == torch.float32 for p in half[0].parameters())
    assert half[1][0]["train_loss"] == pytest.approx(full[1][0]["train_loss"], rel=0.05)
    assert half[1][0]["train_loss"] != full[1][0]["train_loss"]
    assert accuracy(half[0], *half[2:]) == pytest.approx(accuracy(full[0], *full[2:]), abs=0.1)


def test_logits_are_float32_whatever_computes_the_features():
    """In bfloat16, logits between 16 and 32 are multiples of 0.125, and the largest is often several classes'."""
    torch.manual_seed(0)
    backbone, head = torch.nn.Linear(16, 32), Classifier(32, 1000)
    with torch.no_grad():
        head.weight.mul_(100)
    model, x = torch.nn.Sequential(backbone, head), torch.randn(200, 16)
    features = training.predict(backbone, [x], "bfloat16")
    assert not torch.equal(features, training.predict(backbone, [x]))
    logits = training.predict(model, [x], "bfloat16")
    assert torch.equal(logits, training.predict(head, [features]))  # what a fine-tune's metrics are computed from
    top = logits.topk(2, 1).values
    assert top.max() > 16
    assert (top[:, 0] > top[:, 1]).all()
    assert torch.unique(logits).numel() > 0.9 * logits.numel()


def test_early_stopping_sees_what_the_metrics_see():
    clean, views, labels, _, validation = a_problem()
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), Classifier(16, 4))
    config, rng = passive.Config(epochs=3, precision="bfloat16", learning_rate=0.02), np.random.default_rng(0)
    halves = (lambda: [batch.float() for batch in validation[0]()], validation[1])
    seen = SimpleNamespace()
    seen.batches = lambda *at: (tuple(None if v is None else v.float() for v in step) for step in views.batches(*at))
    history = training.fit(model, passive, config, seen, labels, len(clean), 4, halves, rng, LOG)
    features = training.predict(model[0], halves[0](), "bfloat16")
    loss = -training.predictions(model[1], [features], validation[1]).log_likelihood.mean()
    assert loss == pytest.approx(min(epoch["val_loss"] for epoch in history), rel=1e-6)


def test_true_labels_of_the_pool_change_a_diagnostic_and_nothing_else():
    _, _, _, truth, _ = a_problem()
    wrong = (truth + 1) % 4
    runs = [fitted(flexmatch, truth=t, supervised_warmup=0.2) for t in (truth, wrong, None)]
    for model, history, *_ in runs[1:]:
        assert torch.equal(model.head.weight, runs[0][0].head.weight)
        for epoch, first in zip(history, runs[0][1], strict=True):
            same = {key: value for key, value in epoch.items() if key != "pseudo_label_accuracy"}
            assert str(same) == str({key: first[key] for key in same})
    last = [history[-1]["pseudo_label_accuracy"] for _, history, *_ in runs]
    assert last[0] > 0.5 > last[1]
    assert math.isnan(last[2])


def test_records_are_means_over_the_epoch(monkeypatch):
    """Counted again from what the objective returned."""
    taken, original = [], flexmatch.objective

    def recorded(config, problem):
        objective, state = original(config, problem)

        def step(*arguments):
            taken.append((arguments[1], objective(*arguments)))
            return taken[-1][1]

        return step, state

    monkeypatch.setattr(flexmatch, "objective", recorded)
    _, _, labels, truth, _ = problem = a_problem()
    _, history, *_ = fitted(flexmatch, problem=problem, truth=truth, threshold=0.5, epochs=2, unlabelled_weight=0.5)
    unlabelled = np.setdiff1d(np.arange(300), labels.index)
    for epoch, record in enumerate(history):
        steps = taken[10 * epoch : 10 * epoch + 10]
        right = open_ = total = 0
        for batch, step in steps:
            for at, weight, pseudo in zip(batch.unlabelled, step.weights, step.pseudo, strict=True):
                total += 1
                open_ += float(weight)
                right += float(weight) * (truth[unlabelled[at]] == int(pseudo))
        assert record["mask_rate"] == pytest.approx(open_ / total)
        assert record["pseudo_label_accuracy"] == pytest.approx(right / open_)
        assert record["train_loss"] == pytest.approx(np.mean([s.loss.item() for _, s in steps]), rel=1e-5)
        parts = record["supervised_loss"] + 0.5 * record["unsupervised_loss"]
        assert record["train_loss"] == pytest.approx(parts, rel=1e-5)
    assert history[0]["learning_rate"] == pytest.approx(0.02 * math.cos(7 * math.pi * 9 / (16 * 20)))


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_pseudo_labels_of_images_of_unknown_truth_are_neither_right_nor_wrong(share):
    """Half or all of the pool is of unknown class: training is the same, and the accuracy is that of the others."""
    _, _, labels, truth, _ = problem = a_problem()
    unknown = np.where(np.arange(300) < share * 300, -1, truth)
    found = [
        fitted(flexmatch, problem=problem, truth=known, threshold=0.5, epochs=2)[1][-1]["pseudo_label_accuracy"]
        for known in (truth, unknown)
    ]
    if share == 1:
        assert math.isnan(found[1])
    else:
        assert found[1] > 0.75 * found[0] > 0.3


@pytest.mark.parametrize("job", ["train_proxy.py", "select_batch.py"])
def test_short_jobs_do_not_import_what_is_slow(job):
    """Imports of a proxy job and a training step; torch's compiler alone would double its start-up."""
    code = (
        "import re, sys, logging, numpy as np\n"
        f"for line in open('workflow/scripts/{job}'):\n"
        "    if re.match(r'\\s*(from|import) ', line): exec(line.strip())\n"
        "import torch\n"
        "from labelbench.training import training\n"
        "from labelbench.training.trainers import flexmatch\n"
        "model = torch.nn.Linear(2, 2)\n"
        "model(torch.ones(1, 2)).sum().backward()\n"
        "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n"
        "for name in ('adamw', 'adam', 'sgd'):\n"
        "    model(torch.ones(1, 2)).sum().backward()\n"
        "    training.Optimiser(name, list(model.parameters()), 0.1).step(0.1)\n"
        "slow = {'torch._dynamo', 'torchvision', 'open_clip', 'timm', 'pandas', 'sklearn', 'scipy', 'matplotlib'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(REPO / "workflow/scripts")},
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_learning_rate_warms_up_and_follows_the_schedule():
    def factors(steps=100, **settings):
        config = passive.Config(**settings)
        return [training.learning_rate_factor(config, s, steps) for s in range(steps)]

    found = factors(lr_warmup=0.1)
    assert found[0] == pytest.approx(1 / 11)
    assert found[10] == 1
    assert found[99] == pytest.approx(math.cos(7 * math.pi * 89 / (16 * 90)))
    found = factors(lr_warmup=0.1, schedule="cosine")
    assert found[55] == pytest.approx(0.5)
    assert found[99] == pytest.approx((1 + math.cos(math.pi * 89 / 90)) / 2)
    assert factors(lr_warmup=0.5, schedule="constant")[50:] == [1] * 50


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.9])
def test_warm_up_ends_within_any_training(warmup):
    for steps in (10, 40, 500):
        found = [training.learning_rate_factor(passive.Config(lr_warmup=warmup), s, steps) for s in range(steps)]
        assert max(found) > 0.9


def test_warm_restarts_are_torchs():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=5, T_mult=3)
    config = passive.Config(schedule="warm_restarts", first_period=5, period_factor=3)
    for step in range(70):
        assert training.learning_rate_factor(config, step, 1000) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()


def test_proxy_file_round_trip(tmp_path):
    model, _, clean, _ = fitted(passive, name="shallow")
    proxy.save(tmp_path / "p.safetensors", model, {"name": "shallow"}, "abc")
    again = proxy.load(tmp_path / "p.safetensors")
    x = torch.from_numpy(clean)
    assert torch.equal(again(x), model(x))
    (tmp_path / "p.safetensors").write_bytes((tmp_path / "p.safetensors").read_bytes()[:50])
    with pytest.raises(UserError, match="not a readable proxy"):
        proxy.load(tmp_path / "p.safetensors")


def test_history_is_a_table_of_the_epochs(tmp_path):
    _, history, *_ = fitted(flexmatch, epochs=4, supervised_warmup=0.3)
    names = ("dataset", "encoder", "selector", "trainer", "strategy")
    at = SimpleNamespace(**dict.fromkeys(names, "x"), trial="0", round="01")
    output = SimpleNamespace(metrics=tmp_path / "metrics.json", history=tmp_path / "history.csv")
    job = SimpleNamespace(wildcards=at, output=output, params=SimpleNamespace(spec="{}", code="c"))
    results.write(job, a_problem()[2], 0, "proxy", {}, history, {})
    with output.history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["steps"] for row in rows] == ["10", "20", "30", "40"]
    assert [row["mask_rate"] == "" for row in rows] == [True, False, False, False]
    for row, epoch in zip(rows, history, strict=True):
        assert list(row) == list(epoch)
        assert all(text == "" or float(text) == epoch[key] for key, text in row.items())
    masks = [epoch["mask_rate"] for epoch in history[1:]]
    assert json.loads(output.metrics.read_text())["metrics"][""]["mask_rate"] == pytest.approx(np.mean(masks))
