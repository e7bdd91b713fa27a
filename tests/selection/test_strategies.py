"""Every strategy of the registry keeps its promises, and picks what its plain reference picks."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import labelbench
import references
from labelbench.common import registry
from labelbench.common.errors import UserError
from labelbench.data.oracle import Oracle
from labelbench.selection.pool import Head, Pool
from pools import FEWER, NAMES, SEQUENTIAL, UPPER_BOUNDS, blobs, classes, expect, run, small_pools

SAME_PICKS = [name for name in NAMES if references.load(name).SAME_PICKS]

quickly = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
@quickly
@given(pool=small_pools(), seed=st.integers(0, 99), one_class=st.booleans())
def test_picks_are_distinct_unlabelled_and_as_many_as_asked(name, pool, seed, one_class):
    features, _, labelled, budget = pool
    truth = np.zeros(len(features), dtype=np.int64) if one_class else None
    picks = run(name, *pool, seed=seed, truth=truth)
    assert picks.dtype == np.int64
    assert picks.shape == (budget,)
    assert len(set(picks)) == budget
    assert set(picks) <= set(range(len(features))) - set(labelled)


@pytest.mark.parametrize("name", NAMES)
@quickly
@given(pool=small_pools(), seed=st.integers(0, 99), chunk_size=st.integers(1, 40))
def test_picks_depend_on_the_seed_and_not_on_the_chunks(name, pool, seed, chunk_size):
    assert np.array_equal(run(name, *pool, seed=seed), run(name, *pool, seed=seed, chunk_size=chunk_size))


@pytest.mark.parametrize("name", NAMES)
def test_picks_do_not_depend_on_the_number_of_threads(name):
    pool = (*blobs(n=5000, k=20, d=64), 100)
    # Two threads on busy cores wait for each other: what takes longest does less of the same here.
    less = {"oracle": {"candidates": 12}, "bait_topc": {"pca_dim": 16}}.get(name, {})
    alone = run(name, *pool, **less)
    torch.set_num_threads(2)
    assert np.array_equal(alone, run(name, *pool, **less))


@pytest.mark.parametrize("name", NAMES)
def test_no_global_random_state_is_read_or_left_behind(name):
    pool = (*blobs(n=100), 30)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    picks = run(name, *pool)
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(torch_before, torch.get_rng_state())
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert np.array_equal(picks, run(name, *pool))


@pytest.mark.parametrize("name", ["badge", "random"])
def test_random_strategies_use_the_seed(name):
    pool = (*blobs(n=100), 30)
    assert not np.array_equal(run(name, *pool, seed=0), run(name, *pool, seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_larger_than_what_is_left_is_a_user_error(name):
    features, probabilities, labelled = blobs(n=50, labelled=20)
    with pytest.raises(UserError, match="only 30 examples"):
        run(name, features, probabilities, labelled, 31)


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_uses_no_more_than_it_says(name):
    module = registry.load("strategies", name)
    assert set(module.USES) <= {"features", "probabilities", "head", "labels"}
    (features, probabilities, labelled), known = classes()
    truth = known["truth"]

    def forbidden(*_):
        raise LookupError("not declared in USES")

    def select(labels, true_labels):
        pool = Pool.from_arrays(features, probabilities, labelled, labels, head=Head(*map(torch.tensor, known["head"])))
        if not {"features", "probabilities", "head"} & set(module.USES):
            pool = dataclasses.replace(pool, embed=forbidden)
        if "probabilities" not in module.USES:
            pool = dataclasses.replace(pool, classify=forbidden)
        if "head" not in module.USES:
            pool = dataclasses.replace(pool, head=None)
        extra = {"oracle": Oracle(true_labels, 30)} if name in SEQUENTIAL else {}
        extra |= {"true_labels": true_labels} if name in UPPER_BOUNDS else {}
        return module.select(pool, 30, module.Config(**FEWER.get(name, {})), np.random.default_rng(0), **extra)

    picks = select(truth[labelled], truth)
    if "labels" not in module.USES:
        assert np.array_equal(picks, select((truth[labelled] + 1) % 4, truth))
    if name not in UPPER_BOUNDS:  # labels that were not bought make no difference
        others = (truth + 1) % 4
        others[picks] = truth[picks]
        assert np.array_equal(picks, select(truth[labelled], others))


def test_importing_strategies_and_sampling_at_random_does_not_import_torch():
    code = f"""
import sys
import numpy as np
from labelbench.common import registry
from labelbench.selection.pool import Head, Pool
modules = {{name: registry.load("strategies", name) for name in {NAMES!r}}}
pool = Pool(np.array([0]), np.array([0]), np.arange(1, 50), 3)
modules["random"].select(pool, 5, modules["random"].Config(), np.random.default_rng(0))
print([name for name in ("torch", "sklearn", "pandas", "scipy") if name in sys.modules])
"""
    library = Path(labelbench.__file__).parent.parent
    result = subprocess.run([sys.executable, "-c", code], cwd=library, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", SAME_PICKS)
@quickly
@given(pool=small_pools(), seed=st.integers(0, 99))
def test_same_picks_as_the_reference_on_awkward_pools(name, pool, seed):
    assert np.array_equal(run(name, *pool, seed=seed), expect(name, *pool, seed=seed))


@pytest.mark.parametrize("name", SAME_PICKS)
@pytest.mark.parametrize("seed", range(3))
def test_same_picks_as_the_reference_on_random_pools(name, seed):
    pool = (*blobs(n=400, k=5, d=8, labelled=30, seed=seed), 80)
    assert np.array_equal(run(name, *pool, seed=seed), expect(name, *pool, seed=seed))


@pytest.mark.parametrize("name", SAME_PICKS)
@pytest.mark.parametrize("seed", range(3))
def test_same_picks_as_the_reference_where_a_head_knows_the_classes(name, seed):
    pool, known = classes(seed=seed)
    assert np.array_equal(run(name, *pool, 60, seed=seed, **known), expect(name, *pool, 60, seed=seed, **known))


@pytest.mark.parametrize("name", NAMES)
def test_saturated_probabilities(name):
    features, _, labelled = blobs(n=60)
    certain = np.eye(5, dtype=np.float32)[np.arange(60) % 5]
    picks = run(name, features, certain, labelled, 40)
    assert sorted(picks) == np.setdiff1d(np.arange(60), labelled).tolist()
    if name in ("confidence", "entropy", "margin"):
        assert picks.tolist() == sorted(picks)


def test_entropy_ties_do_not_depend_on_the_order_of_the_classes():
    row = np.array([0.05, 0.1, 0.15, 0.3, 0.4], dtype=np.float32)
    probabilities = np.array([np.random.default_rng(i).permutation(row) for i in range(200)])
    picks = run("entropy", np.zeros((200, 2), np.float32), probabilities, [], 200)
    assert picks.tolist() == list(range(200))
