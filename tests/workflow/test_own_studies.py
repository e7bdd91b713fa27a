"""The user's own images through the workflow: refused, with label noise, and from folders to tables."""

import re

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import configure, copy_workflow, snakemake
from labelbench.data import annotator, dataset_file, label_set
from own_images import ROWS, write_folders, write_image, write_table
from studies import planned, refused


def study(tmp_path, datasets, **run):
    repo = copy_workflow(tmp_path / "repo")
    configure(repo, {"datasets": datasets, "run": {"datasets": list(datasets), "trials": 1, **run}})
    configure(repo, {"budgets": {"default": {"initial": 4, "batches": [2], "rounds": 3}}})
    return repo


def test_a_study_with_a_damaged_image_is_refused(tmp_path):
    write_folders(tmp_path / "images", {"x": 10, "y": 10})
    (tmp_path / "images/x/x-00.png").write_bytes(b"\x89PNG")
    repo = study(tmp_path, {"mine": {"name": "image_folder", "folder": str(tmp_path / "images")}})
    output = refused(repo, "results/datasets/mine.h5")
    assert f"{tmp_path}/images/x/x-00.png: not an image that Pillow can read" in output
    assert not (repo / "results/datasets/mine.h5").exists()


def test_a_pool_without_labels_is_refused_when_it_is_prepared(tmp_path):
    rows = [row if i in (0, 1) else row.replace("cat", "").replace("dog", "") for i, row in enumerate(ROWS[:8])]
    path = write_table(tmp_path / "t.csv", "path,label,split", *rows, *ROWS[8:])
    repo = study(tmp_path, {"mine": {"name": "table", "table": path}})
    output = refused(repo, "results/initial/mine/glyphclip/trial0/labels.h5")
    assert re.search(r"Of 8 images of the pool, those without a label \(6\): line \d+: ", output)
    assert "`unlabelled: drop`" in output


CLEAN, VIEWS = (f"results/embeddings/mine/glyphclip/{view}.h5" for view in ("clean", "aug0"))


def run(repo, *targets):
    """What a run says, and the rules that it ran."""
    output = snakemake(repo, "-c1", *targets, env={"OMP_NUM_THREADS": "1"})
    return output, re.findall(r"^(?:local)?rule (\w+):", output, re.MULTILINE)


def embedded(repo, view="clean"):
    """How many images the last job has embedded."""
    log = (repo / f"logs/embed/mine/glyphclip/{view}.log").read_text()
    return int(re.search(r"(\d+) images embedded", log)[1])


@pytest.mark.slow
def test_contents_of_a_folder_decide_what_is_made_again_not_dates(tmp_path):
    images = write_folders(tmp_path / "images {2021}//deep", {"<a>": 20, "b": 20})
    repo = study(tmp_path, {"mine": {"name": "image_folder", "folder": f"{tmp_path}/images {{2021}}//deep"}})
    output, rules = run(repo, CLEAN, VIEWS)
    assert sorted(rules) == ["embed", "embed", "prepare_dataset"]
    assert str(images) not in output  # no wall of folders
    assert embedded(repo) == 40

    before = h5py.File(repo / VIEWS)["strong"][()]
    for path in [images, *images.rglob("*")]:
        path.touch()
    (images / "b/.DS_Store").write_bytes(b"?")
    (images / "notes.txt").write_text("?")
    assert run(repo, CLEAN, VIEWS)[1] == []

    write_image(images / "b/new.png", 99)
    assert sorted(run(repo, CLEAN, VIEWS)[1]) == ["embed", "embed", "prepare_dataset"]
    assert embedded(repo) == embedded(repo, "aug0") == 1
    after = h5py.File(repo / VIEWS)["strong"][()]
    assert {row.tobytes() for row in before} <= {row.tobytes() for row in after}

    replaced = images / "<a>/<a>-03.png"  # in place, of the same size
    date = replaced.stat().st_mtime_ns
    content = replaced.read_bytes()
    write_image(replaced, 130)
    assert len(replaced.read_bytes()) == len(content)
    assert replaced.stat().st_mtime_ns != date
    run(repo, CLEAN)
    assert embedded(repo) == 1
    assert run(repo, CLEAN)[1] == []


def test_a_broken_image_that_comes_and_goes_leaves_the_dataset(tmp_path):
    images = write_folders(tmp_path / "images", {"a": 20, "b": 20})
    repo = study(tmp_path, {"mine": {"name": "image_folder", "folder": str(images)}})
    run(repo, CLEAN)
    content = (repo / "results/datasets/mine.h5").read_bytes()
    (images / "a/broken.png").write_bytes(b"\x89PNG")
    for _ in range(2):  # and not only once
        assert "a/broken.png: not an image that Pillow can read" in refused(repo, CLEAN)
    (images / "a/broken.png").unlink()
    assert run(repo, CLEAN)[1] == []
    assert (repo / "results/datasets/mine.h5").read_bytes() == content


@pytest.mark.slow
def test_a_table_reruns_by_contents_and_a_label_embeds_nothing(tmp_path):
    place = tmp_path / "{list}"
    path = write_table(place / "t.csv", "path,label,split", *ROWS)
    repo = study(tmp_path, {"mine": {"name": "table", "table": path}})
    run(repo, CLEAN)
    for file in [place, *place.iterdir()]:
        file.touch()
    assert run(repo, CLEAN)[1] == []
    write_table(place / "t.csv", "path,label,split", ROWS[0].replace("dog", "cat"), *ROWS[1:])
    assert sorted(run(repo, CLEAN)[1]) == ["embed", "prepare_dataset"]
    assert embedded(repo) == 0
    write_image(place / "a1.png", 77)
    run(repo, CLEAN)
    assert embedded(repo) == 1


def test_own_images_from_folders_to_tables(tmp_path):
    """`config/own_data.yaml` as it is shipped, but for the folder and fewer, smaller jobs."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i in range(200):
        path = tmp_path / f"digits/{digits.target_names[digits.target[i]]}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[i] * 15).astype(np.uint8)).save(path)
    repo = copy_workflow(tmp_path / "repo")
    shipped = repo / "config/own_data.yaml"
    text = shipped.read_text()
    assert len([line for line in text.splitlines() if not line.startswith("#")]) <= 15
    for old, new in [
        ("/path/to/images", str(tmp_path / "digits")),
        ("image_size: 224", "image_size: 32"),
        ("{initial: 50, batches: [50], rounds: 5}", "{initial: 30, batches: [30], rounds: 2}"),
    ]:
        assert old in text
        text = text.replace(old, new)
    shipped.write_text(text)
    configure(repo, {"run": {"trials": 2}, "augmentations": 1, "trainers": {"flexmatch": {"epochs": 4}}})
    snakemake(repo, "-c1", "--configfile", "config/own_data.yaml", env={"OMP_NUM_THREADS": "1"})
    results = repo / "results/own_data"
    assert {path.name for path in (results / "tables").iterdir()} >= {"final_mine.csv", "final_mine.tex", "summary.txt"}
    summary = (results / "tables/summary.txt").read_text()
    assert "mine: 60 labels, 2 paired trials" in summary
    assert "random" in summary and "margin" in summary
    assert (results / "figures/curves_mine.svg").stat().st_size > 1000
    with h5py.File(results / "datasets/mine.h5") as file:
        assert file.attrs["class_names"].tolist() == [str(i) for i in range(10)]
    assert "Nothing to be done" in snakemake(repo, "-c1", "--configfile", "config/own_data.yaml")


def labels_of(name, strategy, round_, trial=0):
    if round_ == 1:
        return f"results/initial/{name}/glyphclip/trial{trial}/labels.h5"
    return f"results/runs/{name}/glyphclip/linear-flexmatch/{strategy}/trial{trial}/round{round_:02d}/labels.h5"


@pytest.mark.slow
def test_a_study_with_noise(tmp_path):
    """Every round and strategy of a trial buys from one annotator; data, tests and noiseless specs stay as they are."""
    folder = str(write_folders(tmp_path / "images", {"x": 40, "y": 40, "z": 40}))
    mine = {"name": "image_folder", "folder": folder}
    noisy = {**mine, "noise": {"kind": "symmetric", "rate": 0.5}}
    repo = study(tmp_path, {"mine": mine, "noisy": noisy}, strategies=["random", "galaxy"], trials=2)
    configure(repo, {"strategies": {"galaxy": None}, "augmentations": 1})
    configure(repo, {"trainers": {"flexmatch": {"epochs": 1, "min_steps_per_epoch": 1}}})
    configure(repo, {"budgets": {"default": {"initial": 20, "batches": [10], "rounds": 3}}})
    targets = [labels_of("noisy", *at) for at in (("random", 3), ("random", 3, 1), ("galaxy", 2))]
    targets += [labels_of("mine", "random", 2)]
    snakemake(repo, "-c1", *targets, env={"OMP_NUM_THREADS": "1"})

    clean, dataset = (dataset_file.read(repo / f"results/datasets/{name}.h5") for name in ("mine", "noisy"))
    assert dataset.fingerprint == clean.fingerprint
    for split, values in clean.splits.items():
        assert np.array_equal(dataset.splits[split].labels, values.labels)
    true = dataset.splits["pool"].labels
    for strategy, round_, trial in (
        ("random", 1, 0),
        ("random", 2, 0),
        ("random", 3, 0),
        ("random", 3, 1),
        ("galaxy", 2, 0),
    ):
        given = annotator.of_trial(dataset, noisy["noise"], seed=0, trial=trial)
        bought = label_set.read(repo / labels_of("noisy", strategy, round_, trial), dataset)
        assert np.array_equal(bought.label, given[bought.index])
        new = bought.round == round_
        assert (bought.label != true[bought.index])[new].any()
    bought = label_set.read(repo / labels_of("mine", "random", 2), clean)
    assert np.array_equal(bought.label, true[bought.index])
    with h5py.File(repo / labels_of("mine", "random", 2)) as file:
        assert "noise" not in file.attrs["spec"]

    configure(repo, {"datasets": {"noisy": {"noise": {"rate": 0.4}}}})
    again = {(w["dataset"], w["trial"]) for rule, w in planned(repo) if rule == "initial_labels"}
    assert again == {("noisy", "0"), ("noisy", "1"), ("mine", "1")}  # the last was not asked for before


@pytest.mark.slow
def test_features_and_a_shortlist_from_a_file_to_tables(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    np.save(tmp_path / "x.npy", rng.standard_normal((300, 4)).astype(np.float32) + 3 * labels[:, None])
    np.save(tmp_path / "y.npy", labels)
    data = {"name": "features", "features": str(tmp_path / "x.npy"), "label": str(tmp_path / "y.npy")}
    run = {
        "trainers": ["flexmatch"],
        "strategies": ["random", "short"],
        "finetune": {"trainers": [], "rounds": ["last"]},
    }
    repo = study(tmp_path, {"mine": data}, **run)
    configure(repo, {"strategies": {"short": {"name": "badge", "shortlist": {"by": "margin", "size": 9}}}})
    configure(repo, {"augmentations": 1})
    snakemake(repo, "-c1")
    final = pd.read_csv(repo / "results/tables/final_mine.csv")
    assert set(final["strategy"]) == {"random", "short"}
    metrics = pd.read_csv(repo / "results/tables/metrics.csv")
    assert set(metrics["encoder"]) == {"given"}
    assert metrics.loc[metrics["split"] == "test", "value"].max() > 0.9
