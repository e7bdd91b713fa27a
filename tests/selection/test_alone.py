"""Selection without the workflow: the function, the command, shards, streams and shortlists."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

import labelbench
from labelbench import select
from labelbench.common.errors import UserError
from labelbench.selection import shortlist
from labelbench.selection.pool import Pool
from labelbench.selection.shards import NpyRows, Shards
from labelbench.selection.strategies import _scores
from pools import FEWER, NAMES, SEQUENTIAL, UPPER_BOUNDS, blobs, classes, run


@pytest.mark.parametrize("name", NAMES)
def test_the_function_picks_what_the_strategy_picks(name):
    (features, probabilities, labelled), known = classes()
    truth = known["truth"]
    extra = {"answer": lambda at: truth[at]} if name in SEQUENTIAL else {}
    extra |= {"true_labels": truth} if name in UPPER_BOUNDS else {}
    picks = select(
        features,
        strategy=name,
        budget=20,
        labelled=labelled,
        labels=truth[labelled],
        probabilities=probabilities,
        head=known["head"],
        settings=FEWER.get(name),
        **extra,
    )
    assert np.array_equal(picks, run(name, features, probabilities, labelled, 20, **known))


def test_settings_seeds_and_what_may_be_left_out():
    (features, probabilities, labelled), known = classes()
    labels = known["truth"][labelled]
    assert len(select(features, strategy="random", budget=5)) == 5
    by_probabilities = select(
        probabilities=probabilities, strategy="margin", budget=9, labelled=labelled, labels=labels
    )
    by_head = select(
        torch.tensor(features), head=known["head"], strategy="margin", budget=9, labelled=labelled, labels=labels
    )
    assert np.array_equal(by_probabilities, by_head)
    noisy = {"probabilities": probabilities, "strategy": "power_margin", "budget": 9}
    assert not np.array_equal(select(**noisy, settings={"beta": 1}), select(**noisy, settings={"beta": 9}))
    assert not np.array_equal(select(**noisy), select(**noisy, seed=1))


@pytest.mark.parametrize(("arguments", "words"), [
    ({"strategy": "bagde"}, "Did you mean 'badge'?"),
    ({"strategy": "badge"}, "badge uses features, probabilities: give probabilities (or head and features)"),
    ({"strategy": "dropquery"}, "give head"),
    ({"strategy": "coreset", "settings": {"x": 1}}, "settings of coreset: there is no 'x'. There are: none"),
    ({"strategy": "typiclust", "settings": {"neighbours": 0}}, "it must be at least 1"),
    ({"strategy": "coreset", "labelled": [1, 2], "labels": [0]}, "1 labels for 2 labelled"),
    ({"strategy": "coreset", "labelled": [300], "labels": [0]}, "whole numbers from 0 to 299"),
    ({"strategy": "coreset", "labelled": [3, 3], "labels": [0, 0]}, "different whole numbers"),
    ({"strategy": "coreset", "labelled": [3], "labels": [4], "num_classes": 4}, "4 classes"),
    ({"strategy": "coreset", "budget": 301}, "only 300 examples"),
    ({"strategy": "coreset", "head": (np.zeros((4, 5)), np.zeros(4))}, "need (K, 6) and (K,)"),
    ({"strategy": "galaxy", "probabilities": np.full((300, 4), 0.25)}, "give it `answer`"),
    ({"strategy": "coreset", "shortlist": {"by": "luck"}}, "by must be among margin, random, kmeans"),
    ({"strategy": "coreset", "budget": 9, "shortlist": {"by": "random", "size": 8}}, "fewer than the batch of 9"),
])  # fmt: skip
def test_mistakes_are_explained(arguments, words):
    features = classes()[0][0]
    with pytest.raises(UserError) as caught:
        select(features, **({"budget": 5} | arguments))
    assert words in str(caught.value)


def test_the_command_picks_what_the_function_picks(tmp_path):
    (features, _, labelled), known = classes()
    truth, (weight, bias) = known["truth"], known["head"]
    np.save(tmp_path / "a.npy", features[:100].astype(np.float16))
    np.save(tmp_path / "b.npy", features[100:].astype(np.float16))
    save_file({"weight": weight, "bias": bias}, tmp_path / "head.safetensors")
    pd.DataFrame({"index": labelled, "label": truth[labelled]}).to_csv(tmp_path / "labelled.csv", index=False)
    command = [sys.executable, "-m", "labelbench.select", "--features", "a.npy", "b.npy", "--head", "head.safetensors"]
    command += ["--labelled", "labelled.csv", "--strategy", "badge", "--budget", "15", "--seed", "3", "-o", "picks.csv"]
    library = str(Path(labelbench.__file__).parent.parent)

    def start(*more):
        return subprocess.run(
            [*command, *more], cwd=tmp_path, env={"PYTHONPATH": library}, capture_output=True, text=True
        )

    done = start()
    assert done.returncode == 0, done.stderr
    expected = select(
        features.astype(np.float16), head=(weight, bias), strategy="badge", budget=15, labelled=labelled,
        labels=truth[labelled], seed=3,
    )  # fmt: skip
    assert pd.read_csv(tmp_path / "picks.csv")["index"].tolist() == expected.tolist()
    wrong = start("--strategy", "bagde")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("There is no strategies plug-in named 'bagde'. Did you mean 'badge'?")


@pytest.mark.parametrize("name", ["coreset", "margin", "typiclust"])
def test_shards_are_one_pool(name, tmp_path):
    features, probabilities, labelled = blobs(n=200)
    for number, part in enumerate(np.split(features, [1, 90, 150])):
        np.save(tmp_path / f"{number}.npy", part)
    shards = [NpyRows(tmp_path / f"{number}.npy") for number in range(4)]
    known = {"probabilities": probabilities, "strategy": name, "budget": 30}
    known |= {"labelled": labelled, "labels": np.zeros(len(labelled))}
    assert np.array_equal(select(shards, **known), select(features, **known))


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_a_file_are_those_of_the_array(tmp_path, order):
    x = np.asarray(np.random.default_rng(0).standard_normal((500, 7)), order=order).astype(np.float16, order="K")
    np.save(tmp_path / "x.npy", x)
    rows, whole = NpyRows(tmp_path / "x.npy"), Shards([x[:100], x[100:100], x[100:]])
    for indices in ([], [3], [499, 0], [10, 11, 13, 12, 12], range(40, 300), [0, 99, 100, 101]):
        indices = np.array(indices, dtype=np.int64)
        assert np.array_equal(rows[indices], x[indices])
        assert np.array_equal(whole[indices], x[indices])
    np.save(tmp_path / "x.npy", np.arange(5))
    with pytest.raises(UserError, match="matrix of floats"):
        NpyRows(tmp_path / "x.npy")
    with pytest.raises(UserError, match="of one width"):
        Shards([x, x[:, 1:]])


@pytest.mark.parametrize("count", [1, 7, 60, 100])
def test_the_smallest_of_a_stream(count, monkeypatch):
    rng = np.random.default_rng(0)
    first, second = rng.integers(5, size=(2, 100)).astype(float)
    found = _scores.Smallest(count)
    found._room = 2 * count  # small, so that it is reduced again and again
    for part in np.split(np.arange(100), [3, 4, 40, 77]):
        found.add(first[part], second[part])
    assert found.positions().tolist() == np.lexsort((second, first))[:count].tolist()


# Shortlists


def pool_of(n=400):
    features, probabilities, labelled = blobs(n=n)
    return Pool.from_arrays(features, probabilities, labelled, np.zeros(len(labelled)))


def shortened(pool, **settings):
    return shortlist.shortened(pool, 10, shortlist.Config(**settings), np.random.default_rng(0))


def test_a_shortlist_by_margin_holds_what_margin_would_pick():
    pool = pool_of()
    first, second = np.sort(pool.probabilities(pool.unlabelled).numpy(), axis=1)[:, ::-1][:, :2].T
    short = shortened(pool, by="margin", size=50)
    expected = pool.unlabelled[np.argsort(first - second, kind="stable")[:50]]
    assert np.array_equal(short.unlabelled, np.sort(expected))
    assert np.array_equal(short.labelled, pool.labelled)


def test_a_shortlist_by_cells_draws_alike_from_large_and_small_ones():
    rng = np.random.default_rng(0)
    sizes = [300, 60, 30, 10]
    features = np.repeat(np.eye(4, dtype=np.float32), sizes, axis=0) + 0.01 * rng.standard_normal(
        (400, 4), dtype=np.float32
    )
    pool = Pool.from_arrays(features, np.full((400, 2), 0.5), [], [])
    short = shortened(pool, by="kmeans", size=100, cells=4)
    assert np.bincount(np.repeat(np.arange(4), sizes)[short.unlabelled]).tolist() == [30, 30, 30, 10]


def test_a_union_of_shortlists_and_one_that_is_longer_than_the_pool():
    pool = pool_of()
    both = set(shortened(pool, by=("margin", "random"), size=100).unlabelled)
    assert set(shortened(pool, by="margin", size=50).unlabelled) < both
    assert 50 < len(both) <= 100
    assert shortened(pool, by="margin", size=380) is pool
    assert shortlist.uses(shortlist.Config(by=("random", "kmeans"))) == ("features",)


def test_a_strategy_sees_its_shortlist_only():
    features, probabilities, labelled = blobs(n=400)
    known = {"labelled": labelled, "labels": np.zeros(len(labelled)), "probabilities": probabilities}
    picks = select(features, strategy="coreset", budget=10, shortlist={"by": "margin", "size": 10}, **known)
    assert set(picks) == set(select(features, strategy="margin", budget=10, **known))
    exact = select(features, strategy="coreset", budget=10, **known)
    assert set(picks) != set(exact)
