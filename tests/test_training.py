"""The training loop and the losses of the trainers, against plain references."""

import logging
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import REPO
from labelbench import label_set, proxy, registry, training
from labelbench.trainers import flexmatch, passive

LOG = logging.getLogger("test")


def a_problem(n=300, d=8, classes=4, labelled=24, seed=0):
    """Gaussian classes as float16 embeddings: (clean, weak views, strong views, label set, validation)."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(classes, d))

    def draw(labels, noise=1.0):
        return (centres[labels] + noise * rng.normal(size=(len(labels), d))).astype(np.float16)

    truth, val_labels = rng.integers(classes, size=n), rng.integers(classes, size=100)
    clean = draw(truth)
    views = training.CachedViews([clean + np.float16(0.01), clean], [draw(truth), draw(truth)], "cpu")
    labels = label_set.empty("f", 0).extended(np.arange(labelled), truth[:labelled], 1)
    val = torch.from_numpy(draw(val_labels))
    return clean, views, labels, truth, (lambda: [val], val_labels)


def a_proxy(clean, classes=4, name="linear"):
    x = clean.astype(np.float32)
    return proxy.build({"name": name}, x.mean(0), x.std(0), classes, seed=3)


def fitted(trainer, seed=5, name="linear", **settings):
    clean, views, labels, truth, validation = a_problem()
    model = a_proxy(clean, name=name)
    config = trainer.Config(
        **{"epochs": 6, "min_steps_per_epoch": 10, "patience": 0, "batch_size": 16, "learning_rate": 0.02} | settings
    )
    rng = np.random.default_rng(seed)
    history = training.fit(model, trainer, config, views, labels, len(clean), 4, validation, rng, LOG)
    return model, history, clean, truth


def plain_flexmatch(model, batches, config, num_unlabelled, num_classes):
    """Losses of consecutive steps, written from the paper: counts recomputed over all unlabelled examples each time."""
    prediction = [None] * num_unlabelled
    losses, masks = [], []
    for x, y, at, weak, strong in batches:
        with torch.no_grad():
            q = model(weak).softmax(1)
        sigma = [sum(p == c for p in prediction) for c in range(num_classes)]
        never = sum(p is None for p in prediction)
        beta = [s / max(*sigma, never) for s in sigma]
        total, open_ = 0.0, 0
        for i in range(len(at)):
            c = int(q[i].argmax())
            if float(q[i].max()) >= config.threshold * beta[c] / (2 - beta[c]):
                total = total + F.cross_entropy(model(strong[i : i + 1]), torch.tensor([c]))
                open_ += 1
        for i, where in enumerate(at.tolist()):
            if float(q[i].max()) >= config.threshold:
                prediction[where] = int(q[i].argmax())
        losses.append(F.cross_entropy(model(x), y) + config.unlabelled_weight * total / len(at))
        masks.append(open_ / len(at))
    return losses, masks


def test_flexmatch_loss_is_the_papers():
    rng = torch.Generator().manual_seed(0)
    model = torch.nn.Linear(5, 3)
    with torch.no_grad():
        model.weight.mul_(6)  # confident enough that some predictions pass the threshold and some do not
    config = flexmatch.Config(threshold=0.8, unlabelled_weight=0.7, batch_size=4)
    step = flexmatch.objective(config, num_unlabelled=20, num_classes=3, device="cpu")
    batches = [
        (
            torch.randn(4, 5, generator=rng),
            torch.randint(3, (4,), generator=rng),
            torch.randperm(20, generator=rng)[:12],
            torch.randn(12, 5, generator=rng),
            torch.randn(12, 5, generator=rng),
        )
        for _ in range(12)
    ]
    expected, masks = plain_flexmatch(model, batches, config, 20, 3)
    assert 0.2 < np.mean(masks[3:]) < 0.98  # both outcomes of the mask occur
    for (x, y, at, weak, strong), loss, mask in zip(batches, expected, masks, strict=True):
        got, opened = step(model, training.Batch(x, y, at, weak, strong), progress=1.0)
        assert float(opened) == pytest.approx(mask)
        assert got.item() == pytest.approx(loss.item(), rel=1e-5)
        mine = torch.autograd.grad(got, model.weight)[0]
        theirs = torch.autograd.grad(loss, model.weight)[0]
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_flexmatch_warms_up_and_ramps():
    config = flexmatch.Config(supervised_warmup=0.25, ramp=0.5, threshold=0.5)
    model = torch.nn.Linear(2, 2)
    x, y = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    batch = training.Batch(x, y, torch.arange(4), x, x + 1)
    supervised = F.cross_entropy(model(x), y).item()

    def excess(progress):
        loss, _ = flexmatch.objective(config, 4, 2, "cpu")(model, batch, progress)
        return loss.item() - supervised

    full = excess(1.0)
    assert full > 0
    assert excess(0.1) == 0
    assert excess(0.5) == pytest.approx(full / 2, rel=1e-4)
    assert excess(0.75) == pytest.approx(full, rel=1e-4)


def test_flexmatch_uses_the_unlabelled_examples():
    supervised, _, clean, truth = fitted(passive)
    semi, history, _, _ = fitted(flexmatch, unlabelled_ratio=4, supervised_warmup=0.2)
    x = torch.from_numpy(clean)
    accuracy = {n: float((m(x).argmax(1).numpy() == truth).mean()) for n, m in (("p", supervised), ("f", semi))}
    assert accuracy["f"] > accuracy["p"]
    assert 0 < history[-1]["mask_rate"] <= 1
    assert math.isnan(fitted(passive)[1][-1]["mask_rate"])


@pytest.mark.parametrize("trainer", registry.names("trainers"))
@pytest.mark.parametrize("selector", registry.names("proxies"))
def test_training_is_deterministic_and_seeded(trainer, selector):
    trainer = registry.load("trainers", trainer)
    first, second = fitted(trainer, name=selector)[0], fitted(trainer, name=selector)[0]
    other = fitted(trainer, seed=6, name=selector)[0]
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert not torch.equal(first.head.weight, other.head.weight)


def test_training_learns():
    model, history, clean, truth = fitted(passive, epochs=20)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert float((model(torch.from_numpy(clean)).argmax(1).numpy() == truth).mean()) > 0.7


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


def test_early_stopping_counts_epochs_without_improvement():
    clean, views, labels, _, validation = a_problem()
    config = passive.Config(epochs=60, min_steps_per_epoch=20, learning_rate=0.5, patience=3)
    rng = np.random.default_rng(0)
    history = training.fit(a_proxy(clean), passive, config, views, labels, 300, 4, validation, rng, LOG)
    losses = [epoch["val_loss"] for epoch in history]
    assert len(history) < 60
    assert losses.index(min(losses)) == len(losses) - 4


def test_no_unlabelled_examples_left():
    clean, views, _, truth, validation = a_problem()
    everything = label_set.empty("f", 0).extended(np.arange(300), truth, 1)
    config = flexmatch.Config(epochs=1)
    rng = np.random.default_rng(0)
    history = training.fit(a_proxy(clean), flexmatch, config, views, everything, 300, 4, validation, rng, LOG)
    assert math.isnan(history[0]["mask_rate"])


def test_batches():
    rng = np.random.default_rng(0)
    batches = list(training.passes(10, 4, 5, rng))
    assert [len(b) for b in batches] == [4, 4, 2, 4, 4]
    assert sorted(np.concatenate(batches[:3])) == list(range(10))
    stream = training.cycle(10, 4, rng)
    for _ in range(20):
        first, second = next(stream), next(stream)  # two whole batches of one permutation
        assert len(set(first) | set(second)) == 8


def test_epoch_e_uses_augmentation_seed_e_modulo_n():
    arrays = [np.full((3, 2), k, np.float16) for k in range(5)]
    views = training.CachedViews(arrays, [a + 100 for a in arrays], "cpu")
    for epoch in range(12):
        assert views.weak(np.array([1]), epoch)[0, 0] == epoch % 5
        weak, strong = views.pair(np.array([0, 2]), epoch)
        assert (weak == epoch % 5).all()
        assert (strong == 100 + epoch % 5).all()


def test_adamw_is_torchs():
    torch.manual_seed(0)
    ours = torch.nn.Linear(5, 3)
    theirs = torch.nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    optimisers = training.AdamW(list(ours.parameters()), 0.1), torch.optim.AdamW(theirs.parameters(), weight_decay=0.1)
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


@pytest.mark.parametrize("job", ["train_proxy.py", "select_batch.py"])
def test_short_jobs_do_not_import_what_is_slow(job):
    """Imports of a proxy job and a training step; torch's compiler alone would double its start-up."""
    code = (
        "import re, sys, logging, numpy as np\n"
        f"for line in open('workflow/scripts/{job}'):\n"
        "    if re.match(r'\\s*(from|import) ', line): exec(line.strip())\n"
        "import torch\n"
        "from labelbench import training\n"
        "from labelbench.trainers import flexmatch\n"
        "model = torch.nn.Linear(2, 2)\n"
        "model(torch.ones(1, 2)).sum().backward()\n"
        "training.AdamW(list(model.parameters()), 0.1).step(0.1)\n"
        "slow = {'torch._dynamo', 'torchvision', 'open_clip', 'timm', 'pandas', 'sklearn', 'scipy', 'matplotlib'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(REPO / "workflow/scripts")},
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_learning_rate_warms_up_and_follows_the_cosine():
    factors = [training.learning_rate_factor(s, 100, 0.1) for s in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10] == 1
    assert factors[99] == pytest.approx(math.cos(7 * math.pi * 89 / (16 * 90)))


def test_proxy_file_round_trip(tmp_path):
    model, _, clean, _ = fitted(passive, name="shallow")
    proxy.save(tmp_path / "p.safetensors", model, {"name": "shallow"}, "abc")
    again = proxy.load(tmp_path / "p.safetensors")
    x = torch.from_numpy(clean)
    assert torch.equal(again(x), model(x))
    (tmp_path / "p.safetensors").write_bytes((tmp_path / "p.safetensors").read_bytes()[:50])
    with pytest.raises(proxy.UserError, match="not a readable proxy"):
        proxy.load(tmp_path / "p.safetensors")
