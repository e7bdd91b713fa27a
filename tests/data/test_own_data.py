"""The user's own images, in folders or listed in a table: splits, names, what can be wrong, a whole study."""

import gzip
import logging
import lzma
import os
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labelbench.common.errors import UserError
from labelbench.data import dataset_file, image_files
from labelbench.data.datasets import image_folder, table
from own_images import ROWS, write_folders, write_image, write_table


def sizes(dataset):
    return {name: len(split.labels) for name, split in dataset.splits.items()}


def complaints(plugin, config):
    with pytest.raises(UserError) as caught:
        plugin.prepare(config)
    return str(caught.value)


def prepared(plugin, config):
    """A dataset and the function that reads its images."""
    dataset = plugin.prepare(config)
    return dataset, plugin.images(config, dataset.files)


def names_of(dataset, split):
    return [dataset.class_names[label] for label in dataset.splits[split].labels]


# Image files


@pytest.mark.parametrize(("mode", "ending", "opened"), [
    ("1", "png", "L"), ("L", "bmp", "L"), ("LA", "png", "L"), ("P", "gif", "RGB"), ("RGBA", "webp", "RGB"),
    ("CMYK", "jpg", "RGB"), ("RGB", "tif", "RGB"),
])  # fmt: skip
def test_images_open_as_grey_or_rgb(tmp_path, mode, ending, opened):
    level = 255 if mode == "1" else 204  # black and white would show grey by dots
    Image.new("RGB", (6, 4), (level, level, level)).convert(mode).save(tmp_path / f"x.{ending}")
    image = image_files.opened(tmp_path / f"x.{ending}")
    assert (image.mode, image.size) == (opened, (6, 4))
    assert np.abs(np.asarray(image).astype(int) - level).max() <= 3


def test_sixteen_bits_keep_their_contrast(tmp_path):
    levels = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / "x.png")
    assert np.array_equal(np.asarray(image_files.opened(tmp_path / "x.png")), levels >> 8)
    Image.new("F", (4, 4), 0.5).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match="save it with 8 or 16 bits"):
        image_files.opened(tmp_path / "x.tif")


def test_photos_are_turned_upright(tmp_path):
    pixels = np.zeros((40, 60), np.uint8)
    pixels[:, 40:] = 255  # white at the right, where the camera's bottom was
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90° clockwise
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif)
    upright = np.asarray(image_files.opened(tmp_path / "x.jpg"))
    assert upright.shape == (60, 40)
    assert upright[50:].mean() > 240 and upright[:30].mean() < 15


def damaged(folder):
    """One good image and one of each damage."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(folder / "good.jpg")
    content = (folder / "good.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("<html>404</html>")
    (folder / "folder.jpg").mkdir()
    return [str(folder / f"{name}.jpg") for name in ("good", "cut", "empty", "text", "folder", "gone")]


def test_check_names_every_damage(tmp_path):
    paths = damaged(tmp_path)
    assert image_files.check(paths, "x", "exists") == [
        (2, "empty file"), (4, "not a file"), (5, "no such file or directory"),
    ]  # fmt: skip
    found = dict(image_files.check(paths, "x", "decode"))
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert "truncated" in found[1]
    assert found[3] == "not an image that Pillow can read"


def test_check_keeps_its_indices_beyond_one_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "TOGETHER", 4)
    paths = damaged(tmp_path)
    assert [i for i, _ in image_files.check([paths[0]] * 9 + [paths[2]], "x", "exists")] == [9]


def test_fingerprint_sees_names_and_sizes_but_not_where_the_folder_stands(tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.png").write_bytes(b"12345")
    here, there = (image_files.fingerprint(tmp_path / p, [tmp_path / p / "a.png"]) for p in ("here", "there"))
    assert here == there
    (tmp_path / "here/a.png").write_bytes(b"123456")
    assert image_files.fingerprint(tmp_path / "here", [tmp_path / "here/a.png"]) != here
    (tmp_path / "there/a.png").rename(tmp_path / "there/b.png")
    assert image_files.fingerprint(tmp_path / "there", [tmp_path / "there/b.png"]) != there


# Folders


def test_class_folders_are_split_class_by_class(tmp_path):
    config = image_folder.Config(folder=str(write_folders(tmp_path, {"brown_bear": 40, "ant": 20, "cat/tabby": 10})))
    dataset, images = prepared(image_folder, config)
    assert dataset.class_names == ("ant", "brown bear", "cat")
    assert np.bincount(dataset.splits["test"].labels).tolist() == [4, 8, 2]
    assert np.bincount(dataset.splits["val"].labels).tolist() == [2, 4, 1]
    assert np.bincount(dataset.splits["pool"].labels).tolist() == [14, 28, 7]
    source = np.concatenate([split.source for split in dataset.splits.values()])
    assert sorted(source) == list(range(70))
    # Levels were counted up over the bears, then the ants, then the cats.
    for split in dataset.splits.values():
        for at, label in zip(split.source, split.labels, strict=True):
            level = np.asarray(images(int(at)))[0, 0]
            assert label == (1 if level < 40 else 0 if level < 60 else 2)


def test_images_that_are_added_move_few_others(tmp_path):
    def members():
        config = image_folder.Config(folder=str(tmp_path))
        dataset = image_folder.prepare(config)
        return {dataset.files.paths[at]: name for name, split in dataset.splits.items() for at in split.source}

    write_folders(tmp_path, {"a": 50, "b": 50})
    before = members()
    for i in range(5):
        write_image(tmp_path / f"a/new-{i}.png")
    after = members()
    assert sum(before[path] != after[path] for path in before) <= 5
    assert {p: s for p, s in after.items() if p[0] == "b"} == {p: s for p, s in before.items() if p[0] == "b"}


def test_split_folders_and_further_test_sets(tmp_path):
    counts = {f"{split}/{name}": 5 for split in ("train", "val", "test", "test_night") for name in ("x", "y")}
    dataset = image_folder.prepare(image_folder.Config(folder=str(write_folders(tmp_path, counts))))
    assert sizes(dataset) == {"pool": 10, "val": 10, "test": 10, "test_night": 10}
    images = image_folder.images(image_folder.Config(folder=str(tmp_path)), dataset.files)
    assert np.asarray(images(int(dataset.splits["test_night"].source[0])))[0, 0] == 30


def test_what_has_no_folder_is_drawn_from_the_pool(tmp_path, caplog):
    counts = {f"{split}/{name}": 20 for split in ("train", "test") for name in ("x", "y")}
    with caplog.at_level(logging.INFO, "labelbench"):
        dataset = image_folder.prepare(image_folder.Config(folder=str(write_folders(tmp_path, counts)), val=0.25))
    assert sizes(dataset) == {"pool": 30, "val": 10, "test": 40}
    assert "val: 10 images drawn from the pool, 0.25 of each class" in caplog.text


def test_other_files_are_ignored_and_said_to_be(tmp_path, caplog):
    write_folders(tmp_path, {"x": 10, "y": 10})
    config = image_folder.Config(folder=str(tmp_path))
    before = image_folder.prepare(config).fingerprint
    for name in ("x/.DS_Store", "x/._x-00.png", ".hidden/z.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / "x/notes.txt").write_text("?")
    with caplog.at_level(logging.INFO, "labelbench"):
        assert image_folder.prepare(config).fingerprint == before
    assert "1 files are no images and ignored: {'.txt': 1}; first x/notes.txt" in caplog.text


def test_endings_in_capitals_and_linked_folders_count(tmp_path):
    write_folders(tmp_path / "real", {"x": 10, "elsewhere": 10})
    (tmp_path / "real/x/x-00.png").rename(tmp_path / "real/x/X-00.PNG")
    (tmp_path / "mine").mkdir()
    for name in ("x", "elsewhere"):
        (tmp_path / "mine" / name[0]).symlink_to(tmp_path / "real" / name)
    dataset = image_folder.prepare(image_folder.Config(folder=str(tmp_path / "mine")))
    assert sum(sizes(dataset).values()) == 20
    assert dataset.class_names == ("e", "x")


def test_numbered_classes_take_their_names_in_order_of_value(tmp_path):
    write_folders(tmp_path / "images", {str(i): 10 for i in range(12)})
    (tmp_path / "names.txt").write_text("".join(f"name of {i}\n" for i in range(12)))
    config = image_folder.Config(folder=str(tmp_path / "images"), class_names=str(tmp_path / "names.txt"))
    dataset, images = prepared(image_folder, config)
    pool = dataset.splits["pool"]
    level = np.asarray(images(int(pool.source[-1])))[0, 0]
    assert dataset.class_names[pool.labels[-1]] == f"name of {level // 10}"
    assert [file.path for file in image_folder.listing(config, None, {}).others] == [config.class_names]
    (tmp_path / "names.txt").write_text("only\nthree\nnames\n")
    assert "names.txt: 3 lines for 12 labels: 0, 1, 2, 3" in complaints(image_folder, config)


def test_everything_wrong_with_folders_is_told_at_once(tmp_path):
    write_folders(tmp_path, {"train/red_fox": 12, "train/red fox": 2, "train/owl": 3, "test/owl": 3, "test/lynx": 3})
    write_folders(tmp_path, {"Validation/owl": 3})
    for i in range(12):
        (tmp_path / f"train/red_fox/red_fox-{i:02d}.png").write_bytes(b"\x89PNG")
    (tmp_path / "test/red_fox").mkdir()
    write_image(tmp_path / "train/stray.png")
    message = complaints(image_folder, image_folder.Config(folder=str(tmp_path)))
    assert f"The dataset {tmp_path} cannot be used as it is." in message
    assert "Images outside of class folders (1):\n    train/stray.png" in message
    assert "Folders without images (1):\n    test/red_fox" in message
    assert "Images that cannot be read (12):" in message
    assert f"{tmp_path}/train/red_fox/red_fox-09.png: not an image that Pillow can read" in message
    assert "red_fox-10.png" not in message and "and 2 more" in message
    assert "`on_corrupt: drop`" in message
    assert "Class names that are empty or stand for two classes (1):\n    'red fox'" in message
    assert "Unknown names of splits (1):\n    'Validation'" in message


def test_a_class_that_is_only_tested_is_told(tmp_path):
    counts = {"train/x": 10, "train/y": 10, "test/x": 3, "test/z": 3}
    message = complaints(image_folder, image_folder.Config(folder=str(write_folders(tmp_path, counts))))
    assert "Classes without an image in the pool (1):\n    z: 3 in other splits" in message


def test_one_class_and_too_few_images_to_draw_from(tmp_path):
    message = complaints(image_folder, image_folder.Config(folder=str(write_folders(tmp_path, {"x": 3}))))
    assert "Fewer than two classes (1):\n    x" in message
    assert "Splits without images (1):\n    val" in message
    assert "raise `val` or `test` in the config" in message


def test_corrupt_images_can_be_left_out(tmp_path, caplog):
    write_folders(tmp_path, {"x": 10, "y": 10})
    (tmp_path / "x/x-03.png").write_bytes(b"\x89PNG")
    config = image_folder.Config(folder=str(tmp_path), on_corrupt="drop")
    dataset, images = prepared(image_folder, config)
    assert sum(sizes(dataset).values()) == 19
    assert f"left out: {tmp_path}/x/x-03.png: not an image that Pillow can read" in caplog.text
    for split in dataset.splits.values():
        for at, label in zip(split.source, split.labels, strict=True):
            assert (np.asarray(images(int(at)))[0, 0] >= 10) == label


def test_an_image_that_breaks_after_it_was_checked(tmp_path):
    config = image_folder.Config(folder=str(write_folders(tmp_path, {"x": 10, "y": 10})))
    _, images = prepared(image_folder, config)
    write_image(tmp_path / "x/x-04.png", 200)
    with pytest.raises(UserError, match="x/x-04.png cannot be used: its content has changed. .* run Snakemake again"):
        images(4)
    (tmp_path / "x/x-05.png").unlink()
    with pytest.raises(UserError, match="x/x-05.png cannot be used: .*No such file"):
        images(5)


def test_no_folder_and_no_images(tmp_path):
    assert "does not exist" in complaints(image_folder, image_folder.Config(folder=str(tmp_path / "gone")))
    (tmp_path / "photos.zip").write_bytes(b"PK")
    assert "holds no images (1 other files)" in complaints(image_folder, image_folder.Config(folder=str(tmp_path)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"val": 0.6, "test": 0.5}, "shares"), ({"val": 0.0}, "shares"), ({"templates": ("a photo",)}, "needs a {}")],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        image_folder.Config(folder="x", **settings)


# Tables


def test_table_with_splits(tmp_path):
    config = table.Config(table=write_table(tmp_path / "t.csv", "path,label,split", *ROWS))
    dataset, images = prepared(table, config)
    assert sizes(dataset) == {"pool": 8, "val": 2, "test": 2}
    assert names_of(dataset, "pool") == ["dog", "cat"] * 4
    assert dataset.splits["test"].source.tolist() == [8, 9]
    assert np.asarray(images(9))[0, 0] == 90
    assert dataset.splits["pool"].groups is None
    assert [file.path for file in table.listing(config, list, {}).others] == [config.table]


def test_table_without_splits_draws_them(tmp_path):
    rows = [f"a{i % 12}.png,{i % 2}" for i in range(12)]
    config = table.Config(table=write_table(tmp_path / "t.csv", "path,label", *rows), val=0.2, test=0.3)
    assert sizes(table.prepare(config)) == {"pool": 6, "val": 2, "test": 4}


def test_columns_of_other_names_groups_and_a_second_annotator(tmp_path):
    def second(i):
        return "" if i == 1 else "dog"

    lines = [f"{row},{'north' if i % 3 else ''},{second(i)}" for i, row in enumerate(ROWS)]
    path = write_table(tmp_path / "t.csv", "file,species,part,site,again", *lines)
    config = table.Config(table=path, path="file", label="species", split="part", group="site", annotator="again")
    dataset = table.prepare(config)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.splits["pool"].groups.tolist() == [-1, 0, 0, -1, 0, 0, -1, 0]
    assert dataset.splits["pool"].annotated.tolist() == [1, -1, 1, 1, 1, 1, 1, 1]
    assert dataset.splits["test"].annotated is None
    dataset_file.write(tmp_path / "d.h5", dataset, "{}", "abc")
    again = dataset_file.read(tmp_path / "d.h5")
    assert again.fingerprint == dataset.fingerprint
    assert again.splits["pool"].annotated.tolist() == dataset.splits["pool"].annotated.tolist()
    plain = table.prepare(table.Config(table=path, path="file", label="species", split="part", group="site"))
    assert plain.fingerprint != dataset.fingerprint


def test_labels_are_text(tmp_path):
    rows = [f"a{i}.png,{('NA', '007', 'null')[i % 3]}" for i in range(12)]
    dataset = table.prepare(
        table.Config(table=write_table(tmp_path / "t.csv", "path,label", *rows), val=0.25, test=0.25)
    )
    assert dataset.class_names == ("007", "NA", "null")


def test_a_pool_without_labels_is_refused_or_left_out(tmp_path):
    rows = [row.replace("cat", "") if i in (1, 3) else row for i, row in enumerate(ROWS)]
    path = write_table(tmp_path / "t.csv", "path,label,split", *rows)
    message = complaints(table, table.Config(table=path))
    told = "Of 8 images of the pool, those without a label (2):\n    line 3: a1.png\n    line 5: a3.png\n"
    assert told in message
    assert "`unlabelled: drop`" in message and "docs/labelling.md" in message
    dataset = table.prepare(table.Config(table=path, unlabelled="drop"))
    assert dataset.splits["pool"].labels.tolist() == [1, 1, 1, 0, 1, 0]
    assert dataset.splits["pool"].source.tolist() == [0, 2, 4, 5, 6, 7]
    rows[9] = "a9.png,,test"
    message = complaints(table, table.Config(table=write_table(tmp_path / "t.csv", "path,label,split", *rows)))
    assert "Images for validation or test without a label (1):\n    test, line 11: a9.png" in message


def test_everything_wrong_with_a_table_is_told_at_once(tmp_path):
    lines = [f"{row},dog" for row in ROWS]
    lines[0] = "gone.png,dog,train,dog"
    lines[2] = "a1.png,dog,train,dgo"
    lines[4] = ",dog,train,dog"
    lines[5] = "a5.png,cat,trian,dog"
    path = write_table(tmp_path / "t.csv", "path,label,split,again", *lines)
    (tmp_path / "a7.png").write_bytes(b"\x89PNG")
    message = complaints(table, table.Config(table=path, annotator="again"))
    assert "Rows without a path (1):\n    line 6" in message
    assert "Images that are listed again (1):\n    line 4: a1.png" in message
    assert "Images that cannot be read (2):" in message
    assert f"{tmp_path}/gone.png: no such file or directory" in message
    assert f"{tmp_path}/a7.png: not an image that Pillow can read" in message
    assert "Unknown names of splits (1):\n    'trian'. Did you mean 'train'?" in message
    assert "Labels of the second annotator that are no class (1):\n    'dgo'. Did you mean 'dog'?" in message


def test_missing_columns_are_told_together(tmp_path):
    path = write_table(tmp_path / "t.csv", "paths,labels", *[",".join(row.split(",")[:2]) for row in ROWS])
    message = complaints(table, table.Config(table=path, group="site"))
    assert "Missing columns (3):" in message
    assert "path: 'path'. Did you mean 'paths'?" in message
    assert "label: 'label'. Did you mean 'labels'?" in message
    assert "group: 'site'." in message
    assert "The table has: 'paths', 'labels'." in message
    assert "split" not in message  # is drawn where no column has its default name
    assert "split: 'fold'." in complaints(table, table.Config(table=path, split="fold"))


def test_another_separator(tmp_path):
    path = write_table(tmp_path / "t.csv", "path;label;split", *[row.replace(",", ";") for row in ROWS])
    assert "set `separator: ';'`" in complaints(table, table.Config(table=path))
    assert sizes(table.prepare(table.Config(table=path, separator=";"))) == {"pool": 8, "val": 2, "test": 2}


def test_encodings(tmp_path):
    rows = [row.replace("cat", "Käuzchen") for row in ROWS]
    path = write_table(tmp_path / "t.csv", "path,label,split", *rows)
    content = (tmp_path / "t.csv").read_text(encoding="utf-8")
    (tmp_path / "t.csv").write_text(content, encoding="latin-1")
    message = complaints(table, table.Config(table=path))
    assert "is not UTF-8 text: byte 0xe4" in message
    assert "CSV UTF-8" in message
    (tmp_path / "t.csv").write_text(content, encoding="utf-8-sig")  # as Excel saves it
    assert table.prepare(table.Config(table=path)).class_names == ("Käuzchen", "dog")


@pytest.mark.parametrize("longer", [[3], range(12)])
def test_rows_with_too_many_fields(tmp_path, longer):
    lines = [f"{row},more" if i in longer else row for i, row in enumerate(ROWS)]
    path = write_table(tmp_path / "t.csv", "path,label,split", *lines)
    message = complaints(table, table.Config(table=path))
    assert "cannot be read as CSV" in message
    assert "as many fields as the first" in message


def test_missing_and_empty_tables(tmp_path):
    assert "does not exist" in complaints(table, table.Config(table=str(tmp_path / "t.csv")))
    (tmp_path / "t.csv").touch()
    assert "t.csv is empty. It needs a line" in complaints(table, table.Config(table=str(tmp_path / "t.csv")))
    (tmp_path / "t.csv").write_text("\n" * 100)
    assert "t.csv is empty. It needs a line" in complaints(table, table.Config(table=str(tmp_path / "t.csv")))
    message = complaints(table, table.Config(table=write_table(tmp_path / "t.csv", "path,label,split")))
    assert message.endswith("t.csv has no rows, only the names of its columns. Write a row per image.")


@pytest.mark.parametrize(("name", "content", "words"), [
    ("t.csv.gz", b"path,label\n", "is no gzip file, though its name says so. If it is plain text, rename it: {}/t.csv"),
    ("t.parquet", b"path,label\n", "is no Parquet file, though its name says so. If it is plain text, rename it: {}/t"),
    ("t.csv", gzip.compress(b"path,label\n"), "is a gzip file, which its name does not say. Rename it: {}/t.csv.gz"),
    ("t.csv", lzma.compress(b"path,label\n"), "is a file of xz, which its name does not say. Rename it: {}/t.csv.xz"),
    ("t.csv", b"PAR1\0\0", "is a Parquet file, which its name does not say. Rename it: {}/t.parquet"),
    ("t.csv", b"PK\x03\x04\0", "is an archive or a spreadsheet. Unpack it, or save it as CSV"),
    ("t.csv", b"PK,path,label\n", None),
], ids=["text.gz", "text.parquet", "gzip", "xz", "parquet", "zip", "text"])  # fmt: skip
def test_a_table_of_another_kind_than_its_name_says(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    config = table.Config(table=str(tmp_path / name))
    if words is None:
        table.check_source(config)
        return
    with pytest.raises(UserError) as caught:  # while planning already
        table.check_source(config)
    assert words.format(tmp_path) in str(caught.value)


def test_parquet_tables(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas as pd

    write_table(tmp_path / "t.csv", "")
    labels = [3, 10, None, *[3, 10] * 4, 3]
    split = [row.split(",")[2] for row in ROWS]
    frame = pd.DataFrame({"path": [f"a{i}.png" for i in range(12)], "label": labels, "split": split})
    frame.to_parquet(tmp_path / "t.parquet")
    config = table.Config(table=str(tmp_path / "t.parquet"), unlabelled="drop")
    dataset = table.prepare(config)
    assert dataset.class_names == ("3", "10")
    assert dataset.splits["pool"].labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert np.asarray(table.images(config, dataset.files)(9))[0, 0] == 90
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    assert "cannot be read as Parquet" in complaints(table, config)


def test_parquet_without_a_reader_says_what_to_install(tmp_path, monkeypatch):
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    assert "pip install pyarrow" in complaints(table, table.Config(table=str(tmp_path / "t.parquet")))


# What people's folders and tables are like


def test_links_are_followed_but_not_in_circles(tmp_path, caplog):
    write_folders(tmp_path, {"cat": 10, "dog": 10})
    (tmp_path / "cat/again").symlink_to("..")
    (tmp_path / "dog/also").symlink_to("../cat/again/dog")
    (tmp_path / "cat/gone.png").symlink_to("nowhere.png")
    config = image_folder.Config(folder=str(tmp_path), on_corrupt="drop")
    with caplog.at_level(logging.INFO, "labelbench"):
        dataset = image_folder.prepare(config)
    assert sum(sizes(dataset).values()) == 20
    assert dataset.class_names == ("cat", "dog")
    assert "leads back to a folder above it is not followed: cat/again" in caplog.text
    assert "gone.png: no such file or directory" in caplog.text


def test_folders_of_systems_and_files_that_are_no_still_images_do_not_count(tmp_path):
    write_folders(tmp_path, {"x": 10, "y": 10, "@eaDir": 3, "x/@eaDir": 3, "__MACOSX": 2, "#recycle": 2})
    for name in ("x/features.h5", "x/film.mpg", "y/page.ps", "y/page.pdf"):
        (tmp_path / name).write_bytes(b"\x89HDF")
    dataset = image_folder.prepare(image_folder.Config(folder=str(tmp_path)))
    assert sum(sizes(dataset).values()) == 20
    assert dataset.class_names == ("x", "y")


def test_a_folder_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    write_folders(tmp_path, {"x": 10, "y": 10, "z": 10})
    scan = image_folder.os.scandir

    def guarded(place):
        if str(place).endswith("z/"):
            raise PermissionError(13, "Permission denied")
        return scan(place)

    monkeypatch.setattr(image_folder.os, "scandir", guarded)
    message = complaints(image_folder, image_folder.Config(folder=str(tmp_path)))
    assert "Folders that cannot be read (1):\n    z: permission denied" in message


def test_images_without_an_ending_are_told_by_their_content(tmp_path):
    write_folders(tmp_path, {"x": 10, "y": 10})
    (tmp_path / "x/x-00.png").rename(tmp_path / "x/no_ending")
    (tmp_path / "x/x-01.png").rename(tmp_path / "x/b.png_large")
    (tmp_path / "x/x-02.png").rename(tmp_path / "x/c.txt")
    (tmp_path / "x/README").write_text("text")
    assert sum(sizes(image_folder.prepare(image_folder.Config(folder=str(tmp_path)))).values()) == 19


def test_a_class_that_loses_many_files_by_their_ending_is_told_in_the_terminal(tmp_path, capsys):
    write_folders(tmp_path, {"x": 50, "y": 8})
    config = image_folder.Config(folder=str(tmp_path), test=0.3)
    (tmp_path / "x/notes.txt").write_text("text")
    image_folder.prepare(config)
    assert "are no images" not in capsys.readouterr().err
    (tmp_path / "y/a.svg").write_text("<svg/>")
    (tmp_path / "y/b.svg").write_text("<svg/>")
    image_folder.prepare(config)
    said = capsys.readouterr().err
    assert "Note: 3 files are no images and ignored: {'.svg': 2, '.txt': 1}" in said
    assert "More than a tenth of: y (2 of 10)" in said


@pytest.mark.parametrize("above", ["images", "data/images", "a/b/c"])
def test_a_folder_that_is_too_high_is_told_with_that_of_the_classes(tmp_path, above):
    write_folders(tmp_path, {f"{above}/cat": 10, f"{above}/dog": 10, f"{above}/dog/more": 2})
    message = complaints(image_folder, image_folder.Config(folder=str(tmp_path)))
    assert f"The class folders seem to be further down (1):\n    {tmp_path}/{above} holds cat, dog" in message
    assert "further down" not in complaints(image_folder, image_folder.Config(folder=f"{tmp_path}/{above}/dog"))


def test_class_folders_below_one_folder_of_each_split_are_told(tmp_path):
    for at, split in enumerate(("train", "test")):
        write_folders(tmp_path, {f"{split}/data/cat": 10, f"{split}/data/dog": 10}, first=20 * at)
    message = complaints(image_folder, image_folder.Config(folder=str(tmp_path)))
    assert "The class folders seem to be further down (2):" in message
    assert f"    {tmp_path}/train/data holds cat, dog\n" in message and "Move them up" in message


def test_a_folder_that_is_a_class_is_told_with_its_parent(tmp_path):
    write_folders(tmp_path, {"img/cat": 10, "img/dog": 10})
    message = complaints(image_folder, image_folder.Config(folder=f"{tmp_path}/img/cat"))
    assert f"The folder seems to be one class of several (1):\n    {tmp_path}/img holds cat, dog\n" in message
    write_folders(tmp_path, {"alone/cat": 10, "split/train": 10, "split/test": 10})
    (tmp_path / "alone/notes").mkdir()
    for folder in ("alone/cat", "split/train"):
        assert "one class of" not in complaints(image_folder, image_folder.Config(folder=f"{tmp_path}/{folder}"))


def test_a_file_for_a_folder_and_the_reverse(tmp_path):
    path = write_table(tmp_path / "t.csv", "path,label,split", *ROWS)
    assert "is a file. For a table" in complaints(image_folder, image_folder.Config(folder=path))
    assert "is a folder. For one folder" in complaints(table, table.Config(table=str(tmp_path)))


def test_home_and_variables_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", str(tmp_path))
    assert image_folder.Config(folder="~/a//b/").folder == f"{tmp_path}/a/b"
    assert table.Config(table="$DATA/t.csv").table == f"{tmp_path}/t.csv"
    assert "A variable in it is not set" in complaints(image_folder, image_folder.Config(folder="$NOWHERE/x"))


def test_class_names_that_are_no_utf8_and_spelt_in_two_ways(tmp_path):
    write_folders(tmp_path, {"train/caf\u00e9": 10, "train/b": 10, "test/cafe\u0301": 5}, first=0)
    write_folders(tmp_path, {"train/u\udcfc": 10, "test/u\udcfc": 5, "test/b": 5}, first=100)
    dataset = image_folder.prepare(image_folder.Config(folder=str(tmp_path)))
    assert dataset.class_names == ("b", "café", "uü")
    assert np.bincount(dataset.splits["test"].labels).tolist() == [5, 5, 5]
    dataset_file.write(tmp_path / "d.h5", dataset, "{}", "abc")
    assert dataset_file.read(tmp_path / "d.h5").files.paths == dataset.files.paths


# Copies


def copies(tmp_path):
    """Two splits of two classes; a copy between splits, one between classes, and one within a class."""
    write_folders(tmp_path, {f"{split}/{name}": 5 for split in ("train", "val", "test") for name in ("x", "y")})
    (tmp_path / "test/x/x-00.png").write_bytes((tmp_path / "train/x/x-00.png").read_bytes())
    (tmp_path / "train/y/y-01.png").write_bytes((tmp_path / "train/x/x-01.png").read_bytes())
    (tmp_path / "train/y/y-02.png").write_bytes((tmp_path / "train/y/y-03.png").read_bytes())
    return str(tmp_path)


def test_copies_in_two_splits_or_classes_are_an_error(tmp_path):
    message = complaints(image_folder, image_folder.Config(folder=copies(tmp_path)))
    assert "Images in the pool and in a test or validation split (1):" in message
    assert "test/x/x-00.png (test) = train/x/x-00.png (pool)" in message
    assert "Images in two classes (1):\n    train/x/x-01.png (x) = train/y/y-01.png (y)" in message
    assert "`on_duplicate: drop`" in message and "y-02" not in message


def test_copies_are_left_out_or_stay(tmp_path, capsys):
    folder = copies(tmp_path)
    dataset = image_folder.prepare(image_folder.Config(folder=folder, on_duplicate="drop"))
    left = {dataset.files.paths[at] for split in dataset.splits.values() for at in split.source}
    gone = {"train/x/x-00.png", "train/x/x-01.png", "train/y/y-01.png", "train/y/y-03.png"}
    assert set(dataset.files.paths) - left == gone
    said = capsys.readouterr().err
    assert "3 images are there more than once, by content: 1 of them in two classes, 1 in two splits" in said
    assert "4 files are left out (on_duplicate: drop)" in said
    dataset = image_folder.prepare(image_folder.Config(folder=folder, on_duplicate="keep"))
    assert sum(sizes(dataset).values()) == 30
    assert "all stay (on_duplicate: keep)" in capsys.readouterr().err


def test_copies_are_drawn_into_one_split(tmp_path):
    write_folders(tmp_path, {"x": 40, "y": 40})
    for i in range(40):
        (tmp_path / f"x/copy-{i}.png").write_bytes((tmp_path / f"x/x-{i:02d}.png").read_bytes())
    dataset = image_folder.prepare(image_folder.Config(folder=str(tmp_path)))
    where = {}
    for name, split in dataset.splits.items():
        for at in split.source:
            where.setdefault(dataset.files.sha256[at].tobytes(), set()).add(name)
    assert len(where) == 80 and all(len(names) == 1 for names in where.values())


def test_the_same_file_by_two_paths_is_listed_again(tmp_path):
    rows = [*ROWS[:11], f"{tmp_path}/./a11.png,cat,val", "./a11.png,cat,val"]
    message = complaints(table, table.Config(table=write_table(tmp_path / "t.csv", "path,label,split", *rows)))
    assert "Images that are listed again (1):\n    line 14: a11.png" in message


# Rare classes


def test_rare_classes_are_tested_and_those_too_rare_are_told(tmp_path, capsys):
    folder = str(write_folders(tmp_path, {"common": 40, "three": 3, "two": 2}))
    dataset = image_folder.prepare(image_folder.Config(folder=folder, test=0.05))
    assert np.bincount(dataset.splits["test"].labels, minlength=3).tolist() == [2, 1, 0]
    said = capsys.readouterr().err
    assert "Note: 1 of 3 classes have no image in the split test" in said and "two (2 in the pool)." in said
    assert "2 of 3 classes have no image in the split val" in said
    assert "three (2 in the pool), two (2 in the pool)" in said


# Tables as they come


@pytest.mark.parametrize(("path", "cause"), [
    ("https://example.org/a.png", "download the images first"),
    ("file:///a.png", "without file://"),
    ("/data/local-files/?d=a.png", "an address within Label Studio"),
    ("C:\\pictures\\a.png", "a path of Windows"),
    ("sub\\a.png", "write / between folders"),
])  # fmt: skip
def test_paths_that_come_from_elsewhere_name_the_cause(tmp_path, path, cause):
    rows = [f"{path},dog,train", *ROWS[1:]]
    message = complaints(table, table.Config(table=write_table(tmp_path / "t.csv", "path,label,split", *rows)))
    assert "Images that cannot be read (1):" in message and cause in message


def test_spaces_around_paths_and_other_spellings_of_characters(tmp_path):
    write_image(tmp_path / "u\u0308ber.png", 200)
    rows = [f" {ROWS[0]}", *ROWS[1:], "\u00fcber.png,dog,train"]
    dataset = table.prepare(table.Config(table=write_table(tmp_path / "t.csv", "path,label,split", *rows)))
    assert dataset.files.paths[0] == "a0.png"
    assert dataset.files.paths[-1] == "u\u0308ber.png"


def test_rows_are_called_by_the_lines_of_the_file(tmp_path):
    lines = ["", ROWS[0], "", '"a1.png","c\nat",train', ",dog,train", *ROWS[2:]]
    message = complaints(table, table.Config(table=write_table(tmp_path / "t.csv", "path,label,split", *lines)))
    assert "Rows without a path (1):\n    line 7\n" in message
    assert "cannot be read" not in message  # and said once


def test_the_tab_of_the_message_can_be_pasted(tmp_path):
    path = write_table(tmp_path / "t.csv", "path\tlabel\tsplit", *[row.replace(",", "\t") for row in ROWS])
    assert 'set `separator: "\\t"`' in complaints(table, table.Config(table=path))
    for separator in ("\t", "\\t"):
        assert sizes(table.prepare(table.Config(table=path, separator=separator)))["pool"] == 8


def test_cells_with_several_labels_are_no_class(tmp_path):
    several = '"{""choices"": [""cat"", ""dog""]}"'
    rows = [f"a0.png,{several},train", '"a1.png","[""cat""]",train', *ROWS[2:]]
    message = complaints(table, table.Config(table=write_table(tmp_path / "t.csv", "path,label,split", *rows)))
    assert 'Cells with several labels (1):\n    line 2: {"choices": ["cat", "dog"]}' in message
    assert "give the name by `class_names`" in message
    assert 'Labels that are written as lists (1):\n    line 3: ["cat"]: write cat' in message


@pytest.mark.parametrize(
    ("cell", "cure"),
    [
        ("['cat']", "write cat"),
        ("('cat',)", "write cat"),
        ('"[""it\'s""]"', "write it's"),
        ("[1]", "write 1"),
        ('"{""choices"": [""cat""]}"', "write cat"),
        ("[]", "leave it empty"),
        ("()", "leave it empty"),
        ("['']", "leave it empty"),
    ],
)
def test_a_label_that_is_written_as_a_list_is_told_with_what_to_write(tmp_path, cell, cure):
    rows = [f'a0.png,"{cell}",train' if "," in cell and '"' not in cell else f"a0.png,{cell},train", *ROWS[1:]]
    message = complaints(table, table.Config(table=write_table(tmp_path / "t.csv", "path,label,split", *rows)))
    assert "Labels that are written as lists (1):\n    line 2: " in message and f": {cure}\n" in message
    assert "several" not in message


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        ("cat;x", True),
        ("cat; dog", True),
        ("dog|cat", True),
        ('"cat,dog"', True),
        ("\"['cat', 'dog']\"", True),
        ("\"['cat' 'dog']\"", True),
        ('"[1, 2]"', True),
        ("[1 2]", True),
        ('"cat, hooded"', False),  # a comma may stand in a name
        ("x;y", False),  # neither is a class elsewhere
        ("[cat]", False),
        ('"(""big"") cat"', False),
        ("cat;", False),
    ],
)
def test_a_cell_with_several_labels_is_named(tmp_path, cell, named):
    rows = [f"a0.png,{cell},train", *ROWS[1:]]
    path = write_table(tmp_path / "t.csv", "path,label,split", *rows)
    if not named:
        table.prepare(table.Config(table=path))
        return
    message = complaints(table, table.Config(table=path))
    plain = cell.strip('"')
    assert f"Cells with several labels (1):\n    line 2: {plain}\n" in message
    assert "(multi-label) are not supported" in message


def test_a_column_of_lists_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas as pd

    cells = [row.split(",") for row in ROWS]
    frame = pd.DataFrame({"path": [c[0] for c in cells], "label": [[c[1], "x"] for c in cells]})
    write_table(tmp_path / "t.csv", "path,label,split", *ROWS)  # and the images
    frame.to_parquet(tmp_path / "t.parquet")
    message = complaints(table, table.Config(table=str(tmp_path / "t.parquet")))
    assert f"Cells with several labels ({len(ROWS)}):\n    row 1: " in message


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zip"])
@pytest.mark.parametrize("broken", [b"no archive at all", None])
def test_a_broken_archive_is_a_sentence(tmp_path, ending, broken):
    import pandas as pd

    path = tmp_path / f"t.csv.{ending}"
    pd.DataFrame({"path": [f"{n}.png" for n in range(500)], "label": "cat"}).to_csv(path)
    path.write_bytes(broken or path.read_bytes()[:-30])
    message = complaints(table, table.Config(table=str(path)))
    if broken:
        assert message.startswith(f"The table {path} is no ")
        return
    assert message.startswith(f"The table {path} cannot be read: ")
    assert "Is it whole?" in message


def test_a_quote_that_is_never_closed_is_told_by_its_line(tmp_path):
    rows = [*ROWS[:3], '"a3.png,cat,train', *ROWS[4:]]
    message = complaints(table, table.Config(table=write_table(tmp_path / "t.csv", "path,label,split", *rows)))
    assert "the quote that opens in line 5 is never closed" in message


def test_spreadsheets_and_tables_that_hold_images(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    assert "is a spreadsheet" in complaints(table, table.Config(table=str(tmp_path / "t.xlsx")))
    pytest.importorskip("pyarrow")
    import pandas as pd

    frame = pd.DataFrame({"image": [{"bytes": b"x" * 48_000, "path": "a.png"}] * 3, "label": [0, 1, 2]})
    frame.to_parquet(tmp_path / "t.pq")
    message = complaints(table, table.Config(table=str(tmp_path / "t.pq"), path="image"))
    assert "The column 'image' of the table" in message and "holds the images themselves" in message
    assert "row['image']['bytes']" in message and len(message) < 1000


@pytest.mark.parametrize(
    ("settings", "message"), [({"background": "whitish"}, "is no colour"), ({"max_pixels": 0}, "at least 1")]
)
def test_impossible_settings_of_pixels(settings, message):
    with pytest.raises(ValueError, match=message):
        image_folder.Config(folder="x", **settings)


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path):
    write_folders(tmp_path, {"cat": 12, "dog": 12})
    os.mkfifo(tmp_path / "cat/pipe")
    os.mkfifo(tmp_path / "cat/pipe.png")
    (tmp_path / "cat/self").symlink_to(tmp_path / "cat/self")
    assert "pipe.png: not a file" in complaints(image_folder, image_folder.Config(folder=str(tmp_path)))
    (tmp_path / "cat/pipe.png").unlink()
    assert sum(sizes(image_folder.prepare(image_folder.Config(folder=str(tmp_path)))).values()) == 24


@pytest.mark.parametrize("names", [("train_images", "test_images"), ("01_train", "02_test"), ("trainset", "valset")])
def test_folders_that_look_like_splits_are_no_classes(tmp_path, names):
    for at, name in enumerate(names):
        write_folders(tmp_path / name, {"cat": 4, "dog": 4}, first=10 * at)
    told = complaints(image_folder, image_folder.Config(folder=str(tmp_path)))
    assert "look like splits" in told and f"{names[0]}: cat, dog" in told


def test_a_class_that_is_called_like_a_split_is_a_class(tmp_path):
    write_folders(tmp_path, {"train": 8, "tram": 8})
    assert set(image_folder.prepare(image_folder.Config(folder=str(tmp_path))).class_names) == {"train", "tram"}


def test_a_column_that_may_hold_splits_is_told(tmp_path, capsys):
    write_folders(tmp_path, {"cat": 8, "dog": 8})
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name},train" for path in sorted(tmp_path.rglob("*.png"))]
    write_table(tmp_path / "list.csv", "path,label,Split", *rows)
    table.prepare(table.Config(table=str(tmp_path / "list.csv")))
    assert "set `split: Split`" in capsys.readouterr().err


def test_paths_that_no_file_can_have_and_tables_that_moved(tmp_path):
    rows = [f"gone/{n}.png,{'cat' if n % 2 else 'dog'}" for n in range(8)]
    write_table(tmp_path / "list.csv", "path,label", *rows, "a\0b.png,cat")
    told = complaints(table, table.Config(table=str(tmp_path / "list.csv"), val=0.3, test=0.3))
    assert "no path: it holds a character" in told
    assert "Splits without images" not in told


def test_other_columns_of_parquet_may_hold_bytes(tmp_path):
    write_folders(tmp_path, {"cat": 8, "dog": 8})
    paths = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*.png"))]
    frame = pd.DataFrame({"path": paths, "label": [path[:3] for path in paths], "thumb": [b"\x89PNG"] * len(paths)})
    frame.to_parquet(tmp_path / "list.parquet")
    assert sum(sizes(table.prepare(table.Config(table=str(tmp_path / "list.parquet")))).values()) == 16
