"""An image is its content: copies, moves, additions, replacements, and files that are no images."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelbench.common.errors import UserError
from labelbench.data import image_files
from labelbench.labelling import identity


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    for number in range(5):
        write(root / f"a/{number}.png", number)
    return root


def indexed(root, before=(), known=()):
    seen = identity.look(root, identity.listing(root), known)
    return identity.index(seen, before), seen


def test_a_folder_of_any_depth_without_what_is_hidden_or_no_image(folder):
    write(folder / "deep/er/x.JPG", 9)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden").mkdir()
    write(folder / ".hidden/y.png", 3)
    assert [file.path for file in identity.listing(folder)] == [f"a/{n}.png" for n in range(5)] + ["deep/er/x.JPG"]


def test_copies_are_one_image(folder):
    (folder / "b").mkdir()
    (folder / "b/copy.png").write_bytes((folder / "a/3.png").read_bytes())
    images, _ = indexed(folder)
    assert [image.path for image in images] == [f"a/{n}.png" for n in range(5)]
    assert images[3].copies == ("b/copy.png",)


def test_positions_stay_where_files_move_go_come_and_change(folder):
    before, known = indexed(folder)
    (folder / "a/0.png").rename(folder / "zz.png")
    (folder / "a/1.png").unlink()
    write(folder / "a/2.png", 77)
    write(folder / "0.png", 50)
    after, _ = indexed(folder, before, known)
    assert [image.sha256 for image in after[:5]] == [image.sha256 for image in before]
    assert after[0].path == "zz.png"
    assert [image.present for image in after] == [True, False, False, True, True, True, True]
    assert {image.path for image in after[5:]} == {"0.png", "a/2.png"}
    write(folder / "back.png", 1)
    again, _ = indexed(folder, after, known)
    assert again[1].present
    assert again[1].path == "back.png"


def test_a_folder_with_none_of_a_campaigns_images_is_refused():
    known = [identity.Image(f"{n:064x}", f"{n}.png") for n in range(60)]
    others = [identity.Image(f"{n:064x}", f"{n}.png") for n in range(60, 70)]

    def check(here, before, asked=known[:10]):
        images = [i._replace(present=i in here) for i in dict.fromkeys([*before, *here, *asked])]
        identity.check_same("pictures", "birds", images, before, asked)

    check(known[10:], known)  # those that were asked about are sorted away
    check(others + known[5:6], ())
    check(others, known, ())  # nobody was asked yet
    with pytest.raises(UserError, match="pictures holds none of the 60 images that the campaign birds is known to"):
        check(others, known)
    with pytest.raises(UserError, match="none of the 10 images .* another folder, or they were removed or changed"):
        check(others + known[10:], ())  # without the former index nothing else is known


def test_files_that_did_not_change_are_not_read_again(folder, monkeypatch):
    _, known = indexed(folder)
    read = []
    monkeypatch.setattr(image_files, "examined", lambda path, _: read.append(path) or ("0" * 64, "", ()))
    write(folder / "new.png", 200)
    indexed(folder, known=known)
    assert [os.path.basename(path) for path in read] == ["new.png"]  # noqa: PTH119


def test_unreadable_images_are_listed(folder):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    (folder / "empty.jpg").write_bytes(b"")
    images, _ = indexed(folder)
    problems = {image.path: image.problem for image in images if image.problem}
    assert set(problems) == {"broken.png", "empty.jpg"}
    assert problems["empty.jpg"] == "empty file"


@pytest.mark.parametrize("name", ["new\nline.png", 'quo"te,.png', "ünï©ode.png", "<b>html</b>.png"])
def test_names_survive_the_index(folder, tmp_path, name):
    write(folder / name, 99)
    images, known = indexed(folder)
    identity.write_index(tmp_path / "index.csv", images)
    identity.write_known(tmp_path / "known.csv", known)
    assert identity.read_index(tmp_path / "index.csv") == images
    assert identity.read_known(tmp_path / "known.csv") == known
    assert name in {image.path for image in images}


def test_names_that_are_no_text_survive_too(folder, tmp_path):
    source = folder / "a/0.png"
    os.rename(source, os.fsencode(str(folder)) + b"/caf\xe9.png")  # noqa: PTH104
    images, _ = indexed(folder)
    identity.write_index(tmp_path / "index.csv", images)
    assert identity.read_index(tmp_path / "index.csv") == images
    assert identity.usable(images[-1])


def test_a_table_names_images(folder):
    table = folder / "list.csv"
    table.write_text("\ufeffpath;label\na/4.png;x\na\\1.png;\nmissing.png;y\n", encoding="utf-8")
    assert [file.path for file in identity.listing(table)] == ["a/4.png", "a/1.png"]
    table.write_text("one,two\n1,2\n")
    with pytest.raises(UserError, match="no column of paths"):
        identity.listing(table)


def test_what_is_no_folder_and_no_table(tmp_path):
    with pytest.raises(UserError, match="moved"):
        identity.listing(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"nowhere does not exist. A variable in it is not set."):
        identity.listing("$UNSET_HERE/nowhere")
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(UserError, match="no folder, and no table"):
        identity.listing(tmp_path / "notes.md")
    (tmp_path / "notes.md").unlink()
    with pytest.raises(UserError, match="no image file"):
        identity.listing(tmp_path)


def test_files_that_a_table_names_and_that_are_missing_are_told(tmp_path):
    for name in ("one.png", "deep/two.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    table = tmp_path / "images.csv"
    table.write_text("path,label\none.png,x\ngone.png,y\ndeep\\two.png,x\ndeep/gone.png,\ngone.png,y\n")
    assert [path for path, _ in identity.listed(table)[1]] == ["gone.png", "deep/gone.png"]
    assert len(identity.listing(table)) == 2
    assert identity.listed(tmp_path)[1] == []


def test_a_link_that_leads_nowhere_is_told(folder):
    (folder / "a/lost.png").symlink_to(folder / "gone.png")
    files, absent = identity.listed(folder)
    assert len(files) == 5
    assert absent == [("a/lost.png", "This link leads nowhere. Bring back what it led to, or remove it.")]


def test_the_docs_list_the_types_of_files_that_are_taken():
    text = (Path(__file__).parents[2] / "docs/labelling.md").read_text()
    told = text.partition("## Which images are taken")[2].partition("capitals")[0]
    listed = set(re.findall(r"`(\.\w+)`", told))
    assert listed == identity.SUFFIXES


def test_links_that_lead_back_and_folders_of_the_system_are_left_alone(folder):
    (folder / "a/again").symlink_to(folder)
    write(folder / "@eaDir/a/0.png", 50)
    write(folder / "elsewhere.png", 51)
    (folder / "a/0.png").rename(folder / "a/0")  # known by its content
    assert [file.path for file in identity.listing(folder)] == [
        *("a/0", "a/1.png", "a/2.png", "a/3.png", "a/4.png"),
        "elsewhere.png",
    ]


def test_a_folder_that_cannot_be_read_is_told(folder, monkeypatch, tmp_path):
    scan = os.scandir

    def closed(place):
        if str(place).rstrip("/").endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scan(place)

    write(folder / "secret/x.png", 9)
    monkeypatch.setattr(os, "scandir", closed)
    assert len(identity.listing(folder)) == 5
    _, absent = identity.listed(folder)
    assert absent == [("secret", "This folder cannot be read (permission denied). Change its permissions.")]
    identity.write_absent(tmp_path / "absent.csv", absent)
    assert identity.read_absent(tmp_path / "absent.csv") == absent


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_of_images_comes_in_the_dialects_of_answers(folder, encoding, separator):
    (folder / "a/1.png").rename(folder / "a/Größe 1.png")
    table = folder / "list.csv"
    table.write_text(f"id{separator}Path\n7{separator}a/Größe 1.png\n8{separator} a/2.png \n", encoding=encoding)
    assert [file.path for file in identity.listing(table)] == ["a/Größe 1.png", "a/2.png"]


def test_a_table_that_holds_the_images_themselves_is_refused(tmp_path):
    import pandas as pd

    table = tmp_path / "list.parquet"
    pd.DataFrame({"image": [{"bytes": b"\x89PNG", "path": None}]}).to_parquet(table)
    with pytest.raises(UserError, match="holds the images themselves"):
        identity.listing(table)
    (tmp_path / "list.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match="CSV UTF-8"):
        identity.listing(tmp_path / "list.xlsx")


def test_what_was_asked_stays_known_without_file_and_index(folder):
    images, _ = indexed(folder)
    asked = [identity.Image("f" * 64, "gone.png"), images[0]]
    found = identity.with_asked(images, asked)
    assert found[:-1] == images
    assert (found[-1].sha256, found[-1].path, found[-1].present) == ("f" * 64, "gone.png", False)


def test_a_table_whose_files_are_all_absent_says_so(tmp_path):
    (tmp_path / "list.csv").write_text("path\na.png\nb.png\n")
    with pytest.raises(UserError, match=r"none of 2 files .* is there, such as 'a.png'"):
        identity.listing(tmp_path / "list.csv")
