"""A whole campaign through Snakemake: batches out, answers in, corrections, moves, additions, delivery."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from PIL import Image

from conftest import configure, copy_workflow, snakemake
from labelbench.common import registry
from labelbench.labelling import batch_files, campaign, identity, predict, rehearsal

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_images(folder, begin, end):
    """Digits as PNG files in folders of a hundred; class by path."""
    plugin, config = registry.configured("datasets", {"name": "digits"})
    pool, read = plugin.prepare(config).splits["pool"], plugin.images(config)
    truth = {}
    for n in range(begin, end):
        path = folder / f"{n // 100}/{n:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        read(int(pool.source[n])).resize((32, 32), Image.Resampling.BICUBIC).save(path)
        truth[identity.content(path)] = WORDS[pool.labels[n]]
    return truth


class Run:
    """A campaign in a copy of the workflow; `truth` by hash is what its people know."""

    def __init__(self, repo, settings):
        self.repo, self.settings, self.more = repo, settings, []
        self.folder = repo / "labelling/numbers"
        self.truth = write_images(repo / "pictures", 0, 300)

    def __call__(self, *targets, check=True, **change):
        self.settings |= change
        (self.repo / "label.yaml").write_text(yaml.safe_dump({"label": self.settings}))
        targets = targets or ("label",)
        return snakemake(self.repo, "-c2", "--configfile", "label.yaml", *self.more, "--", *targets, check=check)

    def batch(self):
        return campaign.batches(self.folder)[-1]

    def answer(self, part=slice(None), **how):
        rows = rehearsal.answers(self.batch(), self.truth, np.random.default_rng(0), WORDS, **how)[part]
        return rehearsal.hand_back(self.folder, self.batch(), rows)

    def jobs(self, output):
        """How often each rule ran."""
        names = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", output, re.MULTILINE)
        return {name: names.count(name) for name in names}


@pytest.fixture
def run(tmp_path):
    settings = {"campaign": "numbers", "images": "pictures", "classes": list(WORDS), "batch": 40, "audit": 35}
    return Run(copy_workflow(tmp_path / "repo"), settings)


def test_a_campaign_from_the_first_batch_to_all_labels(run):
    out = run(wrong=20.0, target=50.0)
    assert "Open labelling/numbers/batch01/label.html" in out
    first = run.batch()
    assert len(first.images) == 40
    assert sum(image.audit for image in first.images) == 20
    assert {p.name for p in first.folder.iterdir()} == {
        "batch.csv", "batch.json", "label.html", "label_studio.json", "label_studio.xml",
    }  # fmt: skip

    # Nobody has answered: there is nothing to do, and it is said what waits.
    out = run()
    assert run.jobs(out) == {"label": 1}
    assert "Batch 1: Open labelling/numbers/batch01/label.html" in out

    # Half of the answers: they are kept, and the batch goes on waiting.
    run.answer(slice(0, 25))
    out = run()
    assert "15 of 40 images wait" in out
    assert len(campaign.batches(run.folder)) == 1

    run.answer()
    out = run()
    assert run.jobs(out)["train_answers"] == 1
    assert len(campaign.batches(run.folder)) == 2
    run.answer()
    out = run()
    assert re.search(r"Accuracy of the model: \d+\.\d % \[\d+\.\d, \d+\.\d\], told by 35 images", out)
    assert "The last batch gained" in out
    untouched = (first.folder / "batch.json").read_bytes()

    # A corrected answer of batch 2 trains that round anew, and asks nothing anew.
    path = run.folder / "answers/numbers-batch02-simulated.csv"
    rows = identity.read_table(path)
    mine = {image.sha256 for image in campaign.batches(run.folder)[1].images if not image.audit}
    row = next(row for row in rows if row["sha256"] in mine)
    row["label"] = "zero" if row["label"] != "zero" else "one"
    identity.write_table(path, batch_files.COLUMNS, (row.values() for row in rows))
    out = run()
    assert run.jobs(out)["train_answers"] == 1
    assert "propose_batch" not in run.jobs(out)
    assert (first.folder / "batch.json").read_bytes() == untouched

    # The folder is renamed and grows: answers stay, only what is new is embedded, no model is trained.
    (run.repo / "pictures").rename(run.repo / "archive {2026}")
    run.truth |= write_images(run.repo / "archive {2026}", 300, 310)
    out = run(images="archive {2026}")
    assert "train_answers" not in run.jobs(out)
    log = (run.repo / "logs/labelling/numbers/embed_images/clean.log").read_text()
    assert "embedded 10 of 310 images" in log

    # Delivery asks for a last audit first, then keeps its promise.
    out = run("deliver")
    assert "a last audit" in out
    assert out.count("Open labelling/") == 1  # one thing to do, not two
    assert run.batch().kind == "promise"
    run.answer()
    (run.folder / "classes.csv").write_text("old,new\nnine,neuf\n")  # a class renamed between the two calls
    run.truth = {name: "neuf" if label == "nine" else label for name, label in run.truth.items()}
    out = run("deliver", folders=True, classes=[*WORDS[:9], "neuf"])
    assert "Open labelling/" not in out
    assert "With 95 % confidence at most 20 % of all labels are wrong" in out
    with (run.folder / "labels.csv").open(encoding="utf-8-sig") as file:
        labels = list(csv.DictReader(file))
    assert len(labels) == 310
    wrong = [r for r in labels if r["label"] and run.truth[r["sha256"]] != r["label"]]
    assert len(wrong) < 0.2 * 310
    assert {r["source"] for r in labels if r["label"]} == {"person", "model"}
    links = [path for path in (run.folder / "by_class").glob("*/*") if path.name != "delivered.csv"]
    label_of = {r["image"].replace("/", "__"): r["label"] for r in labels if r["label"]}
    assert {link.name: link.parent.name for link in links} == label_of
    assert all(link.exists() for link in links)
    said = list(predict.predictions(run.folder / "model", run.repo / "archive {2026}/3"))
    assert sum(run.truth[identity.content(run.repo / "archive {2026}/3" / p)] == c for p, c, _ in said) >= 7


def test_what_people_get_wrong_is_said_and_everything_else_goes_on(run):
    (run.repo / "pictures/broken.jpg").write_bytes(b"no image")
    (run.repo / "pictures/lost.jpg").symlink_to("gone.jpg")
    run()
    answers = run.answer(slice(0, 39))
    unknown = "numbers/01/x,nowhere.png,,five,label,,,\n"
    answers.write_bytes(answers.read_bytes() + unknown.encode())
    (run.folder / "answers/photo.zip").write_bytes(b"PK")
    (run.folder / "classes.csv").write_text("old,new\ncinq,five\n")
    last = run.batch().images[39]
    (run.folder / "answers/b.csv").write_text(f"sha256,label,annotator\n{last.sha256},cinq,me\n")
    out = run()
    assert len(campaign.batches(run.folder)) == 2
    problems = (run.folder / "problems.csv").read_text(encoding="utf-8-sig")
    for words in ("broken.jpg", "lost.jpg", "nowhere.png", "unpack it"):
        assert words in problems
    assert "1 unreadable" in out

    # Once the link and the broken image are gone they are no problem any more; the rest of the index stays.
    (run.repo / "pictures/lost.jpg").unlink()
    (run.repo / "pictures/broken.jpg").unlink()
    assert "index_images" in run.jobs(run())
    problems = (run.folder / "problems.csv").read_text(encoding="utf-8-sig")
    assert "lost.jpg" not in problems
    assert "broken.jpg" not in problems
    found = campaign.read_answers(run.repo / "results/labelling/numbers/answers.csv")
    assert found[last.sha256].label == "five"

    # Another person disagrees.
    (run.folder / "answers/c.csv").write_text(f"sha256,label,annotator\n{last.sha256},six,you\n")
    out = run()
    assert "1 image on which people disagree" in out
    assert re.search(r"\d things in the answers or images to mend", out)
    conflicts = (run.folder / "conflicts.csv").read_text(encoding="utf-8-sig")
    assert "me" in conflicts
    assert "you" in conflicts

    # Two classes become one half-way, and a third goes: what was said of both counts, and of the third is told.
    (run.folder / "classes.csv").write_text("old,new\ncinq,five\nnine,four\n")
    asked = run.batch()
    out = run(classes=[name for name in WORDS if name not in ("nine", "eight")])
    assert run.batch() == asked
    merged = campaign.read_answers(run.repo / "results/labelling/numbers/answers.csv")
    before = {name: answer.label for name, answer in found.items() if answer.status == "label" and name != last.sha256}
    lost = {name for name, label in before.items() if label == "eight"}
    assert lost
    for name, label in before.items():
        assert merged[name].status == ("new" if name in lost else "label")
        assert merged[name].label == {"nine": "four"}.get(label, label)
    problems = (run.folder / "problems.csv").read_text(encoding="utf-8-sig")
    assert "'eight'" in problems


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strategy": "galaxy"}, "cannot fill a batch for people"),
        ({"strategy": "oracle"}, "looks at the true labels"),
        ({"strategy": "margni"}, "Did you mean 'margin'"),
        ({"first": "margin"}, "before the first answers there is none"),
        ({"selector": "finetune"}, "trains the encoder itself"),
        ({"classes": ["one", "One"]}, "are one class to a reader"),
        ({"images": "nowhere"}, "config, label: images: nowhere does not exist"),
        ({"bacth": 3}, "Did you mean 'batch'"),
        ({"batch": "many"}, "the text 'many' stands where a whole number is due"),
    ],
)
def test_settings_that_cannot_be_meant(run, change, words):
    done = run(check=False, **change)
    assert done.returncode
    assert words in done.stdout
    assert "Traceback" not in done.stdout
    assert not run.folder.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "tables holds no image file"),
        ("", "tables/t.csv is empty"),
        ("path,label\n", "tables/t.csv names no image file"),
        ('path,label\n"a.png,x\nb.png,y\n', "the quote that opens in line 2 is never closed"),
        ("path,label\na.png,x\n", "none of 1 file that tables/t.csv names is there"),
    ],
)
def test_images_that_cannot_be_meant_are_told_while_planning(run, content, words):
    (run.repo / "tables").mkdir()
    if content is not None:
        (run.repo / "tables/t.csv").write_text(content)
    (run.repo / "label.yaml").write_text(
        yaml.safe_dump({"label": run.settings | {"images": "tables" if content is None else "tables/t.csv"}})
    )
    done = snakemake(run.repo, "-n", "--configfile", "label.yaml", "--", "label", check=False)
    assert done.returncode
    told = done.stdout.rpartition("WorkflowError:\n")[2]
    assert told.startswith("config, label: images: ")
    assert words in told
    assert "Traceback" not in done.stdout and "Wildcards" not in done.stdout


def test_without_a_section_it_is_said_where_to_begin(run):
    done = snakemake(run.repo, "-n", "label", check=False)
    assert done.returncode
    assert "config/label.yaml" in done.stdout


def test_another_folder_is_refused(run):
    run()
    others = run.repo / "others"
    write_images(others, 400, 420)
    done = run(check=False, images="others")
    assert done.returncode and "it is another folder" in done.stdout
    assert json.loads((run.folder / "batch01/batch.json").read_text())["batch"] == 1
    # Nor is it taken where it has the name of the former one: then nothing but the list of images is new.
    (run.repo / "pictures").rename(run.repo / "former")
    others.rename(run.repo / "pictures")
    for _ in range(2):  # Snakemake would record the first try as done, and go on with the old index
        done = run(check=False, images="pictures")
        assert done.returncode and "none of the 300 images" in done.stdout


def test_a_batch_whose_images_are_gone_is_not_waited_for(run):
    run()
    first = run.batch().images
    for image in first:
        (run.repo / "pictures" / image.path).unlink()
    answer = f"sha256,label,annotator\n{first[0].sha256},{run.truth[first[0].sha256]},me\n"
    (run.folder / "answers").mkdir(exist_ok=True)
    (run.folder / "answers/page.csv").write_text(answer)  # the page has its pictures in itself
    out = run()
    assert "260 images, 0 labelled (1 label of images that are gone)" in out
    assert "39 images of earlier batches are gone without an answer" in out
    assert "Batch 2: Open" in out
    assert not {image.sha256 for image in run.batch().images} & {image.sha256 for image in first}


def derived(run):
    """Every file of a campaign but its logs, by name."""
    places = [run.folder, run.repo / "results/labelling"]
    return {str(p.relative_to(run.repo)): p.read_bytes() for place in places for p in place.rglob("*") if p.is_file()}


@pytest.mark.slow  # thirty runs that are killed, and what each still has to do
def test_a_campaign_that_is_killed_at_any_moment_loses_nothing(run, tmp_path):
    run()
    run.answer()
    (run.repo / "label.yaml").write_text(yaml.safe_dump({"label": run.settings}))
    before = tmp_path / "before"
    shutil.copytree(run.repo, before, symlinks=True)
    run()
    undisturbed = derived(run)
    answers = run.folder / "answers/numbers-batch01-simulated.csv"
    typed, moments = answers.read_bytes(), np.random.default_rng(0)
    command = [sys.executable, "-m", "snakemake", "-c2", "--configfile", "label.yaml", "--", "label"]
    for _ in range(30):
        shutil.rmtree(run.repo)
        shutil.copytree(before, run.repo, symlinks=True)
        with subprocess.Popen(
            command, cwd=run.repo, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as started:
            time.sleep(moments.uniform(0.5, 6))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
        assert answers.read_bytes() == typed
        snakemake(run.repo, "--unlock", "--configfile", "label.yaml")
        run()
        assert derived(run) == undisturbed


def test_labels_that_exist_already_and_a_trainer_that_uses_unlabelled_images(run):
    known = sorted(run.truth)[:60]
    identity.write_table(run.repo / "known.csv", ("sha256", "label"), [(name, run.truth[name]) for name in known])
    trainer = {"name": "flexmatch", "epochs": 2, "min_steps_per_epoch": 5, "batch_size": 16}
    (run.repo / "config/extra.yaml").write_text(yaml.safe_dump({"trainers": {"semi": trainer}, "augmentations": 1}))
    run.settings |= {"existing": ["known.csv"], "trainer": "semi"}
    (run.repo / "label.yaml").write_text(yaml.safe_dump({"include": ["config/extra.yaml"], "label": run.settings}))
    snakemake(run.repo, "-c2", "--configfile", "label.yaml", "--", "label")
    assert (run.repo / "results/labelling/numbers/embeddings/aug0.h5").exists()
    # The first batch is chosen by a model, and asks nothing that has a label.
    batch = run.batch()
    assert batch.strategy == "margin"
    assert not {image.sha256 for image in batch.images} & set(known)
    assert any(image.guess for image in batch.images)
    assert set(batch.known) == set(known)


@pytest.mark.slow  # three runs
def test_a_pool_no_larger_than_its_audit_is_delivered_without_a_model(run):
    for path in sorted((run.repo / "pictures").rglob("*.png"))[20:]:
        path.unlink()
    out = run(audit=30)
    assert "The audit takes 20 of the 20 images" in out
    run.answer()
    out = run("deliver", wrong=5.0)
    assert "20 files: 20 labelled by people, 0 by the model" in out
    assert "There is no model" in out
    assert (run.folder / "model/no_model.txt").exists()
    assert "Every image has an answer" in run()


@pytest.mark.slow
@pytest.mark.parametrize("gpus", [1, 2])
def test_the_encoder_is_trained_end_to_end_before_labels_are_delivered(run, gpus):
    settings = {"wrong": 30.0, "finetune": "passive_images", "batch": 60}
    configure(run.repo, {"encoders": {"glyphclip": {"end_to_end": {"gpus": gpus}}}})
    run.more = ["--resources", f"gpu={gpus}"]  # where there are none, as many processes compute on the CPU
    run(**settings)
    run.answer()
    run()
    out = run("deliver")  # asks for the last audit, with the fine-tuned encoder frozen
    assert "a last audit" in out
    run.answer()
    out = run("deliver")
    assert "The model that labels is right on" in out
    derived = run.repo / "results/labelling/numbers/finetuned"
    log = (run.repo / "logs/labelling/numbers/finetune_answers.log").read_text()
    assert ("2 processes, each with a GPU" in log) == (gpus == 2)
    said = {row["sha256"]: row for row in identity.read_table(derived / "predictions.csv")}
    frozen = {row["sha256"]: row for row in identity.read_table(run.batch().folder / "frozen.csv")}
    assert frozen
    differ = [(said.get(n), row) for n, row in frozen.items() if {**said.get(n, {}), "judged": row["judged"]} != row]
    assert differ == []
    assert not (derived / "checkpoint.safetensors").exists()
    again = {path: label for path, label, _ in predict.predictions(run.folder / "model", run.repo / "pictures")}
    with (run.folder / "labels.csv").open(encoding="utf-8-sig") as file:
        model = [row for row in csv.DictReader(file) if row["source"] == "model"]
    assert model
    assert all(again[row["image"]] == row["label"] for row in model)
    assert np.mean([run.truth[row["sha256"]] == row["label"] for row in model]) > 0.7
