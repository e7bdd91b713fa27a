"""What is delivered: labels, links by class, models."""

from labelbench.labelling import delivery


def links(tmp_path, **label_of):
    root = tmp_path / "pictures"
    for path in label_of:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path[-200:])
    delivery.link(tmp_path / "by_class", root, [(path, "0" * 64, label) for path, label in label_of.items()])
    found = {link.resolve().relative_to(root).as_posix(): link for link in (tmp_path / "by_class").glob("*/*")}
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
