"""Configs: what is completed, what is refused, and with which words."""

import copy
import json
import types
from types import SimpleNamespace

import pytest
import yaml

from conftest import REPO, merged
from labelbench.common.errors import UserError
from labelbench.planning import grid, paths, plan, specs


@pytest.fixture
def config():
    """The default study, on both sets of digits."""
    default = yaml.safe_load((REPO / "config/config.yaml").read_text())
    return merged(default, {"run": {"datasets": ["digits", "digits_longtail"]}})


def refused(config, overlay):
    with pytest.raises(UserError) as caught:
        plan.study(merged(copy.deepcopy(config), overlay))
    return str(caught.value)


def test_the_default_config_resolves(config):
    study = plan.study(config)
    assert set(study.run.strategies) <= set(study.strategies)
    assert study.trainers["flexmatch"].settings["threshold"] == 0.95  # a default, written out


def test_unknown_strategy(config):
    message = refused(config, {"run": {"strategies": ["random", "margn"]}})
    assert "'margn' is not defined" in message
    assert "Did you mean 'margin'?" in message


def test_unknown_plugin(config):
    message = refused(config, {"strategies": {"mine": {"name": "bagde"}}})
    assert "config, strategies: mine" in message
    assert "Did you mean 'badge'?" in message


def test_unknown_setting(config):
    message = refused(config, {"trainers": {"flexmatch": {"treshold": 0.9}}})
    assert "config, trainers: flexmatch: there is no setting 'treshold'. Did you mean 'threshold'?" in message


def test_wrong_type(config):
    message = refused(config, {"trainers": {"passive": {"epochs": "many"}}})
    assert "config, trainers: passive: epochs: the text 'many' stands where a whole number is due." in message


def test_impossible_value(config):
    assert "threshold is a probability" in refused(config, {"trainers": {"flexmatch": {"threshold": 2.0}}})


def test_missing_setting(config):
    assert "'folder' is required" in refused(config, {"datasets": {"fashion": {"name": "fashion_mnist"}}})


def test_budget_for_an_unknown_dataset(config):
    message = refused(config, {"budgets": {"digit": {"initial": 1, "batches": [1], "rounds": 1}}})
    assert "Did you mean 'digits'?" in message


def test_finetuned_rounds():
    rounds = plan.evaluated_rounds
    assert rounds("x", ["last"], 6) == [6]
    assert rounds("x", ["first", 3, "last"], 6) == [1, 3, 6]
    assert rounds("x", ["all"], 3) == [1, 2, 3]
    assert rounds("x", "last", 6) == rounds("x", 6, 6) == [6]
    with pytest.raises(UserError, match="7 is neither"):
        rounds("x", [7], 6)


def test_schedule_repeats_its_last_batch():
    schedule = plan.Schedule(initial=30, batches=[10, 20], rounds=5)
    assert [schedule.batch(r) for r in (2, 3, 4, 5)] == [10, 20, 20, 20]
    assert schedule.total == 100


def test_first_round_is_random_unless_a_strategy_is_named(config):
    assert plan.study(config).initial["digits"].name == "random"
    chosen = merged(config, {"run": {"initial": "coreset"}})
    assert plan.study(chosen).initial["digits"].name == "coreset"
    assert plan.initial_uses(plan.study(chosen), "digits") == ("features",)


def test_a_dataset_may_have_a_first_round_of_its_own(config):
    datasets = {"typical": {"name": "digits", "initial": "typiclust"}}
    run = {"datasets": ["digits", "typical"], "initial": "kmeans"}
    found = plan.study(merged(config, {"datasets": datasets, "run": run, "strategies": {"typiclust": None}}))
    assert {name: entry.name for name, entry in found.initial.items() if name in run["datasets"]} == {
        "digits": "kmeans",
        "typical": "typiclust",
    }
    # It is how the dataset is labelled, not what it is: images and labels are the same, and so is the file of them.
    assert found.datasets["typical"].spec == found.datasets["digits"].spec
    at = SimpleNamespace(dataset="typical")
    assert json.loads(specs.initial_spec(found, at))["initial"]["name"] == "typiclust"
    assert paths.clean_embeddings_if_initial_uses_them(found, at)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("typicalst", "config, datasets: typical: initial: 'typicalst' is not defined. Did you mean 'typiclust'?"),
        ("galaxy", "config, datasets: typical: initial: galaxy learns from labels as it goes"),
        (["kmeans"], "config, datasets: typical: initial: ['kmeans'] stands where the name of a strategy is due"),
        ("labelbench", "published first batches of 4 runs, but trials is 5"),
    ],
)
def test_first_rounds_of_a_dataset_that_cannot_be(config, name, message):
    datasets = {"typical": {"name": "digits", "initial": name}}
    run, strategies = {"datasets": ["typical"], "trials": 5}, {"typiclust": None, "galaxy": None}
    assert message in refused(config, {"datasets": datasets, "run": run, "strategies": strategies})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("corset", "Did you mean 'coreset'"),
        ("galaxy", "learns from labels as it goes"),
        ("oracle", "learns from labels as it goes"),
        ("alfamix", "there is none yet"),
    ],
)
def test_first_rounds_that_cannot_be(config, name, message):
    strategies = {name: None} if name != "corset" else {}
    assert message in refused(config, {"run": {"initial": name}, "strategies": strategies})


def test_probabilities_of_a_first_round_need_a_zero_shot_head(config):
    encoder = {"lite": {"name": "timm", "model": "efficientnet_lite0", "weights": "package:x"}}
    message = refused(config, {"run": {"initial": "margin", "encoders": ["lite"]}, "encoders": encoder})
    assert "no text tower" in message


def test_published_first_batches_are_four(config):
    assert "published first batches of 4 runs" in refused(config, {"run": {"initial": "labelbench", "trials": 5}})


def test_trainers_are_one_list_or_one_for_each_selector(config):
    run = {"selectors": ["linear", "finetune"]}
    same = plan.study(merged(copy.deepcopy(config), {"run": {**run, "trainers": ["passive"]}}))
    assert same.run.trainers == {"linear": ["passive"], "finetune": ["passive"]}
    each = {"linear": ["flexmatch"], "finetune": ["lora"], "shallow": ["passive"]}
    assert plan.study(merged(config, {"run": {**run, "trainers": each}})).run.trainers == {
        "linear": ["flexmatch"],
        "finetune": ["lora"],
    }


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"trainers": {"finetune": ["lora"]}}, "the selector linear has none"),
        ({"trainers": {"linear": ["flexmatch"], "finetun": ["lora"]}}, "Did you mean 'finetune'"),
        ({"trainers": {"linear": ["flexmatsch"]}}, "Did you mean 'flexmatch'"),
        ({"trainers": ["lora"]}, "the selector linear sees embeddings only"),
        ({"selectors": ["blend"], "trainers": {"blend": ["linear_probe_then_finetune"]}}, "sees embeddings only"),
    ],
)
def test_trainers_that_cannot_be(config, run, message):
    assert message in refused(config, {"run": run})


@pytest.mark.parametrize(
    ("selectors", "message"),
    [
        ({"blend": {"refresh": {"every": 0}}}, "at least 1"),
        ({"blend": {"refresh": {"trainer": "flexmatch_image"}}}, "Did you mean 'flexmatch_images'"),
        ({"mine": {"name": "linear", "refresh": {"every": 2}}}, "the setting 'trainer' is required"),
        ({"finetune": {"refresh": {"every": 2, "trainer": "passive"}}}, "nothing is left to refresh"),
        ({"blend": {"refresh": {"every": 6}}}, "never in time for another round of digits, which has 6"),
    ],
)
def test_refreshes_that_cannot_be(config, selectors, message):
    run = {"selectors": ["blend"], "trainers": ["flexmatch"]}
    assert message in refused(config, {"selectors": selectors, "run": run})


def test_a_refresh_serves_the_rounds_after_it():
    refresh = plan.Refresh(every=3, trainer="x")
    assert [refresh.before(round_) for round_ in range(1, 9)] == [0, 0, 0, 3, 3, 3, 6, 6]
    assert [plan.Refresh(1, "x").before(round_) for round_ in (1, 2, 3)] == [0, 1, 2]


def test_a_blend_can_be_turned_off(config):
    assert plan.study(merged(config, {"selectors": {"blend": {"refresh": None}}})).refreshes == {}


GRIDS = {
    "small": {"datasets": ["digits"], "strategies": ["random", "margin"]},
    "tail": {
        "datasets": ["digits_longtail"],
        "selectors": ["shallow", "linear"],
        "trainers": {"linear": ["passive"], "shallow": ["flexmatch"]},
        "trials": 2,
        "finetune": {"trainers": ["passive_images"], "rounds": "first"},
    },
}


def test_a_grid_takes_what_it_does_not_say_from_run(config):
    study = plan.study(merged(config, {"run": {"grids": GRIDS}}))
    small, tail = study.grids
    assert small == plan.study(config).run._replace(
        datasets=["digits"], strategies=["random", "margin"], finetuned_rounds={"digits": [6]}
    )
    assert (tail.datasets, tail.encoders, tail.trials) == (["digits_longtail"], ["glyphclip"], 2)
    assert tail.trainers == {"shallow": ["flexmatch"], "linear": ["passive"]}
    assert tail.finetuned_rounds == {"digits_longtail": [1]}
    assert study.run == plan.Run(
        datasets=["digits", "digits_longtail"],
        encoders=["glyphclip"],
        selectors=["linear", "shallow"],
        trainers={"linear": ["flexmatch", "passive"], "shallow": ["flexmatch"]},
        strategies=["random", "margin", "badge"],
        trials=4,
        finetune_trainers=["flexmatch_images", "passive_images"],
        finetuned_rounds={"digits": [6], "digits_longtail": [1]},
    )


def test_a_grid_can_be_turned_off(config):
    assert len(plan.study(merged(config, {"run": {"grids": {**GRIDS, "tail": None}}})).grids) == 1


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            {"strategies": ["margn"]},
            "config, run: grids: mine: strategies: 'margn' is not defined. Did you mean 'margin'",
        ),
        ({"selectors": ["finetune"], "trainers": {"linear": ["passive"]}}, "the selector finetune has none"),
        ({"finetune": {"trainers": [], "rounds": [7]}}, "config, run: grids: mine: finetune: rounds: 7 is neither"),
        ({"trials": 3}, "config, run: grids: mine has 3 trials of digits, but config, run: grids: small has 4"),
    ],
)
def test_grids_that_cannot_be(config, grid, message):
    assert message in refused(config, {"run": {"grids": {**GRIDS, "mine": grid}}})


def test_an_include_lies_below_what_includes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {
        "base.yaml": {"seed": 1, "run": {"trials": 1, "grids": {"a": {"trials": 1}}}},
        "a.yaml": {"include": ["base.yaml"], "run": {"grids": {"a": {"trials": 2}}}},
        "b.yaml": {"include": ["base.yaml", "b.yaml"], "run": {"trials": 3}},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(yaml.safe_dump(content))
    assert plan.included(["a.yaml", "b.yaml"]) == {
        "include": ["base.yaml", "b.yaml"],
        "seed": 1,
        "run": {"trials": 3, "grids": {"a": {"trials": 2}}},
    }
    with pytest.raises(UserError, match="config, include: missing.yaml cannot be read"):
        plan.included(["missing.yaml"])


FEATURES = {"datasets": {"texts": {"name": "features", "features": "x.npy"}}, "run": {"datasets": ["texts"]}}
ON_FEATURES = merged(FEATURES, {"run": {"finetune": {"trainers": [], "rounds": ["last"]}}})


def test_features_need_no_encoder_and_have_views_of_their_own(config):
    overlay = merged(ON_FEATURES, {"run": {"datasets": ["texts", "digits"]}})
    overlay = merged(overlay, {"datasets": {"texts": {"views": {"dropout": 0.5}}}})
    study = plan.study(merged(config, overlay))
    encoders = {(dict(run)["dataset"], dict(run)["encoder"]) for run in grid.final_models(study)}
    assert encoders == {("texts", "given"), ("digits", "glyphclip")}
    assert study.views["texts"] == {"weak_noise": 0.1, "strong_noise": 0.3, "dropout": 0.5}
    assert grid.zero_shot(study, grid.final_models(study)) == ["<results>/embeddings/digits/glyphclip/zero_shot.json"]
    assert "there is no setting 'flip'" in refused(
        config, merged(ON_FEATURES, {"datasets": {"texts": {"views": {"flip": True}}}})
    )


def test_no_encoder_is_trained_on_features(config):
    message = refused(config, FEATURES)
    assert (
        "finetune: trainers: flexmatch_images trains an encoder on images, and texts consists of embeddings" in message
    )
    for selector in ("finetune", "blend"):
        trainers = {"finetune": ["passive_images"], "blend": ["passive"]}
        message = refused(config, merged(ON_FEATURES, {"run": {"selectors": [selector], "trainers": trainers}}))
        assert f"selectors: {selector} trains an encoder on images, and texts consists of embeddings" in message
    assert "no text tower" in refused(config, merged(ON_FEATURES, {"run": {"initial": "class_balanced"}}))
    assert "shards" in refused(config, merged(ON_FEATURES, {"datasets": {"texts": {"shards": 2}}}))
    taken = {"encoders": {"given": {"name": "timm"}}}
    assert "`given` is the name for embeddings" in refused(config, merged(ON_FEATURES, taken))


def test_a_shortlist_is_a_setting_of_any_strategy(config):
    short = {"coreset_short": {"name": "coreset", "shortlist": {"by": ["margin", "random"], "size": 400}}}
    study = plan.study(merged(config, {"strategies": short}))
    entry = study.strategies["coreset_short"]
    assert entry.settings["shortlist"] == {"by": ("margin", "random"), "size": 400, "cells": 1000}
    assert "shortlist" not in study.strategies["coreset"].settings
    assert plan.uses(entry) == {"features", "probabilities"}
    by_margin = {"mine": {"name": "random", "shortlist": {"size": 400}}}
    assert plan.uses(plan.study(merged(config, {"strategies": by_margin})).strategies["mine"]) == {"probabilities"}
    wrong = {"strategies": {"coreset": {"shortlist": {"by": "luck"}}}}
    assert "config, strategies: coreset: shortlist: by must be among" in refused(config, wrong)
    wrong = {"strategies": {"coreset": {"shortlist": {"by": ["margin", "random", "margin"]}}}}
    assert "coreset: shortlist: by names margin twice" in refused(config, wrong)
    first = {"strategies": short, "run": {"initial": "coreset_short"}}
    assert "coreset_short has a shortlist, which is for later rounds" in refused(config, first)


@pytest.mark.parametrize("name", ["1", "a-b", "x.y", "Mine", "2021_b"])
def test_names_are_what_a_path_allows(name):
    plan.check_names({"datasets": {name: {}}})


@pytest.mark.parametrize("name", ["", "-a", ".hidden", "a/b", "a b", "{x}", "ü", "a\n"])
def test_names_that_would_do_harm_are_refused_in_words(name):
    with pytest.raises(UserError, match="config, datasets: .* is no name. Names are 1 to 100 letters"):
        plan.check_names({"datasets": {name: {}}})


def test_hyphens_join_selectors_and_trainers():
    with pytest.raises(UserError, match="config, trainers: 'a-b' has a hyphen, which joins names"):
        plan.check_names({"trainers": {"a-b": {}}})


def test_names_that_differ_in_capitals_alone_are_refused():
    with pytest.raises(UserError, match="'Mine' and 'mine' differ in capitals alone"):
        plan.check_names({"datasets": {"Mine": {}, "mine": {}}})


def test_a_number_may_be_a_name():
    config = {
        "datasets": {1: {"name": "digits"}},
        "run": {"datasets": [1], "grids": {"a": {"datasets": [1]}, "b": None}},
    }
    named = plan.with_names_as_text(config | {"budgets": {"default": {}, 1: {}}, "seed": 1})
    assert named["datasets"] == {"1": {"name": "digits"}}
    assert named["run"] == {"datasets": ["1"], "grids": {"a": {"datasets": ["1"]}, "b": None}}
    assert list(named["budgets"]) == ["default", "1"] and named["seed"] == 1


@pytest.mark.parametrize("path", ["{2021}.npy", "<x>.npy", "a//b.npy", "\udce4.npy"])
def test_inputs_that_snakemake_would_take_for_patterns_are_refused(path):
    module = types.SimpleNamespace(sources=lambda config: [config])
    entries = {"mine": plan.Entry("features", {}, path, "", module)}
    with pytest.raises(UserError, match="config, datasets: mine: .* mean something to Snakemake"):
        plan._check_inputs("datasets", entries, "sources")


def test_how_an_encoder_is_trained_is_no_part_of_what_it_is(config):
    plain = plan.study(config)
    how = {"gpus": 4, "accumulation": 2, "checkpoint_activations": True}
    study = plan.study(merged(copy.deepcopy(config), {"encoders": {"glyphclip": {"end_to_end": how}}}))
    assert study.encoders == plain.encoders
    assert plain.end_to_end["glyphclip"] == plan.EndToEnd() and study.end_to_end["glyphclip"] == plan.EndToEnd(**how)
    at = types.SimpleNamespace(dataset="digits", encoder="glyphclip", model="flexmatch_images", get=lambda name: None)
    assert specs.finetune_spec(study, at) == specs.finetune_spec(plain, at)
    assert json.loads(specs.end_to_end(study, at)) == how


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"gpus": 0}, "config, encoders: glyphclip: end_to_end: gpus must be at least 1"),
        ({"accumulation": -1}, "accumulation must be at least 1"),
        ({"gpu": 4}, "there is no setting 'gpu'. Did you mean 'gpus'?"),
        ({"checkpoint_activations": "often"}, "stands where true or false is due"),
        (4, "end_to_end: 4 stands where settings by name are due"),
    ],
)
def test_settings_of_end_to_end_training_are_checked(config, how, message):
    assert message in refused(config, {"encoders": {"glyphclip": {"end_to_end": how}}})
