"""Answers as people hand them back: dialects, states, people who disagree, and what cannot be understood."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelbench.labelling import adjudication, answers, identity, tabular
from labelbench.labelling.identity import Image
from labelbench.labelling.records import Answer

CLASSES = ["heron", "great tit", "NA", "1.0"]
IMAGES = [
    Image("a" * 64, "day1/one.jpg", ("copies/one.jpg",)),
    Image("b" * 64, "day1/two, too.jpg"),
    Image("c" * 64, "day2/two.jpg"),
    Image("d" * 64, "day3/two.jpg"),
    Image("e" * 64, "new\nline.jpg"),
    Image("f" * 64, "grün/ß.jpg"),
]


def read(*places, renames=None):
    return answers.read(places, IMAGES, CLASSES, renames or {}, "birds")


def table(folder, text, name="answers.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return read(folder / name)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_dialect_of_a_spreadsheet(tmp_path, separator, encoding, newline):
    rows = [["image", "sha256", "label", "annotator"], ["grün/ß.jpg", "", "great tit", "Zoë"]]
    found, problems = table(tmp_path, newline.join(separator.join(row) for row in rows) + newline, encoding=encoding)
    assert problems == []
    assert [(a.sha256[0], a.status, a.label, a.annotator) for a in found] == [("f", "label", "great tit", "Zoë")]


def test_quotes_newlines_and_excels_own_first_line(tmp_path):
    found, _ = table(tmp_path, 'sep=;\r\nimage;label\r\n"new\nline.jpg";heron\r\n"day1/two, too.jpg";NA\r\n')
    assert [(a.sha256[0], a.label) for a in found] == [("e", "heron"), ("b", "NA")]


@pytest.mark.parametrize("image", ["image", "file_name", "filename", "path", "FILE"])
@pytest.mark.parametrize("label", ["label", "class", "Choice", "category"])
def test_names_of_columns(tmp_path, image, label):
    found, problems = table(tmp_path, f"x,{label},{image}\n1,1.0,day1/one.jpg\n")
    assert (len(found), problems) == (1, [])
    assert found[0].label == "1.0"


@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("copies/one.jpg", "a"),
        ("one.jpg", "a"),
        ("day1\\one.jpg", "a"),
        ("/data/local-files/?d=day1/one.jpg", "a"),
        ("/data/local-files/?d=day1%255Cone.jpg", "a"),
        ("http://localhost:8080/data/upload/3/0badf00d-one.jpg", "a"),
        ("gru\u0308n/ß.jpg", "f"),
    ],
)
def test_names_as_programs_change_them(tmp_path, name, which):
    found, problems = table(tmp_path, f"image,label\n{name},heron\n")
    assert problems == []
    assert found[0].sha256 == which * 64


def test_an_image_without_its_ending_or_with_another_is_told_the_nearest(tmp_path):
    _, problems = table(tmp_path, "image,label\none,heron\nday1/ONE.png,heron\n,heron\n")
    assert ["day1/one.jpg" in p.what for p in problems] == [True, True, False]
    assert problems[2].what == "This row names no image. Its answer is not used."


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image,label,label\none.jpg,heron,heron\n", ""),
        ("image,label,label\none.jpg,heron,NA\nday1/one.jpg,heron,\n", "'label' says something else in 1 row."),
        ("image,label,class\none.jpg,,NA\n", "'label' only; the column 'class' says something else in 1 row."),
        ('"image,label"\n"one.jpg,heron"\n', "has each line in quotes as a whole ('image,label')"),
        ("image\none.jpg\n", "has no column 'label'"),
        ("label\nheron\n", "has no column that names the image"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_meant_so(tmp_path, text, told):
    _, problems = table(tmp_path, text)
    assert len(problems) == bool(told)
    assert all(told in problem.what for problem in problems)


@pytest.mark.parametrize(("word", "status"), [("Skip", "skip"), ("?", "unsure"), ("unsure", "unsure"),
                                              ("none of these", "none")])  # fmt: skip
def test_words_that_are_no_class_point_to_the_status(tmp_path, word, status):
    found, problems = table(tmp_path, f"image,label\none.jpg,{word}\nday2/two.jpg,{word}\n")
    assert found == []
    (problem,) = problems
    assert f"{word!r} is no class of the list (2 answers), and is not used" in problem.what
    assert f"write {status!r} into the column `status`" in problem.what
    # Where it is a class, or meant as a new one, it is one; and the words for folders answer.
    assert table(tmp_path, f"image,label,status\none.jpg,{word},new\n")[0][0].status == "new"
    assert answers.read([tmp_path / "answers.csv"], IMAGES, [*CLASSES, word], {}, "birds")[0][0].status == "label"
    assert table(tmp_path, f"image,label\none.jpg,__{status}__\n")[0][0].status == status


def test_names_that_were_exchanged_are_a_problem_and_change_nothing(tmp_path):
    renames = {"heron": "great tit", "great tit": "heron"}
    (tmp_path / "a.csv").write_text("image,label\none.jpg,heron\n")
    found, problems = read(tmp_path / "a.csv", renames=renames)
    assert [a.label for a in found] == ["heron"]
    assert [p.source for p in problems] == ["classes.csv"]
    assert "'heron' → 'great tit' → 'heron'" in problems[0].what


@pytest.mark.parametrize(("count", "told"), [(1, "1 answer names one image"), (2, "2 answers name one image")])
def test_images_named_by_content_and_by_another_path(tmp_path, count, told):
    rows = [f"day2/two.jpg,{'a' * 64},heron", f"day1/one.jpg,{'c' * 64},heron"][:count]
    found, problems = table(tmp_path, "\n".join(["image,sha256,label", *rows]))
    assert [a.sha256[0] for a in found] == ["a", "c"][:count]
    assert problems[0].what.startswith(told)
    assert "files were replaced" in problems[0].what


def test_what_is_unclear_is_listed_and_never_guessed(tmp_path):
    found, problems = table(tmp_path, "image,label\ntwo.jpg,heron\nday1/onne.jpg,heron\n")
    assert found == []
    assert [p.row for p in problems] == [2, 3]
    assert "two.jpg" in problems[0].what
    assert "day1/one.jpg" in problems[1].what


@pytest.mark.parametrize("label", ["Heron", "great_tit", "herno"])
def test_a_label_that_is_nearly_a_class_is_kept_and_reported(tmp_path, label):
    found, problems = table(tmp_path, f'image,label\none.jpg,"{label}x"\none.jpg,{label}\n')
    assert [a.status for a in found] == ["new", "new"]
    assert all("heron" in p.what or "great tit" in p.what for p in problems)
    assert len(problems) == 2


def test_states(tmp_path):
    text = "image,label,status\n" + "".join(f"one.jpg,{label},{status}\n" for label, status in [
        ("heron", ""), ("", "skip"), ("", "none"), ("", "unsure"), ("owl", "new"), ("", ""), ("", "label"),
        ("heron", "label"), ("heron", "new"), ("", "skp"),
    ])  # fmt: skip
    found, problems = table(tmp_path, text)
    assert [(a.status, a.label) for a in found if a.status != "empty"] == [
        ("label", "heron"), ("skip", ""), ("none", ""), ("unsure", ""), ("new", "owl"),
        ("label", "heron"), ("label", "heron"),
    ]  # fmt: skip
    assert "skp" in problems[-1].what


def test_classes_that_were_renamed(tmp_path):
    (tmp_path / "a.csv").write_text("image,label\none.jpg,ardea \n")  # with a space too many
    found, problems = read(tmp_path / "a.csv", renames={"ardea": "heron"})
    assert (found[0].label, problems) == ("heron", [])


def annotation(*choices, **more):
    result = [{"from_name": "label", "type": "choices", "value": {"choices": list(choices)}}] if choices else []
    return {"result": result, **more}


def test_label_studio_tells_its_states_apart(tmp_path):
    tasks = [
        {"id": 1, "data": {"sha256": "a" * 64}, "annotations": [annotation("heron", completed_by={"email": "x@y.z"})]},
        {"id": 2, "data": {"sha256": "b" * 64}, "annotations": [annotation(was_cancelled=True)]},
        {"id": 3, "data": {"sha256": "c" * 64}, "annotations": [annotation()]},
        {"id": 4, "data": {"sha256": "d" * 64}, "annotations": []},
        {"id": 5, "data": {"sha256": "e" * 64}, "annotations": [annotation("heron", "NA")]},
        {"id": 6, "data": {"image": "/data/upload/1/0badf00d-one.jpg"}, "completions": [annotation("__none__")]},
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    found, problems = read(tmp_path / "export.json")
    assert [(a.sha256[0], a.status, a.label) for a in found] == [
        ("a", "label", "heron"), ("b", "skip", ""), ("c", "empty", ""), ("e", "several", "heron | NA"),
        ("a", "none", ""),
    ]  # fmt: skip
    assert found[0].annotator == "x@y.z"
    assert len(problems) == 1


def test_label_studios_short_exports(tmp_path):
    short = [{"sha256": "a" * 64, "label": "heron", "annotator": 1, "lead_time": 2.5, "updated_at": "2026-01-02"},
             {"sha256": "b" * 64, "label": {"choices": ["heron", "NA"]}, "annotator": 1}]  # fmt: skip
    (tmp_path / "min.json").write_text(json.dumps(short))
    (tmp_path / "min.csv").write_text(
        '"annotation_id","annotator","created_at","id","image","label","lead_time","sha256","updated_at"\n'
        f'7,1,"2026-01-01",1,"x","heron",2.5,"{"a" * 64}","2026-01-02"\n'
        f'8,1,"2026-01-01",2,"x","{{""choices"": [""heron"",""NA""]}}",,"{"b" * 64}",\n'
    )
    one, two = read(tmp_path / "min.json")[0], read(tmp_path / "min.csv")[0]
    assert [a[:5] for a in one] == [a[:5] for a in two]
    assert one[0][:5] == ("a" * 64, "label", "heron", "1", 2.5)


def test_class_folders_are_matched_by_content(tmp_path):
    for folder in ("heron", "no_label", "owl"):
        (tmp_path / "answers" / folder).mkdir(parents=True)
        (tmp_path / "answers" / folder / f"renamed-{folder}.jpg").write_bytes(folder.encode())
    images = [Image(identity.content(p), f"{p.parent.name}.jpg") for p in (tmp_path / "answers").rglob("*.jpg")]
    found, problems = answers.read([tmp_path / "answers"], images, CLASSES, {}, "birds")
    assert sorted((a.status, a.label) for a in found) == [("label", "heron"), ("new", "owl")]
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"\x00\x01\x02"),
        ("a.csv", b"picture,answer\nx,y\n"),
        ("a.json", b'{"no": "list"}'),
        ("a.json", b"[{"),
        ("a.json", b'[{"data": {"sha256": "x"}, "annotations": [{"result": [1]}]}]'),
        ("a.xlsx", b"PK"),
        ("a.zip", b"PK"),
        ("a.docx", b"PK"),
    ],
)
def test_files_that_are_none(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.csv").write_text("image,label\none.jpg,heron\n")
    found, problems = read(tmp_path)
    assert len(found) == 1
    assert len(problems) == 1


def test_files_of_programs_and_half_written_ones_are_passed_over(tmp_path):
    for name in ("~$a.csv", ".a.csv", "a.csv.part", "Thumbs.db", "b.crdownload"):
        (tmp_path / name).write_text("image,label\none.jpg,heron\n")
    assert read(tmp_path) == ([], [])


def test_a_class_folder_that_is_no_class_is_told_once(tmp_path):
    images = []
    for name in ("owl/1.jpg", "owl/2.jpg", "skip/3.jpg", "skip/4.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
        images.append(Image(identity.content(tmp_path / name), name))
    found, problems = answers.read([tmp_path], images, CLASSES, {}, "birds")
    assert [a.label for a in found] == ["owl", "owl"]
    assert {(p.source.rpartition("/")[2], "(2 answers)" in p.what) for p in problems} == {("owl", True), ("skip", True)}
    assert len(problems) == 2


def test_folders_are_read_through_links(tmp_path):
    place, elsewhere = tmp_path / "answers", tmp_path / "elsewhere"
    (elsewhere / "Dora/heron").mkdir(parents=True)
    place.mkdir()
    (elsewhere / "more.csv").write_text("image,label\none.jpg,heron\n")
    (elsewhere / "Dora/heron/x.jpg").write_bytes(b"x")
    (elsewhere / "Dora/back").symlink_to(place)  # leads back to where it came from
    (place / "linked").symlink_to(elsewhere)
    (place / "sorted").symlink_to(elsewhere / "Dora")
    (place / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    image = Image(identity.content(elsewhere / "Dora/heron/x.jpg"), "x.jpg")
    found, problems = answers.read([place], [*IMAGES, image], CLASSES, {}, "birds")
    assert [(a.source, a.label) for a in found] == [
        ("answers/linked/Dora/heron/x.jpg", "heron"),
        ("answers/linked/more.csv", "heron"),
        ("answers/sorted/heron/x.jpg", "heron"),
    ]
    assert [p.source for p in problems] == ["answers"]
    assert problems[0].what.startswith("1 link here leads nowhere, such as 'gone.csv'.")


def test_answers_of_another_campaign(tmp_path):
    _, problems = table(tmp_path, f"batch,image,sha256,label\nfish/01/0badf00d,x.jpg,{'9' * 64},cod\n")
    assert "campaign 'fish'" in problems[0].what


def test_the_same_file_twice_changes_nothing(tmp_path):
    text = "image,label\none.jpg,heron\n"
    table(tmp_path, text)
    (tmp_path / "again.csv").write_text(text)
    settled, conflicts = adjudication.settle(read(tmp_path)[0])
    assert (settled["a" * 64].label, conflicts) == ("heron", [])


def said(*people):
    return [Answer("a" * 64, "label", label, who, 1.0, "", when, f"{who}.csv") for who, label, when in people]


@pytest.mark.parametrize(
    ("people", "status", "label"),
    [
        ([("x", "heron", "")], "label", "heron"),
        ([("x", "heron", ""), ("x", "NA", "")], "label", "NA"),
        ([("x", "heron", "2026-02"), ("x", "NA", "2026-01")], "label", "heron"),
        ([("x", "heron", ""), ("y", "heron", "")], "label", "heron"),
        ([("x", "heron", ""), ("y", "NA", "")], "conflict", ""),
        ([("x", "heron", ""), ("y", "NA", ""), ("z", "heron", "")], "label", "heron"),
        ([("x", "heron", ""), ("y", "NA", ""), ("z", "1.0", "")], "conflict", ""),
    ],
)
def test_people_who_agree_or_not(people, status, label):
    settled, conflicts = adjudication.settle(said(*people))
    assert settled["a" * 64].status == status
    assert status == "conflict" or settled["a" * 64].label == label
    assert bool(conflicts) == (status == "conflict")


def of_files(*files):
    return [Answer("a" * 64, "label", label, who, 1.0, "", when, f"answers/{name}") for name, who, label, when in files]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("x-Dora.csv", "x-Dora (1).csv"),
        ("x-Dora.csv", "x-Dora-2.csv"),
        ("x-Dora.csv", "x-Dora 2.csv"),
        ("x-Dora(2).csv", "x-Dora(10).csv"),
        ("x-Dora-2026-01-02.csv", "x-Dora-2026-01-11.csv"),
    ],
)
def test_the_highest_number_at_the_end_of_a_name_is_the_latest_file(earlier, later):
    for files in ((earlier, later), (later, earlier)):
        said_so = {earlier: "heron", later: "NA"}
        settled, conflicts = adjudication.settle(of_files(*((name, "Dora", said_so[name], "") for name in files)))
        assert (settled["a" * 64].label, conflicts) == ("NA", [])


@pytest.mark.parametrize(
    ("one", "other", "label"),
    [("x.csv", "x (1).csv", "NA"), ("x.csv", "x-2.csv", "NA"), ("x-1.csv", "x-2.csv", "")],
)
def test_nameless_files_are_of_one_person_where_one_is_a_second_download(one, other, label):
    settled, conflicts = adjudication.settle(of_files((one, "", "heron", ""), (other, "", "NA", "")))
    assert (settled["a" * 64].label if label else "") == label
    assert bool(conflicts) == (not label)


def test_a_person_who_contradicts_himself_without_an_order_is_a_conflict():
    one, other = ("Monday.csv", "Dora", "heron", ""), ("again.csv", "Dora", "NA", "")
    for files in ((one, other), (other, one)):
        settled, conflicts = adjudication.settle(of_files(*files))
        assert settled["a" * 64].status == "conflict"
        assert {a.source for a in conflicts[0].answers} == {"answers/Monday.csv", "answers/again.csv"}
    (problem,) = adjudication.contradictions(conflicts)
    assert "Dora contradicts answers/again.csv here" in problem.what
    assert "again (1).csv" in problem.what
    # A time tells which is later, and so do three people who agree.
    timed = [(*file[:3], f"2026-01-0{n}") for n, file in enumerate((other, one), 1)]
    assert adjudication.settle(of_files(*timed))[0]["a" * 64].label == "heron"
    others = [(f"{who}.csv", who, "heron", "") for who in "xyz"]
    assert adjudication.settle(of_files(one, other, *others[:2]))[0]["a" * 64].label == "heron"
    assert adjudication.settle(of_files(one, other, others[0]))[0]["a" * 64].status == "conflict"
    # One who only agrees with himself, or skipped in another file, contradicts nobody.
    settled, conflicts = adjudication.settle(of_files(one, ("again.csv", "Dora", "heron", "")))
    assert (settled["a" * 64].label, conflicts) == ("heron", [])
    skipped = Answer("a" * 64, "skip", "", "Dora", None, "", "", "answers/z.csv")
    assert adjudication.settle([*of_files(one), skipped])[0]["a" * 64].label == "heron"
    assert adjudication.contradictions(adjudication.settle(of_files(one, ("x.csv", "Zoë", "NA", "")))[1]) == []


def test_an_answer_that_says_nothing_takes_nothing_back():
    found = [*said(("x", "heron", "")), Answer("a" * 64, "empty", annotator="x")]
    assert adjudication.settle(found)[0]["a" * 64].label == "heron"
    assert adjudication.settle(found[1:])[0] == {}


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300))
def test_no_content_raises(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    for name in ("a.csv", "b.json"):
        (folder / name).write_bytes(data)
    found, _ = read(folder)
    assert len(found) <= len(data)


def test_an_audit_that_was_answered_beside_predictions_is_said(tmp_path):
    tasks = []
    for name, shown in ((IMAGES[0].sha256, [{"result": []}]), (IMAGES[1].sha256, [])):
        result = [{"type": "choices", "from_name": "label", "value": {"choices": ["heron"]}}]
        tasks.append({"data": {"sha256": name}, "predictions": shown, "annotations": [{"result": result}]})
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    found, problems = read(tmp_path)
    assert not problems
    assert [answer.shown for answer in found] == [True, False]
    (problem,) = answers.opened(found, lambda name: True)
    assert "1 answer is about audit images" in problem.what
    assert not answers.opened(found, lambda name: name == IMAGES[1].sha256)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("first", ["", "sep=;\n"])
def test_whether_a_table_holds_labels_is_told_by_its_beginning(tmp_path, encoding, first):
    path = tmp_path / "images.csv"
    lines = [f"{'é' * (n % 7)}{n}.png;heron" for n in range(20_000)]
    path.write_bytes((first + "\n".join(["image;label", *lines])).encode(encoding))
    assert path.stat().st_size > 2 * tabular._BEGINNING
    assert tabular.heading(path) == tabular.cells(path)[0] == ["image", "label"]


@pytest.mark.parametrize(("heading", "has"), [("image,label", True), ("image", False), ("", False)])
def test_only_the_heading_is_read_to_see_whether_a_table_holds_labels(tmp_path, monkeypatch, heading, has):
    monkeypatch.setattr(tabular, "cells", None)
    (tmp_path / "images.csv").write_text(f"{heading}\na.png,heron\n" if heading else "")
    assert answers.labels(tmp_path / "images.csv") is has


def test_the_heading_of_a_parquet_table(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    import pandas

    pandas.DataFrame({"Image": ["a.png"], "Label": ["heron"]}).to_parquet(tmp_path / "images.parquet")
    assert tabular.heading(tmp_path / "images.parquet") == tabular.cells(tmp_path / "images.parquet")[0]
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert not answers.labels(tmp_path / "broken.parquet")


@pytest.mark.parametrize("first", ["", "sep=,\n"])
def test_a_quote_that_is_never_closed_is_told_by_its_line(tmp_path, first):
    rows = ["image,label", "day1/one.jpg,heron", '"day2/two.jpg,heron', "day3/two.jpg,heron"]
    found, (problem,) = table(tmp_path, first + "\n".join(rows))
    assert not found
    assert f"the quote that opens in line {3 + bool(first)} is never closed" in problem.what
    closed = ["image,label,note", 'day1/one.jpg,heron,"two\nlines"']
    assert len(table(tmp_path, first + "\n".join(closed))[0]) == 1
