"""What is delivered: labels, links by class, models."""

import csv
import shutil

import pytest

from labelbench.labelling import adjudication, answers, campaign, delivery, identity
from labelbench.labelling.identity import Image


def links(tmp_path, **label_of):
    root = tmp_path / "pictures"
    for path in label_of:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path[-200:])
    delivery.link(
        tmp_path / "by_class",
        root,
        [(path, "0" * 64, label, "person", "", "", "", "") for path, label in label_of.items()],
    )
    found = {link.resolve().relative_to(root).as_posix(): link for link in (tmp_path / "by_class").glob("*/*")
             if link.name != "delivered.csv"}  # fmt: skip
    assert set(found) == set(label_of)
    return found


def test_files_whose_paths_make_one_name_have_a_link_each(tmp_path):
    found = links(tmp_path, **{"a/b.png": "owl", "a__b.png": "owl", "A/b.png": "owl", "c/d.png": "owl"})
    assert found["c/d.png"].name == "c__d.png"
    assert len({link.name.casefold() for link in found.values()}) == 4
    assert all(link.name.startswith(("a__b-", "A__b-")) for path, link in found.items() if path != "c/d.png")
    assert all(link.suffix == ".png" for link in found.values())


def test_long_paths_are_shortened(tmp_path):
    long = ["/".join(["x" * 100] * 3 + [f"{n}.jpeg"]) for n in range(2)]
    found = links(tmp_path, **dict.fromkeys([*long, "ä" * 125 + ".png", "e/" + "ä" * 125 + ".png"], "owl"))
    assert all(len(link.name.encode()) <= 255 for link in found.values())
    assert all(found[path].suffix == ".jpeg" for path in long)


def test_classes_that_make_one_folder_name_have_a_folder_each(tmp_path):
    names = ["Hawk?", "Hawk!", "hawk!", "Owl", "é" * 200]
    found = links(tmp_path, **{f"{n}.png": name for n, name in enumerate(names)})
    assert len({link.parent.name.casefold() for link in found.values()}) == 5
    assert found["3.png"].parent.name == "Owl"
    assert all(link.parent.name.startswith(("Hawk_-", "hawk_-")) for n, link in found.items() if n < "3")


@pytest.mark.parametrize("whole", [True, False])
def test_labels_of_the_model_are_no_answers_when_class_folders_are_handed_back(tmp_path, whole):
    root = tmp_path / "pictures"
    root.mkdir()
    names, images = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"], []
    for name in names:
        (root / name).write_text(name)
        images.append(Image(identity.content(root / name), name))
    sources = dict(zip(names, ["person", "model", "model", "model"], strict=True))
    found = [
        (i.path, i.sha256, "great: tit" if i.path == "d.jpg" else "owl", sources[i.path], "", "", "", "")
        for i in images
    ]
    delivery.link(tmp_path / "by_class", root, found)
    back = tmp_path / "answers"
    if whole:
        shutil.copytree(tmp_path / "by_class", back / "by_class", symlinks=True)
    else:
        shutil.copytree(tmp_path / "by_class", back, symlinks=True)
    place = back / "by_class" if whole else back

    def read():
        given, problems = answers.read([back], images, ["owl", "great: tit"], {}, "birds")
        path_of = {image.sha256: image.path for image in images}
        return {path_of[a.sha256]: a.label for a in given}, problems

    given, problems = read()
    assert given == {"a.jpg": "owl"}
    assert len(problems) == 2
    assert "1 row says source 'model'" in problems[0].what
    assert "2 rows say source 'model'" in problems[1].what
    # What a person says of them counts: the folder that it was moved to, or `person` in the table.
    (place / "owl/b.jpg").rename(place / "great_ tit/b.jpg")
    (place / "great_ tit").rename(place / "wren")
    table = place / "owl/delivered.csv"
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    rows[3][3] = "person"
    identity.write_table(table, rows[0], rows[1:])
    assert read()[0] == {"a.jpg": "owl", "b.jpg": "wren", "c.jpg": "owl"}
    # And where the table cannot be understood, nothing is taken for a person's.
    table.write_text("image,label\nb.jpg,owl\n")
    given, problems = read()
    assert set(given) == {"b.jpg"}
    assert any("nothing tells whether a person sorted it" in problem.what for problem in problems)


def test_labels_that_are_corrected_and_handed_back_replace_what_they_were_made_of(tmp_path):
    images = [Image(c * 64, f"{c}.jpg", (f"copy-{c}.jpg",) if c == "a" else ()) for c in "abcd"]
    place = tmp_path / "answers"
    place.mkdir()
    by = "image,label,annotator\n"
    (place / "x-Ann.csv").write_text(f"{by}a.jpg,owl,Ann\nb.jpg,owl,Ann\nc.jpg,owl,Ann\n")
    (place / "x-Bob.csv").write_text(f"{by}b.jpg,owl,Bob\nc.jpg,tit,Bob\n")

    def settled():
        found, problems = answers.read([place], images, ["owl", "tit", "wren"], {}, "birds")
        assert not [p.what for p in problems if "source 'model'" not in p.what]
        counted, conflicts = adjudication.settle(found)
        answered = {
            name: campaign.Answered(
                name, a.status, a.label, "; ".join(a.annotators), None, "", "; ".join(a.sources)
            )
            for name, a in counted.items()
        }  # fmt: skip
        return answered, len(conflicts)

    def delivered(name, **corrections):
        """Labels are delivered, corrected and handed back under a name."""
        rows = delivery.rows(images, settled()[0], {"d" * 64: "owl"}, {"d" * 64: 0.9}, None)
        rows = [dict(zip(delivery.COLUMNS, row, strict=True)) for row in rows]
        for row in rows:
            row["label"] = corrections.get(row["image"][:-4], row["label"])
        identity.write_table(place / name, delivery.COLUMNS, (row.values() for row in rows), encoding="utf-8-sig")

    def said():
        found, conflicts = settled()
        return "".join({"label": a.label, "conflict": "?"}[a.status][0] for _, a in sorted(found.items())), conflicts

    assert said() == ("oo?", 1)
    before = settled()
    delivered("labels.csv")
    assert settled() == before  # a table that nobody changed says nothing
    delivered("labels.csv", a="tit", b="tit", c="wren")  # one path of two; what two agreed on; what they disagree on
    assert said() == ("ttw", 0)
    assert settled()[0]["a" * 64].annotators == "Ann"
    delivered("labels.csv")  # the next delivery over it
    assert said() == ("ttw", 0)
    delivered("labels again.csv", b="wren")
    assert said() == ("tww", 0)
    delivered("labels again.csv", a="owl", b="owl", **{"copy-a": "owl"})  # back
    assert said() == ("oow", 0)
    # What somebody says anew, without an order, is no matter of the table's.
    (place / "x-Ann (1).csv").write_text(f"{by}c.jpg,tit,Ann\n")
    assert said() == ("oo?", 1)
