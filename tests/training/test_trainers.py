"""The losses of the trainers against slow references written from their papers, and what all trainers must survive."""

import copy
import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.data import label_set
from labelbench.training import training
from labelbench.training.steps import Model
from labelbench.training.trainers import _semi, fixmatch, flexmatch, freematch, passive, pseudolabel, softmatch, uda
from small_trainings import a_problem, accuracy, fitted

EVERY = [name for name in registry.names("trainers") if not hasattr(registry.load("trainers", name), "IMAGES_ONLY")]
SEMI = [name for name in EVERY if issubclass(registry.load("trainers", name).Config, _semi.SemiSupervised)]


def a_setting(labels=(0, 1, 2, 0), num_unlabelled=20, num_classes=3, steps=100, rng=None):
    return training.Problem(torch.tensor(labels), num_unlabelled, num_classes, steps, rng, "cpu")


def a_model(scale=6.0):
    """A linear model from 5 numbers to 3 classes, so steep that some of its predictions are confident and some not."""
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    with torch.no_grad():
        model.weight.mul_(scale)
    return model


def batches(count=12, unlabelled=12, seed=0):
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        weak = torch.randn(unlabelled, 5, generator=rng)
        yield training.Batch(
            torch.randn(4, 5, generator=rng),
            torch.randint(3, (4,), generator=rng),
            torch.randperm(20, generator=rng)[:unlabelled],
            weak,
            weak + 0.3 * torch.randn(unlabelled, 5, generator=rng),
        )


# References: each takes the settings and returns a function of one step's (probabilities of the weak views as lists,
# logits of weak and of strong views, positions) that gives the unlabelled loss, weighted, and each example's weight.


def of_one(logits, target):
    """Cross-entropy of one prediction with a class or a list of probabilities, from its definition."""
    logs = logits - logits.exp().sum().log()
    return -logs[target] if isinstance(target, int) else -sum(p * log for p, log in zip(target, logs, strict=True))


def plain_fixmatch(config):
    def step(q, weak, strong, at):
        mask = [float(max(p) >= config.threshold) for p in q]
        losses = [m * of_one(s, p.index(max(p))) for m, s, p in zip(mask, strong, q, strict=True)]
        return config.unlabelled_weight * sum(losses) / len(q), mask

    return step


def plain_pseudolabel(config):
    fix = plain_fixmatch(config)
    return lambda q, weak, strong, at: fix(q, weak, weak, at)


def plain_uda(config):
    def step(q, weak, strong, at):
        mask = [float(max(p) > config.threshold) for p in q]
        total = 0.0
        for m, s, w in zip(mask, strong, weak, strict=True):
            total = total + m * of_one(s, torch.softmax(w.detach() / config.temperature, 0).tolist())
        return config.unlabelled_weight * total / len(q), mask

    return step


def plain_flexmatch(config, num_unlabelled=20, num_classes=3):
    """Counts are taken anew over all unlabelled examples each time."""
    prediction = [None] * num_unlabelled

    def step(q, weak, strong, at):
        sigma = [sum(p == c for p in prediction) for c in range(num_classes)]
        beta = [s / max(*sigma, sum(p is None for p in prediction)) for s in sigma]
        total, mask = 0.0, []
        for p, s in zip(q, strong, strict=True):
            c = p.index(max(p))
            mask.append(float(max(p) >= config.threshold * beta[c] / (2 - beta[c])))
            total = total + mask[-1] * of_one(s, c)
        for p, where in zip(q, at, strict=True):
            if max(p) >= config.threshold:
                prediction[where] = p.index(max(p))
        return config.unlabelled_weight * total / len(q), mask

    return step


def plain_softmatch(config, momentum, num_classes=3):
    state = {"p": [1 / num_classes] * num_classes, "mu": 1 / num_classes, "var": 1.0}

    def step(q, weak, strong, at):
        state["p"] = [momentum * old + (1 - momentum) * new for old, new in zip(state["p"], np.mean(q, 0), strict=True)]
        aligned = []
        for p in q:
            ratio = [a / b for a, b in zip(p, state["p"], strict=True)] if config.alignment else p
            aligned.append(max(ratio) / sum(ratio))
        state["mu"] = momentum * state["mu"] + (1 - momentum) * np.mean(aligned)
        state["var"] = momentum * state["var"] + (1 - momentum) * np.var(aligned, ddof=1)
        width = state["var"] / config.n_sigma**2
        weights = [math.exp(-((a - state["mu"]) ** 2) / (2 * width)) if a < state["mu"] else 1.0 for a in aligned]
        losses = [w * of_one(s, p.index(max(p))) for w, s, p in zip(weights, strong, q, strict=True)]
        return config.unlabelled_weight * sum(losses) / len(q), weights

    return step


def plain_freematch(config, momentum, num_classes=3):
    state = {"tau": 1 / num_classes, "p": [1 / num_classes] * num_classes, "h": [1 / num_classes] * num_classes}

    def moved(old, new):
        return momentum * old + (1 - momentum) * new

    def step(q, weak, strong, at):
        guess = [p.index(max(p)) for p in q]
        state["tau"] = moved(state["tau"], np.mean([max(p) for p in q]))
        state["p"] = [moved(old, new) for old, new in zip(state["p"], np.mean(q, 0), strict=True)]
        state["h"] = [moved(old, np.mean([g == c for g in guess])) for c, old in enumerate(state["h"])]
        mask = [float(max(p) >= state["tau"] * state["p"][c] / max(state["p"])) for p, c in zip(q, guess, strict=True)]
        losses = [m * of_one(s, c) for m, s, c in zip(mask, strong, guess, strict=True)]
        loss = config.unlabelled_weight * sum(losses) / len(q)
        passed = [s.softmax(0) for m, s in zip(mask, strong, strict=True) if m]
        if passed:
            average = sum(passed) / len(q)
            seen = [sum(int(p.argmax()) == c for p in passed) / len(q) for c in range(num_classes)]
            share = [average[c] / seen[c] if seen[c] else torch.tensor(0.0) for c in range(num_classes)]
            target = [a / b for a, b in zip(state["p"], state["h"], strict=True)]
            fairness = sum(
                t / sum(target) * torch.log(s / sum(share) + 1e-12) for t, s in zip(target, share, strict=True)
            )
            loss = loss + config.fairness_weight * fairness
        return loss, mask

    return step


SHORT = 2 ** (-50 / 100)  # the momentum in a training of 100 steps
REFERENCES = {
    "fixmatch": (fixmatch, {"threshold": 0.8}, plain_fixmatch),
    "pseudolabel": (pseudolabel, {"threshold": 0.8, "ramp": 0.0}, plain_pseudolabel),
    "uda": (uda, {"threshold": 0.7, "temperature": 0.5}, plain_uda),
    "flexmatch": (flexmatch, {"threshold": 0.8}, plain_flexmatch),
    "softmatch": (softmatch, {}, lambda config: plain_softmatch(config, SHORT)),
    "softmatch, unaligned": (
        softmatch,
        {"alignment": False, "n_sigma": 1.0},
        lambda config: plain_softmatch(config, SHORT),
    ),
    "freematch": (freematch, {"fairness_weight": 0.3}, lambda config: plain_freematch(config, SHORT)),
    "freematch, given momentum": (freematch, {"ema": 0.5}, lambda config: plain_freematch(config, 0.5)),
}


def test_every_semi_supervised_trainer_has_a_reference():
    assert {module.__name__.rpartition(".")[2] for module, _, _ in REFERENCES.values()} == set(SEMI)


@pytest.mark.parametrize("case", REFERENCES)
def test_loss_is_the_papers(case):
    trainer, settings, reference = REFERENCES[case]
    config = trainer.Config(unlabelled_weight=0.7, batch_size=4, **settings)
    model, plain = a_model(), reference(config)
    objective, _ = trainer.objective(config, a_setting())
    weights = []
    for number, batch in enumerate(batches()):
        weak, strong = model(batch.weak), model(batch.strong)
        extra, expected = plain(weak.detach().softmax(1).tolist(), weak, strong, batch.unlabelled.tolist())
        loss = sum(of_one(x, int(y)) for x, y in zip(model(batch.labelled), batch.labels, strict=True)) / 4 + extra
        step = objective(Model(model), batch, number)
        np.testing.assert_allclose(step.weights, expected, rtol=1e-4, atol=1e-6)
        assert step.loss.item() == pytest.approx(loss.item(), rel=1e-4)
        mine, theirs = (torch.autograd.grad(value, model.weight)[0] for value in (step.loss, loss))
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
        assert torch.equal(step.pseudo, weak.argmax(1))
        weights += expected[3 * (number == 0) :]
    assert 0.1 < np.mean(weights) < 0.98  # some count and some do not


@pytest.mark.parametrize("name", SEMI)
def test_unlabelled_loss_teaches_the_student_and_not_the_teacher(name):
    trainer = registry.load("trainers", name)
    config = trainer.Config(batch_size=4)
    model = a_model()
    batch = next(batches())
    batch.weak.requires_grad_()
    step = trainer.objective(config, a_setting())[0](Model(model), batch, 99)
    gradient = torch.autograd.grad(step.unsupervised, [model.weight, batch.weak], allow_unused=True)
    assert gradient[0].abs().max() > 1e-6
    if name != "pseudolabel":  # where the student sees the weak view too
        assert gradient[1] is None


# BatchNorm


def a_mixing_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


@pytest.mark.parametrize("case", REFERENCES)
def test_all_views_pass_through_batchnorm_as_one_batch(case):
    """The loss, its gradient and the statistics are those of one pass of labelled, weak and strong views."""
    trainer, settings, reference = REFERENCES[case]
    config = trainer.Config(unlabelled_weight=0.7, batch_size=4, **settings)
    model, plain = a_mixing_model(), reference(config)
    objective, _ = trainer.objective(config, a_setting()._replace(mixing=True))
    for number, batch in enumerate(batches()):
        batch = batch._replace(strong=batch.strong * 3 + 1)
        twin = copy.deepcopy(model)
        views = [batch.labelled, batch.weak] + [batch.strong] * (trainer is not pseudolabel)
        labelled, weak, *strong = twin(torch.cat(views)).split([len(part) for part in views])
        strong = strong[0] if strong else weak
        extra, expected = plain(weak.detach().softmax(1).tolist(), weak, strong, batch.unlabelled.tolist())
        loss = sum(of_one(x, int(y)) for x, y in zip(labelled, batch.labels, strict=True)) / 4 + extra
        step = objective(Model(model), batch, number)
        np.testing.assert_allclose(step.weights, expected, rtol=1e-4, atol=1e-6)
        assert step.loss.item() == pytest.approx(loss.item(), rel=1e-4)
        mine, theirs = (torch.autograd.grad(value, m[0].weight)[0] for value, m in ((step.loss, model), (loss, twin)))
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
        assert model[1].num_batches_tracked == number + 1
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(getattr(model[1], name), getattr(twin[1], name))


def test_the_loop_tells_trainers_whether_examples_depend_on_each_other():
    told = []

    class Recorded(passive.Config):
        pass

    trainer = SimpleNamespace(
        Config=Recorded,
        unlabelled_batch=passive.unlabelled_batch,
        objective=lambda config, problem: told.append(problem.mixing) or passive.objective(config, problem),
    )
    clean, views, labels, _, validation = a_problem()
    norm, linear = torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 4)
    frozen = copy.deepcopy(norm).requires_grad_(False)
    bare = torch.nn.BatchNorm1d(8, affine=False)
    layers = ([torch.nn.LayerNorm(8)], [norm], [frozen], [bare], [frozen, copy.deepcopy(bare)])
    for before in layers:
        model = torch.nn.Sequential(Floats(), *before, linear)
        config = Recorded(epochs=2, batch_size=8)
        rng = np.random.default_rng(0)
        training.fit(model, trainer, config, views, labels, len(clean), 4, validation, rng, logging.getLogger("test"))
    assert told == [False, True, False, True, False]
    assert [int(module.num_batches_tracked) for module in (norm, frozen, bare, layers[-1][1])] == [6, 0, 6, 0]


@pytest.mark.parametrize("name", EVERY)
def test_no_batch_of_batchnorm_has_one_example(name):
    trainer, seen = registry.load("trainers", name), []
    clean, views, labels, _, validation = a_problem(labelled=17)
    settings = {"supervised_warmup": 1.0, "ramp": 0.0} if name in SEMI else {}
    config = trainer.Config(epochs=2, batch_size=4, min_steps_per_epoch=6, **settings)

    def batch_sizes(norms, labels=labels, config=config):
        model = torch.nn.Sequential(Floats(), *norms, torch.nn.Linear(8, 4))
        model.register_forward_pre_hook(lambda _, x: seen.append(len(x[0])) if model.training else None)
        rng = np.random.default_rng(0)
        training.fit(model, trainer, config, views, labels, len(clean), 4, validation, rng, logging.getLogger("test"))
        return [seen.pop(0) for _ in seen[:]]

    assert batch_sizes([]) == 2 * [4, 4, 4, 4, 1, 4]
    assert batch_sizes([torch.nn.BatchNorm1d(8)]) == 2 * [4, 4, 4, 5, 4, 4]
    one = label_set.empty("f", 0).extended(np.arange(1), np.zeros(1, np.int64), 1)
    for labels_, config_ in ((one, config), (labels, trainer.Config(batch_size=1, **settings))):
        with pytest.raises(UserError, match="at least 2"):
            batch_sizes([torch.nn.BatchNorm1d(8)], labels_, config_)


class Floats(torch.nn.Module):
    def forward(self, x):
        return x.float()


@pytest.mark.parametrize("name", SEMI)
def test_supervised_warmup_and_ramp(name):
    trainer = registry.load("trainers", name)
    config = trainer.Config(supervised_warmup=0.25, ramp=0.5, unlabelled_weight=2.0, batch_size=4)
    model, batch = a_model(), next(batches())

    def at(number):
        step = trainer.objective(config, a_setting())[0](Model(model), batch, number)
        return None if step.unsupervised is None else ((step.loss - step.supervised) / step.unsupervised).item()

    assert at(0) is None
    assert at(24) is None
    if name != "freematch":  # its fairness loss has a weight of its own
        assert at(50) == pytest.approx(1.0, rel=1e-3)
        assert at(75) == pytest.approx(2.0, rel=1e-3)
        assert at(99) == pytest.approx(2.0, rel=1e-3)


def test_moving_averages_follow_the_number_of_steps():
    config = freematch.Config()
    assert _semi.momentum(config, a_setting(steps=2**20)) == 0.999
    for steps in (10, 140, 1560):
        assert _semi.momentum(config, a_setting(steps=steps)) ** (steps / 50) == pytest.approx(0.5)


@pytest.mark.parametrize("steps", [50, 140])
def test_short_trainings_really_threshold(steps):
    """With 0.999, FreeMatch's threshold is still below 0.21 after 140 steps, and SoftMatch's weights are all near 1."""
    confident, unsure = torch.tensor([6.0, 0.0, 0.0]), torch.tensor([0.3, 0.0, 0.0])
    weak = torch.stack([confident.roll(i) for i in range(9)] + [unsure.roll(i) for i in range(3)])
    batch = training.Batch(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), torch.arange(12), weak, weak)
    for trainer in (freematch, softmatch):
        objective, _ = trainer.objective(trainer.Config(), a_setting(steps=steps))
        for number in range(steps // 2):
            step = objective(Model(torch.nn.Identity()), batch, number)
        assert (step.weights[:9] > 0.9).all()
        assert (step.weights[9:] < 0.2).all()


@pytest.mark.parametrize("name", ["fixmatch", "flexmatch", "freematch", "uda", "pseudolabel"])
def test_a_mask_that_lets_nothing_through_adds_nothing(name):
    trainer = registry.load("trainers", name)
    objective, _ = trainer.objective(trainer.Config(), a_setting(steps=2000))
    batch = training.Batch(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), torch.arange(20), None, None)
    confident, unsure = 8 * torch.eye(3).repeat(7, 1)[:20], torch.zeros(20, 3)
    for number in range(1000, 1999):
        objective(Model(torch.nn.Identity()), batch._replace(weak=confident, strong=confident), number)
    step = objective(
        Model(torch.nn.Identity()), batch._replace(weak=unsure, strong=unsure.clone().requires_grad_()), 1999
    )
    assert step.weights.sum() == 0
    assert step.loss.item() == step.supervised.item()


# The supervised part


def test_mixup_trains_on_the_mixed_inputs_and_targets():
    seen = []
    model = a_model()

    def recorded(x):
        seen.append(x)
        return model(x)

    config = passive.Config(mixup=0.4, batch_size=4)
    objective, _ = passive.objective(config, a_setting(rng=np.random.default_rng(3)))
    shares = np.random.default_rng(3).beta(0.4, 0.4, 100)
    for number, batch in enumerate(batches(5)):
        batch = batch._replace(labelled=batch.labelled.half())
        loss = objective(recorded, batch, number).loss
        share, partner = shares[number], [3, 2, 1, 0]
        x = share * batch.labelled.double() + (1 - share) * batch.labelled.double()[partner]
        torch.testing.assert_close(seen[-1].double(), x, rtol=1e-5, atol=1e-5)
        one_hot = F.one_hot(batch.labels, 3).double()
        target = share * one_hot + (1 - share) * one_hot[partner]
        expected = -(target * model(x.float()).double().log_softmax(1)).sum(1).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert shares[:5].min() < 0.9  # not the unmixed case


@pytest.mark.parametrize("name", EVERY)
def test_label_smoothing_and_class_weights(name):
    trainer = registry.load("trainers", name)
    config = trainer.Config(label_smoothing=0.1, class_weights=True, batch_size=4)
    model, batch = a_model(), next(batches())
    labels = (0, 0, 0, 0, 0, 0, 2, 2)  # class 1 was not bought
    batch = batch._replace(labels=torch.tensor([0, 2, 0, 0]))
    step = trainer.objective(config, a_setting(labels))[0](Model(model), batch, 99)
    weight = {0: 8 / (2 * 6), 2: 8 / (2 * 2)}
    expected = 0.0
    for logits, y in zip(model(batch.labelled), batch.labels.tolist(), strict=True):
        target = [0.1 / 3 + 0.9 * (c == y) for c in range(3)]
        expected += weight[y] * of_one(logits, target).item() / 4
    assert step.supervised.item() == pytest.approx(expected, rel=1e-5)


# What every trainer must survive


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("selector", registry.names("proxies"))
def test_training_is_deterministic_and_seeded(name, selector):
    trainer = registry.load("trainers", name)
    (first, history, *_), (second, again, *_) = (fitted(trainer, name=selector) for _ in range(2))
    other = fitted(trainer, seed=6, name=selector)[0]
    assert [str(epoch) for epoch in history] == [str(epoch) for epoch in again]
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key])
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize("name", EVERY)
def test_learns_an_easy_problem(name):
    settings = {"supervised_warmup": 0.2} if name in SEMI else {}
    trainer, problem = registry.load("trainers", name), a_problem(separation=4.0)
    model, history, clean, truth = fitted(trainer, problem=problem, epochs=10, **settings)
    assert accuracy(model, clean, truth) > 0.95
    if name in SEMI:
        assert 0.2 < history[-1]["mask_rate"] <= 1


def one_class(problem):
    clean, views, labels, truth, validation = problem
    of_class = np.flatnonzero(truth == 1)[:10]
    return clean, views, label_set.empty("f", 0).extended(of_class, truth[of_class], 1), truth, validation


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "case",
    [
        {"problem": a_problem(labelled=1)},
        {"problem": a_problem(labelled=299)},
        {"problem": a_problem(labelled=300)},
        {"problem": a_problem(classes=2), "classes": 2},
        {"problem": one_class(a_problem())},
        {"problem": one_class(a_problem()), "class_weights": True, "label_smoothing": 0.1},
    ],
    ids=["one label", "one unlabelled", "none unlabelled", "two classes", "one class bought", "one class, weighted"],
)
def test_stays_finite(name, case):
    problem = case["problem"]
    model, history, clean, _ = fitted(registry.load("trainers", name), epochs=3, truth=problem[3], **case)
    assert all(math.isfinite(epoch[key]) for epoch in history for key in ("train_loss", "val_loss"))
    assert model(torch.from_numpy(clean)).isfinite().all()
    if len(problem[2].index) == 300:
        assert math.isnan(history[-1]["mask_rate"])
