"""Precomputed embeddings: every format, splits, what can be wrong, and the embedding files that are made of them."""

import h5py
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from labelbench.common.errors import UserError
from labelbench.data import dataset_file, feature_files
from labelbench.data.datasets import features
from labelbench.embedding import embeddings, given

N, D = 60, 5
X = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
LABELS = np.array(["bird", "fish", "newt"], dtype=object)[np.arange(N) % 3]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(feature_files, "BLOCK", 7)


def written(folder, kind):
    """A file of the features in this format, with labels in it where it has names; the `Config` that reads it."""
    path = str(folder / f"x{kind}")
    if kind == ".npy":
        np.save(path, X)
        pd.DataFrame({"label": LABELS}).to_csv(folder / "rows.csv", index=False)
        return features.Config(features=path, table=str(folder / "rows.csv"))
    if kind == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("features", data=X, chunks=(8, D), compression="gzip")
            file.create_dataset("label", data=LABELS, dtype=h5py.string_dtype())
    elif kind == ".safetensors":
        save_file({"features": X, "label": np.arange(N) % 3}, path)
    elif kind == ".parquet":
        pd.DataFrame({"features": list(X), "label": LABELS}).to_parquet(path, row_group_size=11)
    else:
        path = str(folder / "x.parquet")
        pd.DataFrame(X, columns=[f"f{i}" for i in range(D)]).assign(label=LABELS).to_parquet(path)
        return features.Config(features=path, array="f[0-9]*")
    return features.Config(features=path)


def complaints(config):
    with pytest.raises(UserError) as caught:
        features.prepare(config)
    return str(caught.value)


@pytest.mark.parametrize("kind", [".npy", ".h5", ".safetensors", ".parquet", "columns"])
def test_every_format_gives_the_same_rows_and_labels(tmp_path, kind):
    config = written(tmp_path, kind)
    matrix = features.matrix(config)
    assert (matrix.rows, matrix.dim) == (N, D)
    blocks = list(matrix.read())
    assert max(map(len, blocks)) == 7
    assert np.array_equal(np.concatenate(blocks), X)
    dataset = features.prepare(config)
    assert {name: len(split.labels) for name, split in dataset.splits.items()} == {"pool": 42, "val": 6, "test": 12}
    for split in dataset.splits.values():
        assert np.array_equal(split.labels, split.source % 3)
        assert np.bincount(split.labels).tolist() == [len(split.labels) // 3] * 3
    assert dataset.class_names == (("0", "1", "2") if kind == ".safetensors" else ("bird", "fish", "newt"))


def test_splits_groups_and_answers_are_columns_or_arrays(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(np.float16))
    np.save(tmp_path / "group.npy", np.arange(N) % 2)
    splits = np.array(["train", "val", "test", "test_late"])[np.arange(N) // 15]
    unknown = np.where(np.arange(N) == 4, "", LABELS)
    table = pd.DataFrame({"kind": unknown, "part": splits, "student": np.roll(LABELS, 1)})
    table.to_parquet(tmp_path / "rows.parquet")
    config = features.Config(
        features=str(tmp_path / "x.npy"),
        table=str(tmp_path / "rows.parquet"),
        label="kind",
        split="part",
        group=str(tmp_path / "group.npy"),
        annotator="student",
    )
    dataset = features.prepare(config)
    assert {name: len(split.labels) for name, split in dataset.splits.items()} == {
        "pool": 15, "val": 15, "test": 15, "test_late": 15,
    }  # fmt: skip
    pool = dataset.splits["pool"]
    assert pool.labels.tolist() == [-1 if i == 4 else i % 3 for i in range(15)]
    assert pool.annotated.tolist() == [(i - 1) % 3 for i in range(15)]
    assert dataset.splits["test_late"].groups.tolist() == [i % 2 for i in range(45, 60)]
    assert set(features.sources(config)) == {str(tmp_path / n) for n in ("x.npy", "rows.parquet", "group.npy")}


def test_drawn_splits_hardly_move_when_rows_are_added(tmp_path):
    def drawn(n):
        np.save(tmp_path / "x.npy", np.zeros((n, 2), np.float32))
        np.save(tmp_path / "y.npy", np.arange(n) % 4)
        config = features.Config(features=str(tmp_path / "x.npy"), label=str(tmp_path / "y.npy"))
        return set(features.prepare(config).splits["test"].source.tolist())

    before, after = drawn(2000), drawn(2040)
    assert len(before & after) > 0.95 * len(before)


def test_what_is_wrong_is_said_at_once(tmp_path):
    np.save(tmp_path / "x.npy", X)
    config = {"features": str(tmp_path / "x.npy")}
    assert "name a `table`" in complaints(features.Config(**config))
    splits = np.where(np.arange(N) < 10, "validation", "train")
    labels = np.where(np.arange(N) % 3 == 2, "newt", LABELS)
    pd.DataFrame({"label": labels, "split": splits, "who": "owl"}).to_csv(tmp_path / "rows.csv", index=False)
    config["table"] = str(tmp_path / "rows.csv")
    message = complaints(features.Config(**config, annotator="who"))
    assert "Unknown names of splits (1):\n    validation" in message
    assert "Labels of the second annotator that are no class (1):\n    owl" in message
    assert "holds no 'lable'. Did you mean 'label'?" in complaints(features.Config(**config, label="lable"))
    np.save(tmp_path / "short.npy", np.arange(N - 1))
    short = str(tmp_path / "short.npy")
    assert f"{N - 1} values in {short} for {N} rows" in complaints(
        features.Config(features=config["features"], label=short)
    )
    np.save(tmp_path / "x.npy", np.arange(N))
    assert "a matrix of floats with a row per example is needed" in complaints(features.Config(**config))
    assert "does not exist" in complaints(features.Config(features=str(tmp_path / "y.npy")))
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    assert "cannot be read" in complaints(features.Config(**config))


def test_a_long_tail_and_a_subset_of_features(tmp_path):
    config = written(tmp_path, ".npy")
    tail = features.prepare(features.Config(features=config.features, table=config.table, imbalance_ratio=7))
    assert np.bincount(tail.splits["pool"].labels).tolist() == [14, 5, 2]
    assert features.lead_metric(features.Config(features="x.npy", imbalance_ratio=7)) == "balanced_accuracy"


def attributes(dataset, view):
    return {"fingerprint": dataset.fingerprint, "view": view}


def test_clean_rows_stand_in_an_embedding_file(tmp_path):
    config = written(tmp_path, ".npy")
    dataset = features.prepare(config)
    given.write_clean(tmp_path / "clean.h5", features.matrix(config), dataset, attributes(dataset, "clean"))
    for name, split in dataset.splits.items():
        rows = embeddings.read(tmp_path / "clean.h5", name, dataset.fingerprint)
        assert np.array_equal(rows, X[split.source].astype(np.float16))
    mean, std = embeddings.standardisation(tmp_path / "clean.h5")
    pool = X[dataset.splits["pool"].source].astype(np.float16).astype(np.float64)
    assert np.allclose(mean, pool.mean(0), atol=1e-6)
    assert np.allclose(std, pool.std(0), atol=1e-6)


def test_a_value_that_float16_cannot_hold_is_named(tmp_path):
    config = written(tmp_path, ".npy")
    dataset = features.prepare(config)
    large = X.copy()
    large[23, 1] = 1e6
    np.save(config.features, large)
    with pytest.raises(UserError, match="Row 24 of the features holds a value that float16 cannot"):
        given.write_clean(tmp_path / "clean.h5", features.matrix(config), dataset, attributes(dataset, "clean"))


def test_views_are_noise_and_dropout_of_the_stated_size(tmp_path):
    x = np.random.default_rng(1).standard_normal((4000, 3)).astype(np.float32) * np.float32([1, 5, 0]) + 2
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(4000) % 2)
    config = features.Config(features=str(tmp_path / "x.npy"), label=str(tmp_path / "y.npy"))
    dataset = features.prepare(config)
    clean = tmp_path / "clean.h5"
    given.write_clean(clean, features.matrix(config), dataset, attributes(dataset, "clean"))
    views = features.Views(weak_noise=0.2, strong_noise=0.5, dropout=0.25)
    for name in ("aug0", "aug1"):
        given.write_views(tmp_path / f"{name}.h5", clean, dataset, views, attributes(dataset, name))
    rows = embeddings.read(clean, "pool", dataset.fingerprint).astype(float)
    mean, std = embeddings.standardisation(clean)
    weak, strong = (embeddings.read(tmp_path / "aug0.h5", n, dataset.fingerprint) for n in ("weak", "strong"))
    noise = (weak - rows)[:, :2] / std[:2]
    assert np.allclose(noise.std(0), 0.2, atol=0.02)
    dropped = np.isclose(strong, mean, atol=1e-3)[:, :2]
    assert np.allclose(dropped.mean(0), 0.25, atol=0.03)
    assert np.allclose(((strong - rows)[:, :2] / std[:2])[~dropped].std(), 0.5, atol=0.03)
    other = embeddings.read(tmp_path / "aug1.h5", "weak", dataset.fingerprint)
    assert not np.array_equal(weak, other)
    given.write_views(tmp_path / "again.h5", clean, dataset, views, attributes(dataset, "aug0"))
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "aug0.h5").read_bytes()


def test_augmented_copies_of_ones_own(tmp_path):
    config = written(tmp_path, ".npy")
    for name, shift in (("weak", 1), ("strong", 2)):
        np.save(tmp_path / f"{name}.npy", X + shift)
    copies = {name: (str(tmp_path / f"{name}.npy"),) for name in ("weak", "strong")}
    config = features.Config(features=config.features, table=config.table, **copies)
    dataset = features.prepare(config)
    given.write_copies(tmp_path / "aug0.h5", features.copies(config, 0), dataset, attributes(dataset, "aug0"))
    source = dataset.splits["pool"].source
    for name, shift in (("weak", 1), ("strong", 2)):
        rows = embeddings.read(tmp_path / "aug0.h5", name, dataset.fingerprint)
        assert np.array_equal(rows, (X + np.float32(shift))[source].astype(np.float16))
    with pytest.raises(UserError, match="set `augmentations: 1`"):
        features.copies(config, 1)
    np.save(tmp_path / "strong.npy", X[:-1])
    with pytest.raises(UserError, match="holds 59 rows of 5 numbers"):
        features.copies(config, 0)


def test_the_fingerprint_changes_with_rows_and_labels(tmp_path):
    config = written(tmp_path, ".npy")
    first = features.prepare(config).fingerprint
    assert features.prepare(config).fingerprint == first
    np.save(config.features, X + 1)
    second = features.prepare(config).fingerprint
    pd.DataFrame({"label": LABELS[::-1]}).to_csv(config.table, index=False)
    assert len({first, second, features.prepare(config).fingerprint}) == 3


def test_a_dataset_file_of_features_can_be_read_again(tmp_path):
    dataset = features.prepare(written(tmp_path, ".h5"))
    dataset_file.write(tmp_path / "d.h5", dataset, "{}", "abc")
    assert dataset_file.read(tmp_path / "d.h5").fingerprint == dataset.fingerprint


def written_with(tmp_path, *cells):
    """The config of features whose fourth and eighth label are these cells."""
    config, labels = written(tmp_path, ".npy"), LABELS.copy()
    labels[[3, 7]] = cells
    pd.DataFrame({"label": labels}).to_csv(tmp_path / "rows.csv", index=False)
    return config


def test_cells_with_several_labels_are_named(tmp_path):
    config = written_with(tmp_path, "bird;newt", "['fish', 'bird']")
    told = "Cells with several labels (2):\n    row 4: bird;newt\n    row 8: ['fish', 'bird']\n"
    assert told in complaints(config)
    pd.DataFrame({"label": [[name, "x"] for name in LABELS]}).to_parquet(tmp_path / "rows.parquet")
    lists = features.Config(features=config.features, table=str(tmp_path / "rows.parquet"))
    assert f"Cells with several labels ({N}):\n    row 1: " in complaints(lists)


def test_labels_that_are_written_as_lists_are_told_with_what_to_write(tmp_path):
    config = written_with(tmp_path, "['bird']", "[]")
    told = "written as lists (2):\n    row 4: ['bird']: write bird\n    row 8: []: leave it empty\n"
    assert told in complaints(config)


@pytest.mark.parametrize(("content", "words"), [
    (b"", "rows.csv is empty. It needs a line that names its columns"),
    (b"\x1f\x8b\x08\0", "rows.csv is a gzip file, which its name does not say"),
])  # fmt: skip
def test_tables_that_are_empty_or_of_another_kind(tmp_path, content, words):
    config = written(tmp_path, ".npy")
    (tmp_path / "rows.csv").write_bytes(content)
    assert words in complaints(config)
