"""Results of others are untrusted: what they may be is written down, and all else is refused in a sentence."""

import copy
import json
import logging
import math
import pickle
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

import authors_results
import small_archive
from labelbench.common import names
from labelbench.common.errors import UserError
from labelbench.evidence import archive, contents
from labelbench.evidence.importers import archive as importer
from labelbench.evidence.importers import labelbench_results
from small_archive import ENCODER, PLACE, ROUND_2, SELECTOR, TRAINER, TUNED

LOG = logging.getLogger("labelbench")
NO_NAMES = [
    *("../../../../../x", "..", ".", "a/b", "/etc/x", "a\\b", "~", "", " ", "a b", "a\n", "a\x00", "a..b", "a."),
    *("{dataset}", "{", "}", r"\input{x}", "$x$", "a%", "a&b", "=cmd|' /C calc'!A0", "+1", "-1", "@x", "_x"),
    *("é", "\u202ea", "x" * 101, "<script>", '"', "a,b", "a;b", "*", "?", "a|b", "-rf"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return small_archive.members(tmp_path_factory.mktemp("members"))


def read_all(path, **datasets):
    """Everything that a study asks an archive for, while planning and in its job."""
    config = importer.Config(str(path), **datasets)
    return (
        importer.contents(config),
        importer.definitions(config),
        importer.tuned(config),
        importer.read(config, LOG)[0],
    )


def refusal(path, **datasets):
    with pytest.raises(UserError) as caught:
        read_all(path, **datasets)
    message = str(caught.value)
    assert str(path) in message
    assert len(message) < 700
    return message


def test_the_small_archive_is_read(whole, tmp_path):
    held, defined, tuned, rows = read_all(small_archive.write(tmp_path / "a.zip", whole))
    assert isinstance(held["digits"], contents.Contents)
    assert defined["datasets"]["digits"]["fingerprint"] == small_archive.FINGERPRINT
    assert tuned[0]["chosen"] == {"learning_rate": 0.1}
    assert {(row["strategy"], row["round"]) for row in rows} == {(s, r) for s in ("random", "margin") for r in (1, 2)}


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name(name):
    assert not names.obeys(name)
    with pytest.raises(UserError, match="is no name. Names are"):
        names.check("here", name)
    for config in (importer.Config, labelbench_results.Config):
        with pytest.raises(ValueError, match="is no name. Names are"):
            config("x", {name: "cifar10/bs_1000"})


@pytest.mark.parametrize("name", ["a", "A", "digits_longtail", "CIFAR-10", "v1.2", "0x", "x" * 100])
def test_what_is_a_name(name):
    names.check("here", name)


def edited(whole, change):
    """The members with `change(manifest)` done to the manifest."""
    manifest = small_archive.manifest()
    result = change(manifest)
    return whole | {archive.MANIFEST: json.dumps(manifest if result is None else result).encode()}


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_in_a_manifest_that_is_none(whole, tmp_path, name):
    def dataset(manifest):
        for part in (manifest["contents"], manifest["datasets"], manifest["definitions"]["datasets"]):
            part[name] = copy.deepcopy(part["digits"])

    def strategy(manifest):
        manifest["contents"]["digits"]["runs"][1][3] = name
        manifest["contents"]["digits"]["kinds"][name] = "batch"

    def trainer(manifest):
        manifest["contents"]["digits"]["passive"] = [name]

    for change in (dataset, strategy, trainer):
        message = refusal(small_archive.write(tmp_path / "a.zip", edited(whole, change)))
        assert "manifest.json" in message
        assert "a name: 1 to 100 letters" in message


def at(*keys, value=None, gone=False):
    """A change of a manifest: the value at these keys, or its loss."""

    def change(manifest):
        place = manifest
        for key in keys[:-1]:
            place = place[key]
        if gone:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value

    return change


HELD = ("contents", "digits")
DEFINED = ("definitions", "datasets", "digits")
MANIFESTS = [
    *((lambda manifest, value=value: value, "holds no object") for value in ([1], "text", 7, True, 1.5)),
    *((at(key, gone=True), "missing") for key in ("contents", "definitions", "datasets", "tuned")),
    *((at(key, value=value), "is due") for key in ("contents", "definitions", "datasets") for value in ([], "x", 3)),
    *((at("tuned", value=value), "is due") for value in ({}, "x", [1], None)),
    *((at("format", value=value), "has the format") for value in (None, 1, [], "labelbench study, version 2")),
    (at("contents", value={}), "empty"),
    *((at(*HELD, key, gone=True), "missing") for key in small_archive.manifest()["contents"]["digits"]),
    *((at(*HELD, key, value=7.5), "is due") for key in ("runs", "kinds", "models", "passive", "end_to_end", "trials")),
    *((at(*HELD, key, value="x"), "is due") for key in ("evaluations", "curves", "costs", "published", "trials")),
    *((at(*HELD, "lead", value=value), "is none of") for value in ("acuracy", "..", None, 1)),
    *((at(*HELD, "trials", value=value), "too small") for value in (0, -3)),
    (at(*HELD, "runs", value=[]), "empty"),
    (at(*HELD, "runs", value=[[ENCODER, SELECTOR]]), "due"),
    (at(*HELD, "runs", 0, 3, value=["x"]), "is due"),
    (at(*HELD, "kinds", "margin", value="best"), "is none of"),
    (at(*HELD, "kinds", "margin", gone=True), "of what kind margin is"),
    (at(*HELD, "more", value=1), "no entry 'more'"),
    (at("datasets", "digits", gone=True), "not what it is"),
    (at(*DEFINED, gone=True), "not what it is"),
    *((at("datasets", "digits", "fingerprint", value=value), "") for value in (None, 1, "xyz", "../x", "")),
    *((at("datasets", "digits", "pool_size", value=value), "") for value in (None, -1, 1.5, "9", True)),
    *((at(*DEFINED, "budget", value=value), "") for value in (None, 3, [], [3], [3, 2, 2], [3, [], 2], [3, [0], 2])),
    *((at(*DEFINED, "budget", value=value), "") for value in ([3, [2], 10**9], [0, [2], 2], [3, [2], 2.5])),
    *((at("definitions", "seed", value=value), "") for value in (None, -1, "0", 1.5)),
    *((at("definitions", "encoders", value=value), "is due") for value in ([], {"clip": 1}, None)),
]


@pytest.mark.parametrize(("change", "reason"), MANIFESTS)
def test_manifests_that_say_what_cannot_be(whole, tmp_path, change, reason):
    assert reason in refusal(small_archive.write(tmp_path / "a.zip", edited(whole, change)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"format": NaN}', "NaN, which is no number"),
        (b'{"format": -Infinity}', "-Infinity, which is no number"),
        (b'{"format": "a", "format": "b"}', "'format' stands in it twice"),
        (b"{", "cannot be read"),
    ],
)
@pytest.mark.parametrize("member", [archive.MANIFEST, archive.CHECKSUMS])
def test_json_that_is_none(whole, tmp_path, member, text, reason):
    assert reason in refusal(small_archive.write(tmp_path / "a.zip", whole | {member: text}))


RECORDS = [
    *((field, value) for field in ("trial", "round", "num_labels") for value in (-1, "1", 1.0, None, True)),
    *((field, value) for field in ("dataset", "strategy", "pair", "stage") for value in (1, None, ["x"])),
    *(("metrics", value) for value in (None, [], 1, {"test": None}, {"test": [1]}, {"test": 0.5})),
    *(("metrics", {"test": {"accuracy": value}}) for value in (7.0, -0.1, "0.5", True, [0.5], 10**400)),
    ("metrics", {"": {"epochs": -1}}),
    ("metrics", {"../x": {"accuracy": 0.5}}),
    ("metrics", {"test": {"=cmd": 0.5}}),
    *((field, "../../../x") for field in ("dataset", "encoder", "selector", "trainer", "strategy", "stage", "model")),
    ("strategy", "badge"),
]


@pytest.mark.parametrize(("field", "value"), RECORDS)
def test_metrics_that_cannot_be(whole, tmp_path, field, value):
    name = f"{ROUND_2}/metrics.json"
    record = json.loads(whole[name]) | {field: value}
    path = small_archive.write(tmp_path / "a.zip", whole | {name: json.dumps(record).encode()})
    with pytest.raises(UserError) as caught:
        read_all(path)
    assert "metrics.json" in str(caught.value) or str(path) in str(caught.value)


def test_a_number_too_large_to_be_one(whole, tmp_path):
    name = f"{ROUND_2}/metrics.json"
    for number in (b"1e999", b"NaN"):
        broken = whole | {name: whole[name].replace(b"0.5", number)}
        with pytest.raises(UserError, match=r"metrics\.json"):
            read_all(small_archive.write(tmp_path / "a.zip", broken))


@pytest.mark.parametrize(
    "change",
    [{"dataset": "../x"}, {"num_labels": -1}, {"candidates": []}, {"candidates": [{}]}, {"chosen": []}, {"metric": 1}],
)
def test_tuned_settings_that_cannot_be(whole, tmp_path, change):
    record = json.loads(whole[TUNED]) | change
    path = small_archive.write(tmp_path / "a.zip", whole | {TUNED: json.dumps(record).encode()})
    assert TUNED in refusal(path)


@pytest.mark.parametrize(
    "name",
    ["../x.json", "/tmp/x.json", "runs/../../x", "a\\..\\x", "runs//x", "C:/x", "a/b\n", "/".join("a" * 17), "runs/"],
)
def test_members_that_would_leave_their_folder(whole, tmp_path, name):
    path = small_archive.write(tmp_path / "a.zip", whole | {name: b"x"})
    assert "has no name of a result" in refusal(path)
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(stat.S_IFLNK, "link"), (stat.S_IFIFO, "device"), (stat.S_IFCHR, "device"), (stat.S_IFDIR, "no plain file")],
)
def test_members_that_are_no_files(whole, tmp_path, kind, reason):
    name = f"{ROUND_2}/history.csv"
    path = small_archive.write(tmp_path / "a.zip", whole, **{name: {"external_attr": (kind | 0o777) << 16}})
    assert reason in refusal(path)


def patched(path, name, offset_local, offset_central, value):
    """Overwrite a field of two bytes in both headers of a member."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        local = file.getinfo(name).header_offset
    central = data.index(b"PK\x01\x02")
    while data[central + 46 : central + 46 + len(name)] != name.encode():
        central = data.index(b"PK\x01\x02", central + 4)
    for place in (local + offset_local, central + offset_central):
        data[place : place + 2] = struct.pack("<H", value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("member", [archive.MANIFEST, f"{ROUND_2}/metrics.json"])
@pytest.mark.parametrize(
    ("offsets", "value", "reason"),
    [((6, 8), 1, "is encrypted"), ((8, 10), 99, "method 99"), ((8, 10), 12, "method 12"), ((8, 10), 14, "method 14")],
)
def test_members_packed_otherwise(whole, tmp_path, member, offsets, value, reason):
    path = patched(small_archive.write(tmp_path / "a.zip", whole), member, *offsets, value)
    assert reason in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice(whole, tmp_path):
    path = small_archive.write(tmp_path / "a.zip", whole)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(f"{ROUND_2}/metrics.json", b"{}")
    assert "is there twice" in refusal(path)


def zeros(path, name, size):
    """Add a member of `size` zeros, packed into a thousandth, without holding them in memory."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file, file.open(name, "w") as member:
        for _ in range(size // 2**20):
            member.write(bytes(2**20))
    return path


def test_bombs_are_refused_by_their_size(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_MEMBER", 4 * 2**20)
    monkeypatch.setattr(archive, "LARGEST_ARCHIVE", 6 * 2**20)
    monkeypatch.setattr(archive, "LARGEST_JSON", 2 * 2**20)
    path = small_archive.write(tmp_path / "a.zip", whole)
    assert "would be 5 MiB large, and 4 MiB is the most" in refusal(zeros(path, "more.csv", 5 * 2**20))
    path = zeros(zeros(small_archive.write(path, whole), "a.csv", 4 * 2**20), "b.csv", 3 * 2**20)
    assert "unpacked it would take 7 MiB, and 6 MiB is the most" in refusal(path)
    path = zeros(small_archive.write(path, {}), archive.MANIFEST, 3 * 2**20)
    assert "manifest.json would be larger than 2 MiB" in refusal(path)
    monkeypatch.setattr(archive, "MOST_MEMBERS", len(whole))
    assert f"has {len(whole) + 1} members, {len(whole)} at most" in refusal(small_archive.write(path, whole))


def test_large_members_are_read_in_pieces(whole, tmp_path):
    """100 MB in 100 kB, which are no results that rows are made of: neither memory nor disk see them whole."""
    size = 100 * 2**20
    path = zeros(small_archive.write(tmp_path / "a.zip", whole), "tables/x.csv", size)
    assert path.stat().st_size < size / 100
    tracemalloc.start()
    assert "was not there when it was made: tables/x.csv" in refusal(path)
    expected = archive.load(path, archive.CHECKSUMS) | {"tables/x.csv": "0" * 64}
    (tmp_path / "unpacked").mkdir()
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr(archive.CHECKSUMS, json.dumps(expected))
    with zipfile.ZipFile(path) as file, zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as copied:
        for name in dict.fromkeys(file.namelist()):
            with file.open(name) as source, copied.open(name, "w") as target:
                while piece := source.read(2**20):
                    target.write(piece)
    with pytest.raises(UserError, match="was changed after it was made: tables/x.csv"):
        archive.extract(tmp_path / "b.zip", tmp_path / "unpacked", importer._is_read)
    assert not (tmp_path / "unpacked/tables").exists()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2**20


def test_an_archive_cut_or_changed_anywhere(whole, tmp_path):
    """At 60 places each: never anything but a sentence, or the very same rows."""
    path = small_archive.write(tmp_path / "a.zip", whole)
    data, good = path.read_bytes(), read_all(path)
    for place in range(0, len(data), math.ceil(len(data) / 60)):
        path.write_bytes(data[:place])
        refusal(path)
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        try:
            assert read_all(path) == good
        except UserError as error:
            assert str(path) in str(error)


CURVES = authors_results.curves(0.01, 0)
RIGHT = authors_results.place("cifar10", 1000, "clip", "linear", "flexmatch", "", "margin", 1234)
PUBLISHED = [
    ({"Num Labeled": [-1000, 2000, 3000]}, "holds -1000, and counts begin at 1"),
    ({"Num Labeled": [0, 2000, 3000]}, "holds 0, and counts begin at 1"),
    ({"Test Accuracy": [7.0, 0.5, 0.5]}, "'Test Accuracy', round 1: accuracy is 7.0, and a share is at most 1"),
    ({"Test Accuracy": [0.5, -0.5, 0.5]}, "'Test Accuracy', round 2: accuracy is -0.5, and cannot be negative"),
    ({"Pool Macro F1": [0.5, 0.5, 1.5]}, "'Pool Macro F1', round 3: pool_model_macro_f1 is 1.5"),
    ({"Test Loss": [-1.0, 1.0, 1.0]}, "loss is -1.0, and cannot be negative"),
    ({"_runtime": [-5.0, 1.0, 1.0]}, "elapsed_seconds is -5.0"),
    ({"Test Accuracy": [0.5, 0.5]}, "does not hold results of LabelBench"),
    ({"Test Accuracy": 0.5}, "does not hold results of LabelBench"),
    ({"Num Labeled": []}, "does not hold results of LabelBench"),
    ({"Num Labeled": ["1000", 2000, 3000]}, "does not hold results of LabelBench"),
]


@pytest.mark.parametrize(("change", "reason"), PUBLISHED)
def test_published_results_that_cannot_be(tmp_path, change, reason):
    authors_results.write_run(tmp_path / RIGHT, CURVES | change, [])
    config = labelbench_results.Config(str(tmp_path), {"mini": "cifar10/bs_1000"})
    with pytest.raises(UserError) as caught:
        labelbench_results.read(config, LOG)
    assert reason in str(caught.value)
    assert RIGHT in str(caught.value)


@pytest.mark.parametrize("name", ["{x}", "a b", "=x", "..", "\\x", "$", "é"])
def test_published_results_in_folders_that_are_no_names(tmp_path, name):
    for part in ("clip", "linear", "flexmatch"):
        path = tmp_path / RIGHT.replace(f"_{part}", f"_{name}")
        authors_results.write_run(path, CURVES, [])
        with pytest.raises(UserError, match=r"is no name\. Names are"):
            labelbench_results.contents(labelbench_results.Config(str(tmp_path), {"mini": "cifar10/bs_1000"}))
        path.unlink()


def test_a_published_result_that_is_far_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(labelbench_results, "LARGEST", 1000)
    path = tmp_path / RIGHT
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps([0] * 2000))
    with pytest.raises(UserError, match="bytes, and results of LabelBench have some"):
        labelbench_results.read(labelbench_results.Config(str(tmp_path), {"mini": "cifar10/bs_1000"}), LOG)


def test_no_cell_of_a_table_is_a_formula():
    """Spreadsheets run a text that begins with one of these; every text of a table begins with a name."""
    assert not [sign for sign in "=+-@\t\r|" if names.obeys(f"{sign}cmd")]


def test_what_is_read_of_an_archive():
    read = [f"{ROUND_2}/metrics.json", f"{ROUND_2}/labels.h5", "embeddings/d/e/clean.cost.json", "initial/d/labels.h5"]
    assert all(map(importer._is_read, read))
    assert not any(map(importer._is_read, ["tables/metrics.csv", f"{PLACE}/history.csv", "config.json", TUNED]))
    assert Path(TUNED).parts[-1] == f"{SELECTOR}-{TRAINER}.json"
