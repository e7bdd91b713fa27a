"""Result files that are cut, changed by a bit, or others altogether: their readers say which file, and what to do."""

import hashlib
import json
import math

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from labelbench.common import hdf5, jobs, json_files, tensor_files
from labelbench.common.errors import UserError
from labelbench.data import dataset_file, label_set
from labelbench.data.datasets import digits
from labelbench.embedding import embeddings
from labelbench.evidence import study
from labelbench.labelling import campaign
from labelbench.training import hits, proxy, results, tuning

CUTS, BITS = 25, 60  # places of each kind of file


def labels():
    return label_set.LabelSet(np.arange(40), np.arange(40) % 10, np.ones(40, np.int64), "ab" * 16, 0)


def embedded(path):
    rng = np.random.default_rng(0)
    with hdf5.create(path) as file:
        embeddings.write(file, ["pool"], 30, 4, [(rng.normal(size=(30, 4)),)])
        embeddings.write_standardisation(file)
        embeddings.describe(file, {"fingerprint": "ab" * 16, "view": "clean", "spec": "{}", "code": ""})


def record(**changes):
    identity = {
        "dataset": "d",
        "encoder": "e",
        "selector": "s",
        "trainer": "t",
        "strategy": "a",
        "trial": 0,
        "round": 1,
    }
    about = {"num_labels": 30, "stage": "proxy", "model": "", "pair": "p", "metrics": {"test": {"accuracy": 0.5}}}
    return identity | about | changes


def table(path):
    identity = {key: value for key, value in record().items() if key != "metrics"}
    rows = [{**identity, "split": "test", "metric": "accuracy", "value": 0.125 * n, "trial": n} for n in range(6)]
    study.write_both(rows, path, path.with_suffix(".parquet"))


def history(path):
    path.write_text("epoch,loss\n1,0.5\n2,0.25\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    jobs.write_result(path.with_name("metrics.json"), record(history=digest))


def asked():
    images = (campaign.Asked("0" * 64, "a.png", True), campaign.Asked("1" * 64, "b.png", False, "heron", 0.5))
    return campaign.Batch("birds", 1, "0" * 8, "kmeans", images, ("2" * 64,), "f" * 64)


def numbers(found):
    """What was read, to be compared."""
    if isinstance(found, torch.nn.Module):
        return {name: value.tolist() for name, value in found.state_dict().items()}
    return repr(found.to_dict()) if hasattr(found, "to_dict") else repr(found)


# By kind of file: its name, what writes it, and what reads it.
KINDS = {
    "label set": ("labels.h5", lambda path: label_set.write(path, labels(), "{}", ""), label_set.stored),
    "dataset": (
        "digits.h5",
        lambda path: dataset_file.write(path, digits.prepare(digits.Config(pool_size=20)), "{}", ""),
        dataset_file.read,
    ),
    "embeddings": (
        "clean.h5",
        embedded,
        lambda path: (embeddings.read(path, "pool", "ab" * 16).tolist(), embeddings.standardisation(path)),
    ),
    "proxy": (
        "proxy.safetensors",
        lambda path: proxy.save(
            path, proxy.build({"name": "linear"}, np.zeros(4), np.ones(4), 3, 0), {"name": "linear"}, ""
        ),
        proxy.load,
    ),
    "zero-shot head": (
        "head.safetensors",
        lambda path: tensor_files.save(path, {"weight": torch.ones(3, 4)}, {"code": ""}),
        lambda path: tensor_files.load(path, "zero-shot head", ("weight",))[0],
    ),
    "metrics": (
        "metrics.json",
        lambda path: jobs.write_result(path, record()),
        lambda path: study.read([path], []),
    ),
    "tuned settings": (
        "tuned.json",
        lambda path: jobs.write_result(path, {"chosen": {"learning_rate": 0.1}}),
        lambda path: tuning.settled({"trainer": {}}, path, None, 0, None, None, None),
    ),
    "table": ("metrics.csv", table, study.load),
    "imported rows": (
        "rows.parquet",
        lambda path: study.write_parquet([{**record(), "split": "", "metric": "m", "value": 1.0}], path),
        study.read_parquet,
    ),
    "history of a training": ("history.csv", history, lambda path: results.history_of(path.with_name("metrics.json"))),
    "what is left out": (
        "left_out.json",
        lambda path: jobs.write_result(path, {"notes": {"digest": ["a run of one trial"], "d": []}}),
        lambda path: json_files.read(path, ("notes",))["notes"],
    ),
    "what a campaign asked": (
        "batch01/batch.json",
        lambda path: path.parent.mkdir() or campaign.write_batch(path, asked()),
        lambda path: campaign.batches(path.parents[1]),
    ),
}


def test_a_dataset_may_be_named_digest(tmp_path):
    name, write, read = KINDS["what is left out"]
    write(tmp_path / name)
    assert read(tmp_path / name)["digest"] == ["a run of one trial"]


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    """(path of a whole file, its reader, what it reads)."""
    name, write, read = KINDS[request.param]
    write(tmp_path / name)
    return tmp_path / name, read, numbers(read(tmp_path / name))


def told(path, read):
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "Delete it" in message or "bring it back from a copy" in message


def test_cut_anywhere(kind):
    path, read, good = kind
    whole = path.read_bytes()
    for size in {0, 1, len(whole) - 1, *range(0, len(whole), math.ceil(len(whole) / CUTS))}:
        path.write_bytes(whole[:size])
        # A last line break says nothing.
        if whole[size:] == b"\n" and path.suffix == ".json":
            assert numbers(read(path)) == good
        else:
            told(path, read)


def test_cut_at_a_line(kind):
    path, read, _ = kind
    if path.suffix not in (".csv", ".json"):
        pytest.skip("no lines")
    lines = path.read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        path.write_bytes(b"".join(lines[:count]))
        told(path, read)


def test_a_bit_changed_anywhere(kind):
    """It is found out, or it stands where it says nothing: between the parts of an HDF5 file."""
    path, read, good = kind
    whole, found = path.read_bytes(), 0
    for place in range(0, len(whole), math.ceil(len(whole) / BITS)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            assert numbers(read(path)) == good
        except UserError as error:
            assert str(path) in str(error)
            found += 1
    assert found


@pytest.mark.parametrize("content", [b"", b"\x00" * 5000, b"text\n", b"{}", b"[1]", b"null", b'{"digest": 1}'])
def test_other_content(kind, content):
    path, read, _ = kind
    path.write_bytes(content)
    told(path, read)


def test_files_of_the_same_format_that_are_others(kind):
    path, read, _ = kind
    if path.suffix == ".h5":
        with hdf5.create(path) as file:
            file["x"] = np.arange(3)
    elif path.suffix == ".safetensors":
        save_file({"x": torch.ones(3)}, path)
        told(path, read)
        tensor_files.save(path, {"x": torch.ones(3)}, {})
    elif path.suffix == ".json":
        jobs.write_result(path, {"x": 1})
    elif path.suffix == ".csv":
        path.write_text("a,b\n1,2\n")
    else:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table({"a": [1]}), path)
    told(path, read)


@pytest.mark.parametrize("name", ["index", "label", "round"])
def test_one_bit_of_one_label(tmp_path, name):
    path = tmp_path / "labels.h5"
    label_set.write(path, labels(), "{}", "")
    with h5py.File(path, "r+") as file:
        file[name][17] ^= 1
    with pytest.raises(UserError, match="is damaged: it does not hold what was written into it"):
        label_set.stored(path)


@pytest.mark.parametrize("name", ["fingerprint", "spec", "code", "trial"])
def test_one_attribute(tmp_path, name):
    path = tmp_path / "labels.h5"
    label_set.write(path, labels(), "{}", "")
    with h5py.File(path, "r+") as file:
        file.attrs[name] = 1 if name == "trial" else "x"
    with pytest.raises(UserError, match="is damaged"):
        label_set.stored(path)


@pytest.mark.parametrize(
    "content",
    [
        record(metrics={"test": {"accuracy": math.nan}}),
        record(metrics={"test": {"accuracy": "0.5"}}),
        record(metrics={"test": {"accuracy": [0.5]}}),
        record(metrics={"test": None}),
        record(metrics=None),
        record(metrics=[]),
        record(trial=None),
        record(trial="0"),
        record(round=1.5),
        record(dataset=None),
        {key: value for key, value in record().items() if key != "pair"},
        {key: value for key, value in record().items() if key != "metrics"},
        [record()],
        None,
        "text",
    ],
)
def test_json_that_is_no_metrics(tmp_path, content):
    """Also where nothing has a digest, as results of older versions."""
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(content))
    told(path, lambda path: study.read([path], []))


@pytest.mark.parametrize("content", [{"train_seconds": "1"}, {"train_seconds": math.inf}, {"threads": -1}, [], None])
def test_json_that_is_no_cost(tmp_path, content):
    jobs.write_result(tmp_path / "metrics.json", record())
    (tmp_path / "cost.json").write_text(json.dumps(content))
    told(tmp_path / "cost.json", lambda path: study.read([tmp_path / "metrics.json"], [path]))


def test_null_is_no_value_and_no_mistake(tmp_path):
    jobs.write_result(tmp_path / "metrics.json", record(metrics={"test": {"accuracy": 0.5, "loss": None}}))
    assert [row["metric"] for row in study.read([tmp_path / "metrics.json"], [])] == ["accuracy"]


def test_files_without_a_digest_are_read(tmp_path):
    """Results of older versions have none."""
    path = tmp_path / "labels.h5"
    label_set.write(path, labels(), "{}", "")
    with h5py.File(path, "r+") as file:
        del file.attrs[hdf5.DIGEST]
    assert label_set.stored(path).index.tolist() == labels().index.tolist()
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert json_files.read(tmp_path / "x.json") == {"a": 1}


def test_large_files_are_checked_once_per_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "CHECKED_EACH_TIME", 100)
    monkeypatch.setattr(hdf5.tempfile, "gettempdir", lambda: str(tmp_path))
    path, counted = tmp_path / "clean.h5", []
    embedded(path)
    true = hdf5.digest
    monkeypatch.setattr(hdf5, "digest", lambda file: counted.append(1) or true(file))
    for _ in range(3):
        embeddings.read(path, "pool", "ab" * 16)
    assert len(counted) == 1
    with h5py.File(path, "r+") as file:
        file["pool"][7, 2] += 1
    for _ in range(2):
        with pytest.raises(UserError, match=r"clean\.h5 is damaged"):
            embeddings.read(path, "pool", "ab" * 16)
    assert len(counted) == 3


def test_the_digest_is_of_the_content_alone(tmp_path):
    for name, order in (("a.h5", (3, 4)), ("b.h5", (4, 3))):
        with hdf5.create(tmp_path / name) as file:
            for number in order:
                file[f"x{number}"] = np.full(number, number)
                file.attrs[f"y{number}"] = [f"é{number}", "text"]
            file["empty"], file["none"] = np.empty((0, 3)), np.empty((3, 0))
            file.create_dataset("words", data=["a", "ü"], dtype=h5py.string_dtype())
    digests = []
    for name in ("a.h5", "b.h5"):
        with hdf5.read(tmp_path / name, "x") as file:
            digests.append(file.attrs[hdf5.DIGEST])
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "3",
        "3:",
        "3:AA=",
        "3:AAAA",
        "9:AA==",
        "-3:AA==",
        "3 :AA==",
        "3:A!==",
        "3:AA==\n",
        "x:AA==",
        None,
        7,
        ["3"],
    ],
)
def test_hits_that_cannot_be(tmp_path, text):
    (tmp_path / "metrics.json").write_text(json.dumps(record(metrics={"test": {"hits": text, "accuracy": 0.5}})))
    if text is None:
        assert len(study.read([tmp_path / "metrics.json"], [])) == 1
    else:
        told(tmp_path / "metrics.json", lambda path: study.read([path], []))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 17, 24, 25, 100])
def test_hits_that_can_be(size):
    rng = np.random.default_rng(size)
    text = hits.encode(rng.integers(0, 3, size), rng.integers(0, 3, size), 3)
    assert hits.is_whole(text)
    assert not hits.is_whole(text[:-1])
