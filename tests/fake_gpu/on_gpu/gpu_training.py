"""Trainings on the pretended GPU: the CPU's results, no wait of the host inside a step, views of any size."""

import json

import numpy as np
import pytest
import torch
from gpu import DEVICE

import small_trainings
from fakegpu import GPU
from labelbench.common import registry
from labelbench.training import proxy, training

CACHED = [n for n in registry.names("trainers") if not hasattr(registry.load("trainers", n), "IMAGES_ONLY")]
SETTINGS = {
    "passive": [
        {"mixup": 0.5},
        {"optimiser": "sgd"},
        {"optimiser": "adam", "max_gradient_norm": 0.1},
        {"class_weights": True, "label_smoothing": 0.1},
    ]
}
CASES = [(name, settings) for name in CACHED for settings in [{}, *SETTINGS.get(name, [])]]


def problem_on(device):
    """The problem of `small_trainings` with its views on a device: clean, views, labels, truth, validation."""
    clean, views, labels, truth, (batches, val_labels) = small_trainings.a_problem()
    weak, strong = ([view.numpy() for view in part] for part in (views._weak, views._strong))
    views = training.CachedViews(weak, strong, device)
    return clean, views, labels, truth, (lambda: (x.to(device) for x in batches()), val_labels)


def fitted(name, device, views=None, epochs=3, selector="linear", checkpoint=None, **settings):
    """(model, history) of a training on a device."""
    clean, own, labels, truth, validation = problem_on(device)
    trainer = registry.load("trainers", name)
    model = small_trainings.a_proxy(clean, name=selector).to(device)
    settings = {"min_steps_per_epoch": 10, "batch_size": 16, "learning_rate": 0.02, "precision": "float32"} | settings
    history = training.fit(
        model, trainer, trainer.Config(epochs=epochs, **settings), views or own, labels, len(clean), 4, validation,
        np.random.default_rng(5), small_trainings.LOG, device=device, truth=truth, checkpoint=checkpoint, identity="a",
    )  # fmt: skip
    return model, history


def numbers(history):
    return np.array([list(epoch.values()) for epoch in history])


def weights(model):
    return [value.detach().cpu() for value in model.state_dict().values()]


@pytest.mark.parametrize(("name", "settings"), CASES, ids=[f"{n}-{json.dumps(s)}" for n, s in CASES])
def test_a_training_is_the_cpus(name, settings):
    (mine, history), (theirs, other) = (fitted(name, device, **settings) for device in (DEVICE, "cpu"))
    np.testing.assert_allclose(numbers(history), numbers(other), rtol=1e-4, atol=1e-5)
    for a, b in zip(weights(mine), weights(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_in_bfloat16_it_is_close():
    (_, history), (_, other) = (fitted("flexmatch", d, precision="auto", selector="shallow") for d in (DEVICE, "cpu"))
    assert not np.array_equal(numbers(history), numbers(other))
    np.testing.assert_allclose(history[0]["train_loss"], other[0]["train_loss"], rtol=0.1)


def waits_of_steps(name, **more):
    """Waits of the host per step, by line: those that grow with the steps of a training, not with its epochs alone."""
    counts = []
    for steps in (10, 40):
        with GPU.counted() as found:
            fitted(name, DEVICE, epochs=2, min_steps_per_epoch=steps, **more)
        counts.append(found.syncs)
    few, many = counts
    return {line: (many[line] - few[line]) / 60 for line in many if many[line] > few[line]}


@pytest.mark.parametrize("name", CACHED)
def test_the_host_never_waits_inside_a_step(name):
    assert waits_of_steps(name) == {}


def test_a_planted_wait_inside_a_step_is_found(monkeypatch):
    step = training.Optimiser.step

    def planted(self, rate):
        step(self, rate + 0 * float(self.parameters[0].detach().sum()))

    monkeypatch.setattr(training.Optimiser, "step", planted)
    assert list(waits_of_steps("passive").values()) == [1.0]


STREAMED = [("passive", {}), ("flexmatch", {"supervised_warmup": 0.25})]


@pytest.mark.parametrize(("name", "settings"), STREAMED, ids=["passive", "flexmatch"])
def test_views_that_stream_from_the_host_are_the_same(name, settings, monkeypatch):
    mine, history = fitted(name, DEVICE, **settings)
    monkeypatch.setattr(training, "RESIDENT", 0.0)
    monkeypatch.setattr(training, "_PIECE", 20_000)  # several pieces an epoch, the last of them shorter
    assert problem_on(DEVICE)[1].streamed
    streamed, again = fitted(name, DEVICE, **settings)
    assert str(history) == str(again)
    assert all(torch.equal(a, b) for a, b in zip(weights(mine), weights(streamed), strict=True))
    assert waits_of_steps(name, **settings) == {}


def test_views_need_no_room_on_the_gpu(monkeypatch):
    problem = small_trainings.a_problem(n=3000, d=32)
    monkeypatch.setattr(small_trainings, "a_problem", lambda: problem)
    monkeypatch.setattr(training, "_PIECE", 40_000)
    size = sum(view.nbytes for part in (problem[1]._weak, problem[1]._strong) for view in part)
    with GPU.memory() as all_of_them:
        fitted("flexmatch", DEVICE)
    assert all_of_them.peak > size
    with GPU.memory(limit=size // 2) as few:
        fitted("flexmatch", DEVICE)
    assert few.peak < size // 2
    with GPU.memory(limit=30_000), pytest.raises(torch.OutOfMemoryError):
        fitted("flexmatch", DEVICE)


def test_a_prediction_is_made_in_parts_where_memory_is_short(caplog):
    model = torch.nn.Sequential(torch.nn.Linear(8, 500), torch.nn.ReLU(), torch.nn.Linear(500, 3))
    x = torch.randn(64, 8)
    expected = training.predict(model, [x])
    model.to(DEVICE)
    with GPU.memory(limit=100_000):
        found = training.predict(model, (part.to(DEVICE) for part in x.split(32)))
    torch.testing.assert_close(found, expected)
    assert caplog.text.count("in pieces 1/2 as large") == 1  # and so from the start for the second batch


class Stop(Exception):
    pass


def test_a_training_resumes(tmp_path):
    undisturbed = fitted("freematch", DEVICE, selector="shallow", epochs=4)
    _, views, *_ = problem_on(DEVICE)

    class Interrupted:
        def batches(self, epoch, first_step, plan):
            for number, batch in enumerate(views.batches(epoch, first_step, plan)):
                if (epoch, number) == (2, 5):
                    raise Stop
                yield batch

    more = {"selector": "shallow", "epochs": 4, "checkpoint": tmp_path / "c"}
    with pytest.raises(Stop):
        fitted("freematch", DEVICE, views=Interrupted(), **more)
    model, history = fitted("freematch", DEVICE, **more)
    assert str(history) == str(undisturbed[1])
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(undisturbed[0]), strict=True))


def test_a_proxy_is_saved_and_loaded_and_no_gpus_generator_is_touched(tmp_path):
    clean = small_trainings.a_problem()[0]
    seeded = len(GPU.seeded)
    model = small_trainings.a_proxy(clean, name="shallow").to(DEVICE)
    assert len(GPU.seeded) == seeded
    proxy.save(tmp_path / "proxy", model, {"name": "shallow"}, "code")
    x = torch.from_numpy(clean).to(DEVICE)
    loaded = proxy.load(tmp_path / "proxy").to(DEVICE)
    assert torch.equal(loaded(x).cpu(), model(x).detach().cpu())
