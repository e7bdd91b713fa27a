"""What the Snakefile asks: where files stand, what jobs depend on, what a study consists of and shows."""

import json
from types import SimpleNamespace

import pytest
import yaml

from conftest import REPO
from labelbench.evidence import findings
from labelbench.planning import grid, paths, plan, shown, specs


def study(**overlay):
    config = yaml.safe_load((REPO / "config/config.yaml").read_text())
    config = plan.merged(config, overlay)
    plan.check(config, REPO / "workflow/schemas/config.schema.yaml")
    return plan.study(config)


class Wildcards(SimpleNamespace):
    """As Snakemake's: attributes, `items`, `get` and [ ]."""

    def items(self):
        return vars(self).items()

    def get(self, name, default=None):
        return vars(self).get(name, default)

    def __getitem__(self, name):
        return vars(self)[name]


def at(round_, **names):
    run = {"dataset": "digits", "encoder": "glyphclip", "selector": "linear", "trainer": "flexmatch"}
    return Wildcards(**{**run, "strategy": "margin", "trial": "0", "round": f"{round_:02d}", **names})


PLACE = "<results>/runs/digits/glyphclip/linear-flexmatch"


def test_all_strategies_share_round_1():
    assert paths.folder(1, at(1)) == f"{PLACE}/initial/trial0/round01"
    assert paths.folder(2, at(2)) == f"{PLACE}/margin/trial0/round02"
    assert paths.labels_of_round_before(None, at(2)) == "<results>/initial/{dataset}/{encoder}/trial{trial}/labels.h5"
    assert paths.labels_of_this_round(None, at(2)) == f"{PLACE}/margin/trial0/round02/labels.h5"


def test_a_strategy_waits_for_the_model_that_it_looks_at():
    assert paths.proxy_of_round_before(study(), at(2)) == f"{PLACE}/initial/trial0/round01/proxy.safetensors"
    assert paths.proxy_of_round_before(study(), at(2, strategy="random")) == []
    assert paths.features_of_round_before(study(), at(3)) == "<results>/embeddings/{dataset}/{encoder}/clean.h5"
    own = paths.features_of_round_before(study(), at(3, selector="finetune", trainer="flexmatch_images"))
    assert own.endswith("finetune-flexmatch_images/margin/trial0/round02/features.h5")


@pytest.mark.parametrize(("round_", "refreshed"), [(1, None), (2, None), (3, 2), (4, 2), (5, 4)])
def test_a_blend_trains_on_the_embeddings_it_last_made(round_, refreshed):
    found = paths.embeddings(study(), at(round_, selector="blend"), round_)
    if refreshed is None:
        assert found == paths.EMBEDDINGS
    else:
        assert found.endswith(f"/blend-flexmatch/margin/trial0/round{refreshed:02d}/refresh")


def test_constraints_are_names_or_match_nothing():
    assert set(paths.selectors_that_train(study(), end_to_end=True).split("|")) == {"finetune", "lora"}
    assert paths.datasets_embedded_in(study(), one_job=False) == paths.NEVER
    several = study(datasets={"digits": {"name": "digits", "shards": 3}})
    assert paths.datasets_embedded_in(several, one_job=False) == "digits"
    assert paths.shard_files(several, at(1)) == [f"{paths.EMBEDDINGS}/{{view}}.shard{n}of3.h5" for n in (1, 2, 3)]


def test_settings_are_tuned_by_validation_or_by_each_round():
    tune = {"learning_rate": [0.001, 0.003]}
    by_validation = study(trainers={"flexmatch": {"tune": tune}})
    assert paths.tuned_proxy(by_validation, at(1)).endswith("/linear-flexmatch.json")
    assert paths.tuned_final(by_validation, at(1, model="flexmatch")).endswith("/final-flexmatch.json")
    assert len(paths.metrics_of_candidates(by_validation, at(0))) == 2
    by_round = study(trainers={"flexmatch": {"tune": {"by": "cross_validation", **tune}}})
    assert paths.tuned_proxy(by_round, at(1)) == []
    assert paths.tuned_proxy(study(), at(1)) == []
    assert json.loads(specs.proxy_spec(by_round, at(1)))["cross_validation"]["candidates"] == [
        {"learning_rate": 0.001},
        {"learning_rate": 0.003},
    ]
    candidate = json.loads(specs.proxy_spec(by_validation, at(0, candidate="1")))
    assert candidate["trainer"]["learning_rate"] == 0.003


def test_a_model_that_was_trained_to_select_is_not_trained_again():
    same = paths.metrics_of_the_same_model(study(), at(2, selector="finetune", trainer="lora", model="lora"))
    assert same.endswith("/finetune-lora/margin/trial0/round02/metrics.json")
    assert paths.metrics_of_the_same_model(study(), at(2, model="flexmatch_images")) == []
    blend = at(2, selector="blend", model="flexmatch_images")
    assert paths.metrics_of_the_same_model(study(), blend).endswith("/round02/refresh/metrics.json")


def test_a_spec_holds_what_its_job_uses_and_nothing_else():
    assert set(json.loads(specs.proxy_spec(study(), at(1)))) == {"seed", "selector", "trainer"}
    assert set(json.loads(specs.select_spec(study(), at(2)))) == {"seed", "budget", "strategy"}
    assert "views" not in json.loads(specs.embed_spec(study(), at(1, view="clean")))
    assert "views" in json.loads(specs.embed_spec(study(), at(1, view="aug0")))
    noisy = study(datasets={"digits": {"name": "digits", "noise": {"kind": "symmetric", "rate": 0.1}}})
    assert specs.select_spec(noisy, at(2)) != specs.select_spec(study(), at(2))
    assert specs.proxy_spec(noisy, at(2)) == specs.proxy_spec(study(), at(2))


def test_code_depends_on_the_plug_ins_that_run():
    assert specs.select_code(study(), at(2)) != specs.select_code(study(), at(2, strategy="badge"))
    one, other = (specs.select_code(study(), at(2, selector=s)) for s in ("linear", "shallow"))
    assert one != other
    one, other = (specs.select_code(study(), at(2, selector=s, strategy="random")) for s in ("linear", "shallow"))
    assert one == other


def test_replicates_differ_in_their_seed_alone():
    first, second = (specs.replicate_proxy_spec(study(), at(1, replicate=n)) for n in "12")
    plain = json.loads(specs.proxy_spec(study(), at(1)))
    assert len({first, second}) == 2
    assert json.loads(first) | {"seed": 0} == plain | {"seed": 0}


def test_the_grid_holds_every_run_once():
    one = study(run={"trials": 2, "strategies": ["random", "margin"]})
    models = grid.final_models(one)
    assert len(models) == 4
    assert all(list(finals) == [(6, "flexmatch_images")] for finals in models.values())
    folders = grid.model_folders(one, models)
    # Of two trials: round 1 is shared, five more rounds of two strategies, and their fine-tunes.
    assert len(folders) == len(set(folders)) == 2 * (1 + 2 * 5 + 2)
    assert len(grid.costs(one, models)) == len(folders) + 4 * 5
    assert len(grid.label_sets(one, models)) == 4
    assert grid.replicates(one, models) == []


def test_replicates_are_of_random_at_the_first_and_last_round():
    one = study(run={"trials": 1, "replicates": 2})
    found = grid.replicates(one, grid.final_models(one))
    assert len(found) == 2 * (2 + 1)
    assert all("/random/" in place or "/initial/" in place for place in found)


def test_two_grids_are_joined():
    grids = {"one": {"strategies": ["random"]}, "two": {"strategies": ["random", "margin"], "selectors": ["shallow"]}}
    models = grid.final_models(study(run={"grids": grids, "trials": 1}))
    assert {(dict(key)["selector"], dict(key)["strategy"]) for key in models} == {
        ("linear", "random"),
        ("shallow", "random"),
        ("shallow", "margin"),
    }


def test_tables_and_figures_follow_from_what_is_run():
    one = study()
    found = shown.shown(one, grid.final_models(one))
    files = shown.files(found)
    assert set(files.tables) == {(kind, "digits_longtail") for kind in ("final", "costs", "comparisons")}
    assert set(files.figures) == {(kind, "digits_longtail") for kind in ("curves", "finals", "differences", "savings")}
    assert set(files.overall_tables) == {"wins"}
    assert shown.result_files("tables", files.tables, "csv")[0] == "<results>/tables/final_digits_longtail.csv"
    assert shown.trials(found) == "4"
    assert shown.compared(found)["kinds"]["margin"] == "batch"

    alone = study(run={"strategies": ["margin"]})
    files = shown.files(shown.shown(alone, grid.final_models(alone)))
    assert "comparisons" not in {kind for kind, _ in files.tables}
    assert files.overall_tables == {}

    several = study(run={"datasets": ["digits", "digits_longtail"], "selectors": ["linear", "shallow"]})
    files = shown.files(shown.shown(several, grid.final_models(several)))
    assert ("selectors", "digits") in files.tables
    assert "ranks" in files.overall_figures


DATASETS = {
    "typical": {"name": "digits", "initial": "typiclust"},
    "noisy": {"name": "digits", "initial": "typiclust", "noise": {"kind": "symmetric", "rate": 0.1}},
    "long": {"name": "digits"},
}


@pytest.mark.parametrize(
    ("run", "ranked"),
    [
        ({"datasets": ["digits"]}, False),  # strategies alone
        ({"datasets": ["digits"], "strategies": ["random"], "trainers": ["flexmatch", "passive"]}, False),
        ({"datasets": ["digits", "digits_longtail"]}, False),  # other images are no lever
        ({"datasets": ["digits"], "trainers": ["flexmatch", "passive"]}, True),
        ({"datasets": ["digits", "typical"]}, True),
        ({"datasets": ["digits", "noisy"]}, False),  # nor are datasets that differ in more than the first round
        ({"datasets": ["digits", "long"]}, False),
    ],
)
def test_levers_are_ranked_where_more_than_one_is_moved(run, ranked):
    plain = {"views": {"strong_ops": 1, "cutout": 0.25}}
    budgets = {"long": {"initial": 99, "batches": [10], "rounds": 3}}
    found = study(run=run, datasets={name: plain | settings for name, settings in DATASETS.items()}, budgets=budgets)
    files = shown.files(shown.shown(found, grid.final_models(found)))
    assert ("levers" in files.overall_tables, "levers" in files.overall_figures) == (ranked, ranked)


def test_cold_starts_are_of_datasets_that_differ_in_nothing_else():
    plain = {"views": {"strong_ops": 1, "cutout": 0.25}}
    strategies = {"closest": {"name": "typiclust", "neighbours": 5}}
    datasets = {"typical": {"name": "digits", "initial": "closest"}, "half": {"name": "digits", "pool_size": 500}}
    names = ["half", "digits", "typical", "digits_longtail"]
    settings = {name: plain | values for name, values in datasets.items()}
    found = study(run={"datasets": names, "initial": "kmeans"}, datasets=settings, strategies=strategies)
    seen = shown.shown(found, grid.final_models(found))
    assert shown.compared(seen)["starts"] == {
        "half": ("half", "kmeans"),
        "digits": ("digits", "kmeans"),
        "typical": ("digits", "closest"),
        "digits_longtail": ("digits_longtail", "kmeans"),
    }


@pytest.mark.parametrize(("datasets", "budgets", "notes"), [
    ({"mine": {"name": "digits", "initial": "typiclust"}}, {}, {"mine": "mine is not compared with digits as a cold "
     "start: they differ in views too. Where nothing but `initial` differs, they are."}),
    ({"mine": {"name": "digits", "initial": "typiclust", "views": {"strong_ops": 1, "cutout": 0.25}}}, {}, {}),
    ({"mine": {"name": "digits", "initial": "typiclust", "views": {"strong_ops": 1, "cutout": 0.25}}},
     {"mine": {"initial": 99, "batches": [10], "rounds": 2}}, {"mine": "they differ in budget too"}),
    ({"mine": {"name": "digits"}}, {}, {}),
    # The plain half lacks nothing, for the cold start of the other is compared where it belongs.
    ({"mine": {"name": "digits", "initial": "typiclust", "views": {"strong_ops": 1, "cutout": 0.25}},
      "half": {"name": "digits", "pool_size": 500}}, {}, {}),
    ({"mine": {"name": "fashion_mnist", "folder": "x", "initial": "typiclust"}}, {}, {}),
])  # fmt: skip
def test_cold_starts_that_are_not_compared_are_told(datasets, budgets, notes):
    views = {"digits": {"views": {"strong_ops": 1, "cutout": 0.25}}}
    strategies = {"typiclust": {}}
    names = ["digits", *datasets]
    found = study(run={"datasets": names}, datasets=views | datasets, strategies=strategies, budgets=budgets)
    told = shown.uncompared(shown.shown(found, grid.final_models(found)))
    assert list(told) == list(notes)
    assert all(words in told[name] for name, words in notes.items())


def test_a_finished_studys_report_opens_with_its_summary_and_a_figure(tmp_path):
    files = shown.files(shown.shown(study(), grid.final_models(study())))
    assert (shown.summary(tmp_path), shown.opening_figure(files, tmp_path)) == ([], "")
    for name in ("curves", "differences"):
        path = tmp_path / f"figures/{name}_digits_longtail.svg"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    path = tmp_path / "tables/findings.txt"
    path.parent.mkdir()
    summed = ["First, a sentence that is long enough to be wrapped " + "again and " * 20 + "again.", "Second."]
    path.write_text(findings.to_text({"digits": ["A paragraph."]}, "About.", summed))
    assert shown.summary(tmp_path) == summed
    assert shown.opening_figure(files, tmp_path).endswith("figures/differences_digits_longtail.svg")


def test_the_order_of_definitions_changes_nothing_that_is_shown():
    config = yaml.safe_load((REPO / "config/config.yaml").read_text())
    backwards = plan.study({**config, "trainers": dict(reversed(config["trainers"].items()))})
    one, other = (shown.own_contents(s, grid.final_models(s)) for s in (study(), backwards))
    assert one == other
