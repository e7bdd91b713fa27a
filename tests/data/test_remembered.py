"""What a study remembers of files: the token changes with contents, and with nothing else."""

import os

import pytest

from labelbench.data import dataset_file, remembered
from labelbench.data.datasets import image_folder, table
from own_images import ROWS, write_folders, write_image, write_table

MADE_BY = "settings and code"


class Study:
    """The part of Snakemake that matters here: a job that is run when its token differs from the recorded one."""

    def __init__(self, plugin, config, tmp_path):
        self.plugin, self.config = plugin, config
        self.place, self.output = str(tmp_path / "mine.known"), tmp_path / "mine.h5"
        self.recorded = None

    def token(self, made_by=MADE_BY, main=True):
        def listing(known, others):
            return self.plugin.listing(self.config, known, others)

        return remembered.planned(self.place, self.output, made_by, listing, main)

    def run(self, tries=1):
        """Whether the job ran, as Snakemake would have it: it records the token of a job that is done.

        tries: how often it runs, all but the last time in vain.
        """
        token = self.token()
        if self.output.exists() and token == self.recorded:
            return False
        self.output.unlink(missing_ok=True)
        for _ in range(tries):
            remembered.begin(self.place)
        dataset = self.plugin.prepare(self.config, self.place)
        dataset_file.write(self.output, dataset, "{}", "abc")
        listing = self.plugin.listing(self.config, lambda: remembered.read_files(self.place), {})
        remembered.finish(self.place, self.output, listing, MADE_BY, self.token(main=False))
        self.recorded = token
        return True


@pytest.fixture
def folder(tmp_path):
    images = write_folders(tmp_path / "images", {"a": 10, "b": 10})
    study = Study(image_folder, image_folder.Config(folder=str(images)), tmp_path)
    assert study.run() and not study.run()
    return study, images


def later(path):
    """Give a file or folder the next date, whatever the clock's resolution."""
    date = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(date, date))


def test_dates_and_files_that_are_no_images_change_nothing(folder):
    study, images = folder
    for path in [images, *images.rglob("*")]:
        later(path)
    (images / ".DS_Store").write_bytes(b"?")
    (images / "a/notes.txt").write_text("?")
    assert not study.run()


def test_each_change_of_content_is_noticed_once(folder):
    study, images = folder
    changes = [
        lambda: write_image(images / "a/new.png", 99),
        lambda: (images / "b/b-00.png").unlink(),
        lambda: write_image(images / "a/a-03.png", 77),  # in place
        lambda: (images / "b/b-01.png").rename(images / "a/b-01.png"),
    ]
    for change in changes:
        before = study.recorded
        change()
        assert study.run() and study.recorded != before
        assert not study.run()


def test_an_image_replaced_by_one_of_its_size_is_noticed(folder):
    study, images = folder
    old = (images / "a/a-01.png").read_bytes()
    new = bytearray(old)
    new[-20] ^= 1
    (images / "a/a-01.png").write_bytes(new)
    later(images / "a/a-01.png")
    assert study.token() != study.recorded
    (images / "a/a-01.png").write_bytes(old)
    later(images / "a/a-01.png")
    assert not study.run()


def test_only_what_has_a_new_date_is_read_while_planning(folder, monkeypatch):
    study, images = folder
    later(images / "a/a-01.png")
    read = []
    content = remembered.contents.content
    monkeypatch.setattr(remembered.contents, "content", lambda path: read.append(path) or content(path))
    assert study.token() == study.token() == study.recorded
    assert read == [str(images / "a/a-01.png")]


def test_the_old_dataset_comes_back_after_a_job_that_failed(folder):
    study, images = folder
    content, date = study.output.read_bytes(), study.output.stat().st_mtime_ns
    (images / "a/broken.png").write_bytes(b"\x89PNG")
    for _ in range(2):
        token = study.token()
        with pytest.raises(Exception, match="not an image"):
            study.run()
        assert not study.output.exists()
        assert study.token() != token  # or Snakemake would not run it again
    (images / "a/broken.png").unlink()
    assert not study.run()
    assert (study.output.read_bytes(), study.output.stat().st_mtime_ns) == (content, date)


def test_a_job_that_is_tried_again_counts_as_one(folder):
    study, images = folder
    write_image(images / "a/new.png", 99)
    assert study.run(tries=3)
    assert not study.run()
    (images / "a/broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(Exception, match="not an image"):
        study.run(tries=3)
    (images / "a/broken.png").unlink()
    assert not study.run()


def test_a_dataset_of_other_settings_does_not_come_back(folder):
    study, _ = folder
    study.output.unlink()
    study.token("other settings")
    assert not study.output.exists()


def test_a_table_is_its_content_and_that_of_its_images(tmp_path):
    path = write_table(tmp_path / "t.csv", "path,label,split", *ROWS)
    study = Study(table, table.Config(table=path), tmp_path)
    assert study.run()
    for file in tmp_path.glob("[at]*"):
        later(file)
    assert not study.run()
    write_image(tmp_path / "a3.png", 211)
    assert study.run() and not study.run()
    (tmp_path / "t.csv").write_text((tmp_path / "t.csv").read_text().replace("a0.png,dog", "a0.png,cat"))
    assert study.run() and not study.run()
    (tmp_path / "a3.png").unlink()
    assert study.token() != study.recorded


def test_class_names_count(tmp_path):
    images = write_folders(tmp_path / "images", {"a": 10, "b": 10})
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    config = image_folder.Config(folder=str(images), class_names=str(tmp_path / "names.txt"))
    study = Study(image_folder, config, tmp_path)
    assert study.run()
    later(tmp_path / "names.txt")
    assert not study.run()
    (tmp_path / "names.txt").write_text("one\nsix\n")
    assert study.run()
