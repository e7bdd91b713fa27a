"""Wrong settings: every one is refused in a sentence that says where it stands, before anything is planned."""

import copy
import functools
import math
import subprocess
import sys
import time

import pytest
import yaml

from conftest import REPO, merged
from labelbench.common import yaml_files
from labelbench.common.errors import UserError
from labelbench.planning import campaigns, plan

SCHEMA = REPO / "workflow/schemas/config.schema.yaml"
NAN, INF = math.nan, math.inf


@functools.cache
def default():
    return yaml.safe_load((REPO / "config/config.yaml").read_text())


def resolved(overlay):
    """What the Snakefile does with a config, up to the first rule."""
    config = merged(copy.deepcopy(default()), overlay)
    config = merged(plan.included(config.get("include")), config)
    config = plan.check(config, SCHEMA)
    study = plan.study(config)
    if config.get("label"):
        campaigns.campaign(config["label"], study.seed, study)
    if config.get("rehearsal"):
        campaigns.rehearsal(config["rehearsal"], study)
    return study


def refusal(overlay):
    with pytest.raises(UserError) as caught:
        resolved(overlay)
    message = str(caught.value)
    assert message.startswith("config")
    assert len(message) < 800
    return message


def inside(*keys):
    """A function from a value to the overlay that has it at these keys."""
    return lambda value: functools.reduce(lambda inner, key: {key: inner}, reversed(keys), value)


# Places of a config, values that cannot stand there, and words of the message.
TEXTS = [7, 1.5, True, ["x"], {"x": 1}]
WHOLE = [0.5, 1e300, "many", "1.5", "1e-1", "1e999", True, [1], {"x": 1}, NAN, INF, "nan"]
NUMBERS = ["many", "", "nan", "inf", True, [1], {"x": 1}, NAN, INF, -INF]
MAPPINGS = [7, "x", ["x"], True, NAN]
SHARES = [{"target": 0.95}, {"wrong": 0.05}, {"confidence": 0.95}]  # where percentages are due
LISTS = [7, "x", {"x": 1}, None, True]
PLACES = [
    (("seed",), [*WHOLE, None, -1]),
    (("augmentations",), [*WHOLE, None, 0, -3]),
    (("run",), [7, "x", ["x"], None]),
    (("run", "trials"), [*WHOLE, None, 0]),
    (("run", "replicates"), [*WHOLE, None, -1]),
    (("run", "initial"), [*TEXTS, None]),
    (("run", "datasets"), [*LISTS, [1], [None], [["x"]], ["digits", "digits"]]),
    (("run", "strategies"), [*LISTS, [], [1], [None], ["random", "random"]]),
    (("run", "encoders"), [*LISTS, [], [1]]),
    (("run", "selectors"), [*LISTS, [], [1]]),
    (("run", "trainers"), [7, "flexmatch", None, [], [1], {"linear": "flexmatch"}, {"linear": []}]),
    (("run", "finetune"), [7, "x", [], None, {"more": 1}]),
    (("run", "finetune", "rounds"), [1.5, None, {}, [], [1.5], "second", ["last", "none"], 0, 7, True]),
    (("run", "grids"), [7, "x", ["x"]]),
    (("run", "grids", "g"), [7, "x", ["x"], {"trials": "many"}, {"trails": 3}]),
    (("run", "grids", "G h"), [{"trials": 4}]),
    (("budgets",), [7, "x", [], None]),
    (("budgets", "default"), [7, "x", [], None, {"initial": 3, "more": 1}]),
    (("budgets", "default", "initial"), [*WHOLE, None, 0, -1]),
    (("budgets", "default", "rounds"), [*WHOLE, None, 0, 1001, 10**9]),
    (("budgets", "default", "batches"), [7, "x", None, [], [0], [1.5], ["x"], [None], [True], [[1]]]),
    (("statistics",), [7, "x", [], {"equivalance": 1}]),
    (("statistics", "equivalence"), [*NUMBERS, None, -0.1, 101]),
    (("costs",), [7, "x", [], {"cpu": 1}]),
    (("costs", "cpu_hour"), [*NUMBERS, None, -1]),
    (("costs", "currency"), [*TEXTS, None]),
    (("pathvars",), [7, "x", []]),
    (("pathvars", "results"), [*TEXTS, None, "", " ", "/", "a\n", "a ", "{dataset}", "<logs>", "*"]),
    (("pathvars", "result"), ["x"]),
    (("container",), TEXTS),
    (("include",), [7, 1.5, True, {"x": 1}, [7], [None], [""], "missing.yaml", ["missing.yaml"], "config"]),
    (("most_jobs",), [*WHOLE, 0]),
    (("datasets",), [7, "x", [], None]),
    (("datasets", "digits"), MAPPINGS),
    (("datasets", "digits", "name"), [*TEXTS, None, "digitz", "..", "_variants"]),
    (("datasets", "digits", "views"), [7, "strong", ["strong"], None, {"flap": True}, {"cutout": "much"}]),
    (("datasets", "digits", "views", "cutout"), [*NUMBERS, None]),
    (("datasets", "digits", "noise"), [0, [], {}, "symmetric", ["symmetric"], True, {"rate": 0.1}]),
    (("datasets", "digits", "noise"), [{"kind": "symetric"}, {"kind": "symmetric"}, {"kind": "symmetric", "rate": 2}]),
    (("datasets", "digits", "noise"), [{"kind": "symmetric", "rate": v} for v in NUMBERS]),
    (("datasets", "digits", "noise"), [{"kind": "matrix"}, {"kind": "matrix", "matrix": [[1, "x"], [0, 1]]}]),
    (("datasets", "digits", "shards"), [*WHOLE, None, 0, -1]),
    (("datasets", "digits", "imbalance_ratio"), [*NUMBERS, None, 0.5, -1]),
    (("datasets", "digits", "n_class"), [*WHOLE, 0, 1, -2]),
    (("datasets", "digits", "pool_size"), [*WHOLE, 0, -2]),
    *(
        (("datasets", name), [None, {}])
        for name in ("Digits two", "a\n", "", "../x", "{x}", "é", 7, None, True, ".nan")
    ),
    *(((kind, "a\n"), [{}]) for kind in ("encoders", "selectors", "trainers", "strategies", "imports")),
    *(((kind,), [7, "x", [], None]) for kind in ("encoders", "selectors", "trainers", "strategies")),
    *(((kind, "x"), MAPPINGS) for kind in ("encoders", "selectors", "trainers", "strategies", "imports")),
    *(((kind, "x", "name"), [*TEXTS, None, "nothing_like_it"]) for kind in ("encoders", "trainers", "strategies")),
    (("selectors", "blend", "refresh"), [7, "x", [], {"every": 0, "trainer": "passive"}]),
    (("selectors", "blend", "refresh", "every"), [*WHOLE, None, 0]),
    (("trainers", "passive", "tune"), [7, "x", [], {}, {"learning_rate": 0.1}, {"learning_rate": [NAN]}]),
    (("trainers", "passive", "tune"), [{"epochs": list(range(1, 200)), "batch_size": list(range(1, 200))}]),
    (("trainers", "passive", "epochs"), [*WHOLE, None]),
    (("trainers", "passive", "learning_rate"), [*NUMBERS, None]),
    (("strategies", "uherding"), [{"temperatures": v} for v in ([1, 2], [1, 2, 3, 4], 7, "hot", [1, 2, "x"], [])]),
    (("strategies", "margin", "shortlist"), [7, "x", [], {"size": "many"}]),
    (("encoders", "glyphclip", "projection"), [7, "yes", None, []]),
    (("imports", "x"), [{"name": "archive"}, {"name": "archive", "file": 7}, {"name": "archive", "file": None}]),
    (("imports", "x"), [{"name": "archive", "file": "a", "datasets": v} for v in ({"../x": "a"}, {"a": 7}, [], "x")]),
    (("label",), [7, "x", []]),
    (("label",), [{"campaign": v, "images": "config", "classes": ["a", "b"]} for v in ("../x", "", "a\n", "{a}", 7)]),
    (("label",), [{"campaign": "a", "images": "config", "classes": ["a", "b"], **v} for v in SHARES]),
    (("rehearsal",), [7, "x", [], {"datasets": ["digits"]}, {"datasets": ["digits"], "variants": {}}]),
    (("rehearsal",), [{"datasets": ["digits"], "variants": {"../x": {}}}, {"datasets": [], "variants": {"a": 7}}]),
    (("rehearsal",), [{"datasets": ["digits"], "variants": {"a": {"skips": v}}} for v in (NAN, 2, "x", True)]),
    (("rehearsal",), [{"datasets": ["digits"], "variants": {"a": {}}, "jobs": v} for v in (0, 10**9, 1.5)]),
    (("nonsense",), [1]),
]
CASES = [(keys, value) for keys, values in PLACES for value in values]


def shown(case):
    keys, value = case
    return f"{'.'.join(map(str, keys))}={value!r}"[:80].encode("unicode_escape").decode()


@pytest.mark.parametrize("case", CASES, ids=shown)
def test_wrong_settings(case):
    keys, value = case
    message = refusal(inside(*keys)(value))
    # The message says in which section to look.
    assert str(keys[0]) in message


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ({"datasets": {"digits": {"views": "strong"}}}, "digits: views: the text 'strong' stands where settings by"),
        ({"datasets": {"digits": {"noise": "symmetric"}}}, "digits: noise: the text 'symmetric' stands where settings"),
        ({"datasets": {"digits": {"noise": {}}}}, "the setting 'kind' is required"),
        ({"strategies": {"uherding": {"temperatures": [1, 2]}}}, "too few entries: a list of 3: number each is due"),
        ({"datasets": {"Digits two": {}}}, "'Digits two' is no name. Names are "),
        ({"pathvars": {"result": "x"}}, "there is no entry 'result'. Did you mean 'results'?"),
        ({"pathvars": {"results": ""}}, "'' is not a folder: a path, not empty"),
        ({"run": {"trails": 3}}, "there is no entry 'trails'. Did you mean 'trials'?"),
        ({"run": {"trials": "many"}}, "config, run: trials: the text 'many' stands where a whole number is due."),
        ({"run": {"trials": 0}}, "config, run: trials: 0 is too small: it is at least 1."),
        ({"statistics": {"equivalence": NAN}}, "equivalence: nan, which is no number, stands where a number is due."),
        ({"trainers": {"passive": {"epochs": 2.5}}}, "passive: epochs: 2.5 stands where a whole number is due."),
        ({"run": {"strategies": ["random", "random"]}}, "strategies: 'random' stands twice in the list."),
        ({"strategies": {"mine": {"name": 7}}}, "name: 7 stands where a text is due."),
        (
            {
                "strategies": {"short": {"name": "badge", "shortlist": {}}},
                "label": {"campaign": "a", "images": "config", "classes": ["a", "b"], "strategy": "short"},
            },
            "config, label: strategy: short has a shortlist, which studies know and campaigns do not.",
        ),
        ({"include": 7}, "config, include: 7 stands where a list of config files is due."),
    ],
)
def test_what_was_expected_is_said(overlay, words):
    assert words in refusal(overlay)


@pytest.mark.parametrize(
    ("overlay", "keys", "value"),
    [
        ({"trainers": {"passive": {"learning_rate": "1e-3"}}}, ("trainers", "passive", "learning_rate"), 0.001),
        ({"trainers": {"passive": {"learning_rate": "3"}}}, ("trainers", "passive", "learning_rate"), 3.0),
        ({"trainers": {"passive": {"epochs": "7"}}}, ("trainers", "passive", "epochs"), 7),
        ({"trainers": {"passive": {"epochs": "1.5e1"}}}, ("trainers", "passive", "epochs"), 15),
        ({"strategies": {"uherding": {"largest_part": "1e3"}}}, ("strategies", "uherding", "largest_part"), 1000),
        ({"strategies": {"uherding": {"largest_part": 1.0e5}}}, ("strategies", "uherding", "largest_part"), 100_000),
        ({"encoders": {"glyphclip": {"projection": "true"}}}, ("encoders", "glyphclip", "projection"), True),
        ({"strategies": {"uherding": {"temperatures": ["1", "2", "1e-1"]}}}, ("strategies", "uherding"), (1, 2, 0.1)),
    ],
)
def test_numbers_that_arrive_as_texts(overlay, keys, value):
    """YAML 1.1 takes 1e-3 for a text, and Snakemake every number inside `--config run='{trials: 2}'`."""
    study = resolved(overlay)
    kind, name, *rest = keys
    settings = getattr(study, kind)[name].settings
    found = settings[rest[0] if rest else "temperatures"]
    assert found == value and type(found) is type(value)


def test_numbers_of_the_run_that_arrive_as_texts():
    short = {"few": {"name": "badge", "shortlist": {"size": "1e5"}}}
    settings = resolved({"strategies": short, "datasets": {"digits": {"shards": "2"}}, "run": {"trials": 2.0}})
    assert settings.strategies["few"].settings["shortlist"]["size"] == 100_000
    assert (settings.shards["digits"], settings.run.trials) == (2, 2)
    study = resolved({"run": {"trials": "2", "finetune": {"rounds": "3"}}, "budgets": {"default": {"batches": ["10"]}}})
    assert study.run.trials == 2
    assert study.run.finetuned_rounds == {"digits_longtail": [3]}
    assert study.budgets["digits"].batches == [10]
    tune = {"learning_rate": ["1e-3", 0.003]}
    tuned = resolved({"trainers": {"flexmatch": {"tune": tune}}}).tuning["flexmatch"]
    assert tuned.candidates == [{"learning_rate": 0.001}, {"learning_rate": 0.003}]


@pytest.mark.parametrize(
    "overlay",
    [
        {"run": {"trials": 10**8}},
        {"augmentations": 10**9},
        {"datasets": {"digits_longtail": {"shards": 10**9}}},
        {"run": {"replicates": 10**9}},
        {"most_jobs": 50},
    ],
)
def test_studies_that_are_far_too_large(overlay):
    began = time.process_time()
    assert "this study would have about" in refusal(overlay)
    assert time.process_time() - began < 2


def test_a_large_study_is_planned_where_the_config_says_so():
    assert resolved({"run": {"trials": 20_000}, "most_jobs": 2_000_000}).run.trials == 20_000


# Files.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run:\n  trials: 2\n  strategies: [random]\n  trials: 3\n", "lines 2 and 4: 'trials' stands twice"),
        ("a: 1\nb: {x: 1,\n  x: 2}\n", "lines 2 and 3: 'x' stands twice"),
        ("a: 1\na: 1\n", "lines 1 and 2: 'a' stands twice"),
        ("a: 1\n'a': 2\n", "lines 1 and 2: 'a' stands twice"),
        ("costs:\n  cpu_hour: .nan\n", "line 2: '.nan' is no number"),
        ("costs: [1, -.INF]\n", "line 1: '-.INF' is no number"),
        ("a: 1.0e+999\n", "line 1: '1.0e+999' is no number"),
        ("a: 1e999\n", "line 1: '1e999' is no number"),
        ("a: [1, 2\nb: 3\n", "line 2, column 2: this is no YAML"),
        ("a:\n\tb: 3\n", "line 2, column 1: this is no YAML"),
        ("a: b: c\n", "line 1, column 5: this is no YAML"),
        ("a: *nowhere\n", "line 1, column 4: this is no YAML"),
        ("a: !!python/object/apply:os.system [true]\n", "line 1, column 4: this is no YAML"),
        ("", "holds nothing (null), and settings by name are due"),
        ("# a comment\n", "holds nothing (null)"),
        ("- a\n- b\n", "holds ['a', 'b'], and settings by name are due"),
        ("text\n", "holds the text 'text', and settings by name are due"),
        ("7\n", "holds 7, and settings by name are due"),
        ("a: 1\n---\nb: 2\n", "this is no YAML"),
        ("\x00\x01", "cannot be read as YAML"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
    ],
)
def test_files_that_cannot_be_included(tmp_path, text, words):
    (tmp_path / "x.yaml").write_text(text)
    message = refusal({"include": [str(tmp_path / "x.yaml")]})
    assert message.startswith(f"config, include: {tmp_path / 'x.yaml'}")
    assert words in message
    assert message == refusal({"include": str(tmp_path / "x.yaml")})


def test_binary_files_that_cannot_be_included(tmp_path):
    for content in (b"\x89HDF\r\n\x1a\n", bytes(range(256)), b"a: \xe9\n"):
        (tmp_path / "x.yaml").write_bytes(content)
        assert "cannot be read" in refusal({"include": str(tmp_path / "x.yaml")})
    assert "Is a directory" in refusal({"include": str(tmp_path)})


def test_a_file_in_another_encoding_is_told_with_its_line(tmp_path):
    (tmp_path / "x.yaml").write_bytes("seed: 3\n# Grüße\n".encode("cp1252"))
    message = refusal({"include": str(tmp_path / "x.yaml")})
    assert message.endswith("x.yaml cannot be read: line 2 is not UTF-8 text. Save it as UTF-8.")


@pytest.mark.parametrize("option", ["--configfile {}", "--configfile={}"])
def test_a_config_in_another_encoding_is_no_traceback_of_snakemakes(tmp_path, option):
    path = tmp_path / "mine.yaml"
    path.write_bytes("seed: 3\n\n# Grüße\n".encode("cp1252"))
    command = [sys.executable, "-m", "snakemake", "-n", "-c1", *option.format(path).split()]
    done = subprocess.run(command, cwd=REPO, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"{path} cannot be read: line 3 is not UTF-8 text. Save it as UTF-8."
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("content", "words"), [
    (None, "There is no config file {folder}/mine.yaml. Did you mean {folder}/nine.yaml? Paths are relative to "),
    ("run: [1, 2\nb: 3\n", "{folder}/mine.yaml, line 2, column 2: this is no YAML: "),
    ("- a\n", "{folder}/mine.yaml holds no settings by name (run: {{…}})."),
])  # fmt: skip
def test_a_config_that_is_not_there_or_no_yaml_is_no_traceback_of_snakemakes(tmp_path, content, words):
    (tmp_path / "nine.yaml").write_text("run: {}\n")
    if content:
        (tmp_path / "mine.yaml").write_text(content)
    # `stage` is a target: of `--configfile=` there is one file.
    command = [sys.executable, "-m", "snakemake", "-n", "-c1", "--configfile=config/levers.yaml", "stage"]
    command += ["--configfile", "config/levers.yaml", f"{tmp_path}/mine.yaml"]
    done = subprocess.run(command, cwd=REPO, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(words.format(folder=tmp_path)) and "Traceback" not in done.stderr


def test_one_file_is_included_as_a_list_of_it(tmp_path):
    (tmp_path / "x.yaml").write_text("statistics: {equivalence: 5e-1}\n")
    for include in ("x.yaml", ["x.yaml"]):
        overlay = {"include": str(tmp_path / include) if include == "x.yaml" else [str(tmp_path / "x.yaml")]}
        del default()["statistics"]
        try:
            assert resolved(overlay).equivalence == 0.005
        finally:
            default.cache_clear()


def test_merge_keys_and_anchors_are_no_repetition(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, y: 3}\nd: [*a, *a]\n1e3: 1e3\n")
    assert yaml_files.load(tmp_path / "x.yaml") == {
        "a": {"x": 1},
        "b": {"x": 2},
        "c": {"x": 2, "y": 3},
        "d": [{"x": 1}, {"x": 1}],
        1000.0: 1000.0,
    }


@pytest.mark.parametrize("path", sorted((REPO / "config").rglob("*.yaml")), ids=lambda path: path.name)
def test_our_own_files_say_everything_once(path):
    assert plan.read(path) == yaml.safe_load(path.read_text())
