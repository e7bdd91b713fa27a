"""A study in one file: whole, the same bytes each time, and refused where it is not what it was."""

import hashlib
import json
import logging
import re
import shutil
import zipfile
from pathlib import Path

import h5py
import pytest

from conftest import configure, copy_workflow, snakemake
from labelbench.common import hdf5, json_files
from labelbench.common.errors import UserError
from labelbench.evidence import archive
from labelbench.evidence.importers import archive as importer

LOG = logging.getLogger("labelbench")
MARGIN = "runs/digits/glyphclip/linear-flexmatch/margin/trial0/round03"


@pytest.fixture(scope="module")
def archived(finished, tmp_path_factory):
    """The finished tiny study, with replicates for its noise floor, and its archive."""
    repo = tmp_path_factory.mktemp("archived") / "repo"
    shutil.copytree(finished, repo, symlinks=True)
    configure(repo, {"run": {"replicates": 1}})
    snakemake(repo, "archive", "-c2")
    return repo


def made(folder):
    """Content by name of all files under a study's tables and figures."""
    places = (folder / "results/tables", folder / "results/figures")
    return {path.relative_to(folder): path.read_bytes() for place in places for path in sorted(place.glob("*"))}


def changed(path, target, change):
    """A copy of an archive after `change(members)`, its checksums those of the new members."""
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    change(members)
    sums = {n: hashlib.sha256(content).hexdigest() for n, content in members.items() if n != archive.CHECKSUMS}
    members[archive.CHECKSUMS] = json.dumps(sums).encode()
    with zipfile.ZipFile(target, "w") as copy:
        for name, content in members.items():
            copy.writestr(name, content)
    return target


def test_an_archive_says_what_made_the_results(archived):
    with zipfile.ZipFile(archived / "results/archive.zip") as file:
        names = set(file.namelist())
        contents = {name: json.loads(file.read(name)) for name in names if "/" not in name}
        metrics = json.loads(file.read(f"{MARGIN}/metrics.json"))
    assert {f"{MARGIN}/{n}" for n in ("labels.h5", "history.csv", "cost.json", "select_cost.json")} <= names
    assert {"tables/summary.txt", "tables/metrics.parquet", "tables/final_digits.tex"} <= names
    assert {Path(name).suffix for name in names} == {".json", ".csv", ".h5", ".html", ".tex", ".txt", ".parquet"}
    assert {Path(name).name for name in names if name.endswith(".h5")} == {"labels.h5"}
    assert json.loads(metrics["spec"])["trainer"]["name"] == "flexmatch"
    assert re.fullmatch("[0-9a-f]{12}", metrics["code"])
    assert contents["environment.json"]["packages"]["torch"]
    assert contents["config.json"]["run"]["trials"] == 2
    record = contents["snakemake.json"][f"results/{MARGIN}/metrics.json"]
    assert record["rule"] == "train_proxy"
    assert record["endtime"] >= 0
    assert contents["manifest.json"]["datasets"]["digits"]["splits"]["test"] > 0


def test_the_same_study_gives_the_same_bytes(archived):
    path = archived / "results/archive.zip"
    before = path.read_bytes()
    path.unlink()
    snakemake(archived, "archive", "-c1")
    assert path.read_bytes() == before


def test_tables_and_figures_are_remade_from_the_archive_alone(archived, tmp_path):
    repo = copy_workflow(tmp_path / "repo")
    shutil.copy(archived / "results/archive.zip", repo / "theirs.zip")
    overlay = {"run": {"datasets": []}, "imports": {"theirs": {"name": "archive", "file": "theirs.zip"}}}
    configure(repo, overlay)
    output = snakemake(repo, "-c1")
    assert set(re.findall(r"^(?:local)?rule (\w+):", output, re.M)) == {
        *("import_results", "collect", "tables", "figures", "all"),
    }
    assert made(repo) == made(archived)


@pytest.mark.slow  # a second study
def test_an_archive_keeps_the_order_of_datasets(fresh, tmp_path):
    datasets = {name: {"name": "digits", "initial": start} for name, start in (("z", "random"), ("a", "kmeans"))}
    run = {"datasets": ["z", "a"], "trials": 2, "finetune": {"trainers": [], "rounds": ["last"]}}
    budgets = {"default": {"initial": 20, "batches": [10], "rounds": 2}}
    configure(fresh, {"datasets": datasets, "run": run, "budgets": budgets, "strategies": {"kmeans": None}})
    snakemake(fresh, "archive", "-c2")
    assert "levers.csv" in {path.name for path in made(fresh)}
    repo = copy_workflow(tmp_path / "them")
    overlay = {"run": {"datasets": []}, "imports": {"them": {"name": "archive", "file": "them.zip"}}}
    shutil.copy(fresh / "results/archive.zip", repo / "them.zip")
    configure(repo, overlay)
    snakemake(repo, "-c1")
    assert made(repo) == made(fresh)


def test_a_joint_comparison_tells_two_runs_apart(archived, tmp_path):
    repo = tmp_path / "repo"
    shutil.copytree(archived, repo, symlinks=True)
    before = (repo / "results/tables/summary.txt").read_text()
    twin = {"name": "archive", "file": "results/archive.zip"}
    configure(repo, {"imports": {"twin": twin, "third": twin}})
    snakemake(repo, "results/tables/summary.txt", "-c1")
    lines = (repo / "results/tables/summary.txt").read_text().splitlines()
    for line in before.splitlines():
        if match := re.match(r"  (margin|badge)( .*)", line):
            scores = match[2].split()[:6]
            for name in ("(twin)", "(third)"):
                assert [row for row in lines if row.split()[:2] == [match[1], name] and row.split()[2:8] == scores]
    # Another fingerprint is refused, whatever the names say.
    other = changed(
        repo / "results/archive.zip",
        repo / "other.zip",
        lambda members: members.update(
            {"manifest.json": re.sub(rb'"fingerprint": "....', b'"fingerprint": "0000', members["manifest.json"])}
        ),
    )
    twin["file"] = other.name
    configure(repo, {"imports": {"twin": twin, "third": twin}})
    done = snakemake(repo, "results/tables/summary.txt", "-c1", check=False)
    assert done.returncode
    assert re.search(r"digits is another dataset in this import: the fingerprint .* is 0000", done.stdout)


def without(*names):
    def change(members):
        for name in names:
            del members[name]

    return change


def edit_labels(members):
    """One label of the first round becomes another; the file stays a label set."""
    path = Path("labels.h5")
    path.write_bytes(members[f"{MARGIN}/labels.h5"])
    with h5py.File(path, "r+") as file:
        file["label"][0] = (file["label"][0] + 1) % 10
        hdf5.seal(file)
    members[f"{MARGIN}/labels.h5"] = path.read_bytes()


def swap_labels(members):
    members[f"{MARGIN}/labels.h5"] = members[f"{MARGIN.replace('trial0', 'trial1')}/labels.h5"]


def edit_counts(members):
    name = f"{MARGIN}/metrics.json"
    members[name] = json.dumps(json_files.sealed(json.loads(members[name]) | {"num_labels": 31})).encode()


def another_format(members):
    members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | {"format": "other"}).encode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without(*(f"{MARGIN}/{name}.json" for name in ("metrics", "cost", "select_cost"))),
         r"lacks the metrics of digits/.*margin, trial 0, round 3"),
        (without(f"{MARGIN}/labels.h5"), "the label set .* it is missing"),
        (edit_labels, "its first round is another"),
        (swap_labels, "of another trial"),
        (edit_counts, "it holds 30 labels up to round 3, they say 31"),
        (without("manifest.json"), "lacks manifest.json"),
        (another_format, "has the format 'other'"),
    ],
)  # fmt: skip
def test_what_was_changed_with_its_checksum_is_still_refused(archived, tmp_path, monkeypatch, change, reason):
    monkeypatch.chdir(tmp_path)
    path = changed(archived / "results/archive.zip", tmp_path / "changed.zip", change)
    with pytest.raises(UserError, match=reason):
        importer.read(importer.Config(str(path)), LOG)


def test_what_was_changed_without_its_checksum_is_named(archived, tmp_path):
    source = archived / "results/archive.zip"
    importer.read(importer.Config(str(source)), LOG)
    for name, content, reason in (
        (f"{MARGIN}/history.csv", b"", f"was changed after it was made: {MARGIN}/history.csv"),
        (f"{MARGIN}/history.csv", None, f"lacks {MARGIN}/history.csv"),
        ("more.txt", b"", "holds what was not there when it was made: more.txt"),
    ):
        path = tmp_path / "changed.zip"
        with zipfile.ZipFile(source) as file, zipfile.ZipFile(path, "w") as copy:
            for member in sorted({*file.namelist(), name}):
                data = content if member == name else file.read(member)
                if data is not None:
                    copy.writestr(member, data)
        with pytest.raises(UserError, match=reason):
            importer.read(importer.Config(str(path)), LOG)


def test_chosen_settings_travel_with_the_study(archived, tmp_path):
    name = "tuned/digits/glyphclip/linear-flexmatch.json"
    identity = {"dataset": "digits", "encoder": "glyphclip", "selector": "linear", "trainer": "flexmatch"}
    tried = {"num_labels": 9, "metric": "accuracy", "candidates": [{"settings": {}, "score": 0.5}]}
    record = identity | tried | {"chosen": {"learning_rate": 0.01}}

    def add(members):
        members[name] = json.dumps(record).encode()
        members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | {"tuned": [name]}).encode()

    path = changed(archived / "results/archive.zip", tmp_path / "tuned.zip", add)
    assert importer.tuned(importer.Config(str(archived / "results/archive.zip"))) == []
    assert importer.tuned(importer.Config(str(path))) == [record]
    assert importer.tuned(importer.Config(str(path), {"mine": "digits"})) == [record | {"dataset": "mine"}]
    assert importer.tuned(importer.Config(str(path), {"mine": "digits_longtail"})) == []


def test_a_file_that_is_no_archive_is_named(archived, tmp_path):
    whole = (archived / "results/archive.zip").read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        path = tmp_path / "broken.zip"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"broken\.zip is not an archive of a study"):
            importer.contents(importer.Config(str(path)))
    with pytest.raises(UserError, match=r"holds no dataset 'other'; it holds digits, digits_longtail"):
        importer.contents(importer.Config(str(archived / "results/archive.zip"), {"mine": "other"}))
