"""What a study and its imports hold together, and what may not stand side by side."""

import pytest

from labelbench.common.errors import UserError
from labelbench.evidence import contents, study

DEFINITIONS = {
    "datasets": {"digits": {"budget": [30, [10], 6], "noise": {}, "views": {"cutout": 0.25}}},
    "encoders": {"clip": {"name": "open_clip"}},
    "selectors": {"linear": {"name": "linear"}},
    "trainers": {"flexmatch": {"epochs": 15}, "own": {"epochs": 1}},
}


def held(*strategies, **changes):
    return contents.Contents(
        **{
            "lead": "accuracy",
            "runs": [("clip", "linear", "flexmatch", s) for s in strategies],
            "kinds": dict.fromkeys(strategies, "batch"),
            "models": [],
            "passive": [],
            "end_to_end": [],
            "trials": 4,
            "evaluations": False,
            "curves": True,
            "costs": True,
            "published": {},
            **changes,
        }
    )


def row(strategy, trial, pair, dataset="digits", **changes):
    about = {"dataset": dataset, "encoder": "clip", "selector": "linear", "trainer": "flexmatch", "round": 1}
    about |= {"strategy": strategy, "trial": trial, "pair": pair, "num_labels": 30, "stage": "proxy", "model": ""}
    return about | {"split": "test", "metric": "accuracy", "value": 0.5} | changes


def test_runs_under_the_same_names_are_told_apart():
    own = {"digits": held("random", "margin")}
    other = held("random", "badge", trials=2, kinds={"random": "batch", "badge": "sequential"})
    together, renames = contents.joint(own, {"lab": {"digits": other, "more": held("random")}})
    assert [run[-1] for run in together["digits"].runs] == ["random", "margin", "random (lab)", "badge"]
    assert together["digits"].kinds["badge"] == "sequential"
    assert together["digits"].kinds["random (lab)"] == "batch"
    assert together["digits"].trials == 2
    assert renames == {"lab": [("digits", "clip", "linear", "flexmatch", "random", "random (lab)")]}
    assert together["more"] == held("random")
    # Another setting is another run: its random sampling is what its strategies are compared with.
    elsewhere = held("random", runs=[("clip", "shallow", "flexmatch", "random")])
    assert contents.joint(own, {"lab": {"digits": elsewhere}})[1] == {"lab": []}


@pytest.mark.parametrize(
    ("kind", "name", "change", "reason"),
    [
        (
            "datasets",
            "digits",
            {"budget": [20, [10], 6]},
            r"another budget of datasets: digits\. .* in the import \[20",
        ),
        ("datasets", "digits", {"views": {"cutout": 0.5}}, "another views"),
        ("encoders", "clip", {"model": "other"}, "another model of encoders: clip"),
        ("trainers", "flexmatch", {"epochs": 16}, "There it is 15, in the import 16.*Give it another name"),
        ("trainers", "own", {"epochs": 2}, None),  # run in neither
        ("datasets", "digits", {"fingerprint": "f"}, None),  # not known here before the job runs
    ],
)
def test_what_differs_is_refused(kind, name, change, reason):
    theirs = DEFINITIONS | {kind: DEFINITIONS[kind] | {name: DEFINITIONS[kind][name] | change}}
    sources = [("", {"digits": held("random")}, DEFINITIONS), ("lab", {"digits": held("margin")}, theirs)]
    if reason is None:
        contents.check_joint(sources)
    else:
        with pytest.raises(UserError, match=reason):
            contents.check_joint(sources)


def test_two_imports_of_different_datasets_of_one_name_are_refused():
    one, other = (
        DEFINITIONS | {"datasets": {"digits": DEFINITIONS["datasets"]["digits"] | {"fingerprint": fingerprint}}}
        for fingerprint in ("1f", "2f")
    )
    contents.check_joint([("a", {"digits": held("random")}, one), ("b", {"digits": held("random")}, one)])
    with pytest.raises(UserError, match="imports: b: .* another fingerprint of datasets: digits"):
        contents.check_joint([("a", {"digits": held("random")}, one), ("b", {"digits": held("random")}, other)])


def test_results_that_do_not_say_what_they_are_of_stand_alone():
    sources = [("", {"digits": held("random")}, DEFINITIONS), ("authors", {"other": held("random")}, None)]
    contents.check_joint(sources)
    with pytest.raises(UserError, match="do not say which images"):
        contents.check_joint([sources[0], ("authors", {"digits": held("random")}, None)])


def test_only_trials_that_began_alike_are_compared():
    own = [row("random", t, f"p{t}") for t in range(3)] + [row("random", t, "q", "other") for t in range(3)]
    own.append(row("", 0, "", stage="zero_shot"))
    theirs = [row("badge", 0, "p0"), row("badge", 1, "else"), row("", 0, "", stage="zero_shot", value=0.9)]
    together, left_out = study.joined(own, {"lab": theirs})
    assert [(r["strategy"], r["trial"]) for r in together if r["dataset"] == "digits"] == [
        *(("random", 0), ("", 0), ("badge", 0)),
    ]
    assert sum(r["dataset"] == "other" for r in together) == 3
    assert list(left_out) == ["digits"] and left_out["digits"][0].startswith(
        "Trials 1, 2 are left out, for the import lab"
    )
    with pytest.raises(UserError, match="No trial of digits in the import lab began from the same labels"):
        study.joined(own, {"lab": [row("badge", 0, "else")]})


def test_datasets_that_differ_in_their_cold_start_alone_have_one_name():
    kinds = {"a": ("x", "random"), "b": ("y", "random"), "c": ("x", "typiclust"), "again": ("x", "random")}
    own = {name: held("random", alike=alike, start=start) for name, (alike, start) in kinds.items()}
    # Of another source, what has the same settings may be other images; what says nothing stands for itself.
    imported = {"d": held("random", alike="x", start="kmeans"), "e": held("random"), "a": held("random")}
    assert contents.cold_starts([own, imported]) == {
        "a": ("a", "random"),
        "b": ("b", "random"),
        "c": ("a", "typiclust"),
        "again": ("again", "random"),
        "d": ("d", "kmeans"),
        "e": ("e", ""),
    }
