"""Does it notice? Each mutant is one edit of a module of the library; the check is the smallest that runs it."""

import importlib
from pathlib import Path

import pytest
import torch
from gpu import DEVICE
from gpu_selection import WAITS_PER_PICK, select, waits_per_pick
from gpu_training import fitted, waits_of_steps

import labelbench
import pools
from labelbench.common import jobs
from labelbench.selection.pool import Pool
from labelbench.selection.strategies import _scores
from labelbench.training import training

LIBRARY = Path(labelbench.__file__).parent


def picks(name):
    select(name, DEVICE, *pools.classes(n=400), 30)


def free_steps(name):
    assert waits_of_steps(name) == {}


def few_waits(name):
    assert waits_per_pick(name) <= WAITS_PER_PICK[name]


def train(name, **settings):
    fitted(name, DEVICE, epochs=1, **settings)


MUTANTS = {
    "views stay on the CPU": (
        "training/training.py", "([a.to(device) for a in arrays] for arrays in (self._weak, self._strong))",
        "(self._weak, self._strong)", lambda: train("passive"),
    ),
    "labels stay on the CPU": (
        "training/training.py", "targets = torch.as_tensor(labels.label, device=device)",
        "targets = torch.as_tensor(labels.label)", lambda: train("passive", class_weights=True),
    ),
    "an optimiser's steps on the CPU": (
        "training/training.py", "torch.zeros((), device=p.device)", "torch.zeros(())", lambda: train("passive"),
    ),
    "logits that are not fetched": (
        "training/training.py", "forward(part).cpu() for part", "forward(part) for part", lambda: train("passive"),
    ),
    "pieces that are not pinned": (
        "training/training.py", "dtype=views.dtype, pin_memory=True", "dtype=views.dtype",
        lambda: streamed_steps("flexmatch"),
    ),
    "a trainer's state on the CPU": (
        "training/trainers/softmatch.py", "average = torch.full((k,), 1 / k, device=device)",
        "average = torch.full((k,), 1 / k)", lambda: train("softmatch"),
    ),
    "a mask as index in a step": (
        "training/trainers/_semi.py",
        'unsupervised = (F.cross_entropy(taught, targets, reduction="none") * weights).mean()',
        'unsupervised = F.cross_entropy(taught, targets, reduction="none")[weights > 0].sum() / len(weights)',
        lambda: free_steps("fixmatch"),
    ),
    "a number read in a step": (
        "training/trainers/flexmatch.py", "beta = counts[:k] / counts.max()",
        "beta = counts[:k] / counts.max().item()", lambda: free_steps("flexmatch"),
    ),
    "scores that are not fetched": (
        "selection/strategies/_scores.py", "score(probabilities).cpu().numpy()", "score(probabilities).numpy()",
        lambda: smallest(),
    ),
    "a dropout mask on the CPU": (
        "selection/strategies/dropquery.py", ".to(of.device)", "",
        lambda: picks("dropquery"),
    ),
    "a basis on the CPU": (
        "selection/fisher.py", "torch.as_tensor(helmert(classes).T.copy(), device=device)",
        "torch.as_tensor(helmert(classes).T.copy())", lambda: picks("bait_topc"),
    ),
    "two waits for a pick and its score": (
        "selection/fisher.py", "best, first = torch.stack([best, first.double()]).tolist()",
        "best, first = best.item(), first.item()", lambda: few_waits("bait_binary"),
    ),
    "a list as index at each pick": (
        "selection/coverage.py", "gone[best : best + 1].fill_(True)", "gone[[best]] = True",
        lambda: few_waits("maxherding"),
    ),
    "float32 that is none": (
        "common/jobs.py", "torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False", "pass",
        lambda: float32_is_float32(),
    ),
}  # fmt: skip


def smallest():
    features, probabilities, labelled = pools.blobs(n=100)
    pool = Pool.from_arrays(features, probabilities, labelled, labelled % 5, device=DEVICE)
    _scores.smallest(pool, 5, lambda p: p.amax(1))


def streamed_steps(name):
    before, training.RESIDENT, training._PIECE = (training.RESIDENT, training._PIECE), 0.0, 20_000
    try:
        free_steps(name)
    finally:
        training.RESIDENT, training._PIECE = before


def float32_is_float32():
    torch.backends.cudnn.allow_tf32 = True
    try:
        jobs.keep_float32()
        assert not torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = False


@pytest.mark.parametrize("what", MUTANTS)
def test_a_mutant_is_caught(what):
    file, old, new, check = MUTANTS[what]
    module = importlib.import_module("labelbench." + file.removesuffix(".py").replace("/", "."))
    text, before = (LIBRARY / file).read_text(), dict(vars(module))
    assert text.count(old) == 1
    check()  # as it is, nothing is wrong
    try:
        exec(compile(text.replace(old, new), LIBRARY / file, "exec"), vars(module))
        with pytest.raises((RuntimeError, TypeError, AssertionError)):
            check()
    finally:
        vars(module).clear()
        vars(module).update(before)
