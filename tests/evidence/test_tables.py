import io
import json
import math
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import get_args, get_type_hints

import jinja2
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import synthetic_study
from conftest import REPO
from labelbench.common.errors import UserError
from labelbench.data.datasets._own import Own
from labelbench.evidence import pages, statistics, study, tables, typeset, wording
from labelbench.evidence.savings import Bounded, Savings, label_savings
from synthetic_study import KINDS

SETTING = ("glyphclip", "linear", "flexmatch")


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    return synthetic_study.table(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def digits(metrics):
    return tables.final_table(metrics, "digits", "accuracy", KINDS)


@pytest.fixture(scope="module")
def longtail(metrics):
    return tables.final_table(metrics, "digits_longtail", "balanced_accuracy", KINDS)


def finals(metrics, strategy, metric="accuracy", split="test", dataset="digits", stage="proxy", model=""):
    """Final scores by trial, straight from the table of metrics."""
    rows = metrics[(metrics["strategy"] == strategy) & (metrics["metric"] == metric) & (metrics["split"] == split)]
    rows = rows[(rows["dataset"] == dataset) & (rows["stage"] == stage) & (rows["model"] == model)]
    return rows[rows["round"] == 6].sort_values("trial")["value"].to_numpy()


def row(table, strategy, split="test", measure="accuracy", stage="proxy", model=""):
    keys = {"strategy": strategy, "split": split, "measure": measure, "stage": stage, "model": model}
    found = table[np.logical_and.reduce([table[k] == v for k, v in keys.items()])]
    assert len(found) == 1
    return found.iloc[0]


# The table of metrics.


def leave(folder, name="metrics.json", **content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def test_rows_of_one_model(tmp_path):
    values = {"test": {"accuracy": 0.9}, "": {"mask_rate": None, "epochs": 3}}
    metrics = leave(tmp_path / "a", **synthetic_study.record(metrics=values))
    cost = leave(tmp_path / "a", "cost.json", train_seconds=1.5, peak_memory_mb=400)
    select = leave(tmp_path / "a", "select_cost.json", select_seconds=0.2, peak_memory_mb=300)
    head = leave(tmp_path, "zero_shot.json", dataset="digits", encoder="e", metrics={"val": {"loss": 0.3}})
    rows = study.read([metrics], [cost, select], [head])
    assert [(r["split"], r["metric"], r["value"]) for r in rows] == [
        ("test", "accuracy", 0.9),
        ("", "epochs", 3.0),
        ("", "train_seconds", 1.5),
        ("", "peak_memory_mb", 400.0),
        ("", "select_seconds", 0.2),
        ("", "select_peak_memory_mb", 300.0),
        ("val", "loss", 0.3),
    ]
    assert all(set(r) == set(study.COLUMNS) for r in rows)
    assert (rows[-1]["stage"], rows[-1]["num_labels"], rows[-1]["strategy"]) == ("zero_shot", 0, "")


@pytest.mark.parametrize("text", ["", '{"dataset": "dig', '{"dataset": "digits"}', "[]"])
def test_a_broken_file_is_named(tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(str(path))):
        study.read([path], [])


def test_a_cost_without_its_model_is_named(tmp_path):
    metrics = leave(tmp_path / "a", **synthetic_study.record())
    cost = leave(tmp_path / "b", "cost.json", train_seconds=1.0)
    with pytest.raises(UserError, match=re.escape(cost)):
        study.read([metrics], [cost])


def test_the_shared_round_begins_every_curve(metrics):
    assert "initial" not in set(metrics["strategy"])
    first = [study.curves(metrics, "digits", SETTING, s, "test", "accuracy") for s in ("random", "margin", "badge")]
    assert all(curves.labels.tolist() == [30, 40, 50, 60, 70, 80] for curves in first)
    assert all((curves.scores[:, 0] == first[0].scores[:, 0]).all() for curves in first)
    assert (first[0].scores[:, -1] != first[1].scores[:, -1]).all()


def test_the_shared_round_begins_only_the_curves_that_went_on_from_it():
    shared = [synthetic_study.record(strategy="initial", trial=t, round=1, selector=s) for t in (0, 1) for s in "ab"]
    later = [synthetic_study.record(strategy="margin", trial=0, round=2, selector="a")]
    rows = study.share_first_round([*shared, *later], ["random", "margin"])
    begun = {(row["selector"], row["trial"], row["strategy"]) for row in rows if row["round"] == 1}
    assert {name for selector, trial, name in begun if (selector, trial) == ("a", 0)} == {"margin"}
    assert {name for selector, trial, name in begun if (selector, trial) == ("b", 1)} == {"random", "margin"}


def test_the_table_does_not_depend_on_the_order_of_files(tmp_path):
    files = synthetic_study.write(tmp_path / "study", trials=2)
    names, texts = ["random", "margin", "badge"], []
    for step in (1, -1):
        rows = study.share_first_round(study.read(*(paths[::step] for paths in files)), names)
        study.write(study.in_order(rows, {"strategy": names}), tmp_path / "metrics.csv")
        texts.append((tmp_path / "metrics.csv").read_bytes())
    assert texts[0] == texts[1]
    assert list(study.load(tmp_path / "metrics.csv")["strategy"].unique()) == ["", *names]


def test_replicates_are_read_by_their_place(tmp_path):
    metrics = leave(tmp_path / "round01", **synthetic_study.record())
    again = [
        leave(tmp_path / "round01/replicate2", **synthetic_study.record(pair="other")),
        leave(tmp_path / "round01/replicate1/finetune-lora", **synthetic_study.record(stage="finetune", model="lora")),
    ]
    rows = study.read([metrics], [], replicate_files=again)
    assert [(r["stage"], r["model"]) for r in rows] == [("proxy", ""), ("replicate2", ""), ("replicate1", "lora")]


def broken(metrics):
    """Badge began otherwise in trial 1, and margin lacks the last round of trial 3; both in digits."""
    digits = metrics["dataset"] == "digits"
    other = digits & (metrics["strategy"] == "badge") & (metrics["trial"] == 1) & (metrics["round"] > 1)
    missing = digits & (metrics["strategy"] == "margin") & (metrics["trial"] == 3) & (metrics["round"] == 6)
    return metrics.assign(pair=metrics["pair"].where(~other, "elsewhere"))[~missing]


def test_broken_pairs_are_left_out_by_name(metrics):
    found, notes = study.paired(broken(metrics))
    assert notes == {
        "digits": [
            "glyphclip, linear, flexmatch, badge: trial 1 is left out, for it did not begin with the labels and seeds "
            "of the others.",
            "glyphclip, linear, flexmatch, margin: trial 3 is left out where it lacks rounds of other trials.",
        ]
    }
    trials = {
        s: study.curves(found, "digits", SETTING, s, "test", "accuracy").trials.tolist()
        for s in ("random", "margin", "badge")
    }
    assert trials == {"random": [0, 1, 2, 3], "margin": [0, 1, 2], "badge": [0, 2, 3]}
    whole = found[found["dataset"] == "digits_longtail"]
    assert len(whole) == (metrics["dataset"] == "digits_longtail").sum()


def test_whole_studies_stay_whole(metrics):
    found, notes = study.paired(metrics)
    pd.testing.assert_frame_equal(found, metrics)
    assert notes == {}
    _, notes = study.paired(metrics.assign(pair=""))
    assert notes["digits"] == ["Nothing says whether trials began alike: they are paired by their number alone."]


def test_differences_pair_the_trials_that_both_have(metrics):
    found, _ = study.paired(broken(metrics))
    table = tables.final_table(found, "digits", "accuracy", KINDS)
    random = finals(metrics, "random")
    for strategy, at in (("margin", [0, 1, 2]), ("badge", [0, 2, 3])):
        gap = statistics.paired_difference(finals(metrics, strategy)[at], random[at])
        assert row(table, strategy)["difference"] == pytest.approx(gap.mean)
        assert row(table, strategy)["difference_low"] == pytest.approx(gap.low)
        assert row(table, strategy)["trials"] == 3
    assert row(table, "random")["trials"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, at: m.drop(m.index[at & (m["round"] == 3)]), "is missing for some rounds"),
        (lambda m, at: m.assign(num_labels=m["num_labels"].where(~(at & (m["round"] == 3)), 51)), "numbers of labels"),
        (lambda m, at: pd.concat([m, m[at]]), "stands twice"),
    ],
)
def test_curves_that_cannot_be_averaged_are_refused(metrics, change, message):
    at = (metrics["strategy"] == "margin") & (metrics["trial"] == 2) & (metrics["metric"] == "accuracy")
    with pytest.raises(UserError, match=rf"digits, glyphclip/linear/flexmatch, margin: .*{message}"):
        study.curves(change(metrics, at), "digits", SETTING, "margin", "test", "accuracy")


# The final table.


def test_scores_and_paired_differences(metrics, digits):
    for stage, model in (("proxy", ""), ("finetune", "flexmatch")):
        margin = finals(metrics, "margin", stage=stage, model=model)
        random = finals(metrics, "random", stage=stage, model=model)
        found = row(digits, "margin", stage=stage, model=model)
        assert found["mean"] == pytest.approx(margin.mean())
        assert found["se"] == pytest.approx(margin.std(ddof=1) / 2)
        gap = statistics.paired_difference(margin, random)
        assert found["difference"] == pytest.approx(gap.mean)
        assert (found["difference_low"], found["difference_high"]) == pytest.approx((gap.low, gap.high))
        assert found["difference_p"] == statistics.sign_flip_p(margin - random, None)
        assert (found["num_labels"], found["trials"]) == (80, 4)
    assert math.isnan(row(digits, "random")["difference"])


def test_the_pool_is_the_one_with_bought_labels_as_annotated(metrics, digits):
    found = row(digits, "margin", split="pool")["mean"]
    assert found == pytest.approx(finals(metrics, "margin", "pool_accuracy", "pool").mean())
    assert found != pytest.approx(finals(metrics, "margin", "pool_model_accuracy", "pool").mean())


def test_savings_compare_with_random(metrics, digits):
    margin, random = (
        study.curves(metrics, "digits", SETTING, s, "pool", "pool_accuracy") for s in ("margin", "random")
    )
    found = row(digits, "margin", split="pool")["savings"]
    assert found == label_savings(margin.labels, margin.scores, random.labels, random.scores, statistics.bootstrap())
    assert found.factor.value > 1


def test_a_long_tail_leads_with_balanced_accuracy_then_macro_f1(metrics, longtail):
    assert list(longtail["measure"].unique()) == ["balanced_accuracy", "macro_f1", "worst_class_accuracy"]
    assert isinstance(row(longtail, "margin", measure="balanced_accuracy")["savings"], Savings)
    pool_f1 = row(longtail, "badge", split="pool", measure="macro_f1")
    expected = finals(metrics, "badge", "pool_macro_f1", "pool", dataset="digits_longtail")
    assert pool_f1["mean"] == pytest.approx(expected.mean())


def test_zero_shot_stands_first_and_has_no_trials(digits):
    assert digits.iloc[0]["strategy"] == "zero-shot"
    assert digits.iloc[0]["mean"] == 0.87
    assert (digits.iloc[0]["num_labels"], digits.iloc[0]["trials"]) == (0, 0)


def record(strategy, trial, accuracy):
    return synthetic_study.record(strategy=strategy, trial=trial, metrics={"test": {"accuracy": accuracy}})


def test_best_are_the_highest_and_what_cannot_be_told_from_it(tmp_path):
    values = {
        "random": [0.80, 0.82, 0.81, 0.83],
        "margin": [0.90, 0.92, 0.91, 0.93],
        "badge": [0.91, 0.90, 0.92, 0.91],  # its differences to margin change sign
        "entropy": [0.89, 0.91, 0.90, 0.92],  # always a point below margin
    }
    rows = [
        one
        for s, scores in values.items()
        for t, v in enumerate(scores)
        for one in study.read([leave(tmp_path / f"{s}{t}", **record(s, t, v))], [])
    ]
    study.write(study.in_order(rows, {"strategy": list(values)}), tmp_path / "metrics.csv")
    table = tables.final_table(study.load(tmp_path / "metrics.csv"), "digits", "accuracy", KINDS)
    assert dict(zip(table["strategy"], table["best"], strict=True)) == {
        "random": False,
        "margin": True,
        "badge": True,
        "entropy": False,
    }


def test_what_cannot_be_used_or_sees_labels_early_is_marked_and_never_the_best(metrics, digits):
    kinds = KINDS | {"margin": "upper bound", "badge": "sequential"}
    table = tables.final_table(metrics, "digits", "accuracy", kinds)
    assert digits.loc[digits["strategy"] == "margin", "best"].any()
    assert not table.loc[table["strategy"] == "margin", "best"].any()
    assert table.loc[table["strategy"] == "badge", "best"].any()
    for text in (html_of(table), pages.summary([table], [])):
        assert "margin ‡" in text
        assert "badge †" in text
        assert "random †" not in text
    assert "not a strategy that can be used" in pages.note(table)
    assert "†" not in pages.note(digits)
    assert set(pd.read_csv(io.StringIO(tables.to_csv(table))).query("strategy == 'margin'")["kind"]) == {"upper bound"}


def test_every_metric_that_own_images_may_lead_with_has_its_tables(metrics):
    for lead in get_args(get_type_hints(Own)["metric"]):
        table = tables.final_table(metrics, "digits_longtail", lead, KINDS)
        assert pages._columns(table)[0] == (("test", lead), f"test {study.NAMES[lead]}", True)


def test_every_test_set_has_its_columns_before_the_pool(metrics):
    shifted = metrics[metrics["split"] == "test"].assign(split="test_ood", value=lambda rows: rows["value"] / 2)
    table = tables.final_table(pd.concat([metrics, shifted]), "digits", "accuracy", KINDS)
    assert [title for _, title, _ in pages._columns(table)] == [
        "test accuracy", "test_ood accuracy", "pool accuracy", "test worst class", "test_ood worst class",
    ]  # fmt: skip
    margin, halved = row(table, "margin"), row(table, "margin", split="test_ood")
    assert halved["mean"] == pytest.approx(margin["mean"] / 2)
    assert halved["difference"] == pytest.approx(margin["difference"] / 2)


def test_the_worst_group_stands_in_for_the_worst_class_where_there_are_groups(metrics):
    groups = metrics[metrics["metric"] == "worst_class_accuracy"].assign(metric="worst_group_accuracy")
    table = tables.final_table(pd.concat([metrics, groups.assign(value=0.5)]), "digits", "accuracy", KINDS)
    assert pages._columns(table)[-1] == (("test", "worst_group_accuracy"), "test worst group", False)
    assert row(table, "margin", measure="worst_group_accuracy")["mean"] == 0.5
    assert "worst_class_accuracy" not in set(table["measure"])


def test_wrong_lead_and_unknown_dataset_are_refused(metrics):
    with pytest.raises(UserError, match="leading metric is 'f1'"):
        tables.final_table(metrics, "digits", "f1", KINDS)
    with pytest.raises(UserError, match="nothing about dataset cifar10"):
        tables.final_table(metrics, "cifar10", "accuracy", KINDS)


# Trainers and selectors compared.

TRAINERS = ("passive", "uda", "fixmatch", "flexmatch")
SELECTORS = (("linear", "flexmatch"), ("finetune", "passive"), ("blend", "flexmatch"))


@pytest.fixture(scope="module")
def of_trainers(tmp_path_factory):
    folder, settings = tmp_path_factory.mktemp("trainers"), tuple(("linear", trainer) for trainer in TRAINERS)
    return synthetic_study.table(folder, datasets=("digits",), labels=(50, 100, 500), settings=settings)


@pytest.fixture(scope="module")
def of_selectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selectors")
    return synthetic_study.table(folder, datasets=("digits",), settings=SELECTORS, finetune=("passive",))


def scores(metrics, **keys):
    """Scores by trial on the test set, straight from the table of metrics."""
    keys = {"split": "test", "metric": "accuracy", "stage": "proxy", "model": ""} | keys
    rows = metrics[np.logical_and.reduce([metrics[column] == value for column, value in keys.items()])]
    return rows.sort_values("trial")["value"].to_numpy()


def test_trainers_are_compared_on_the_labels_of_random_at_every_number_of_labels(of_trainers):
    table = tables.trainers_table(of_trainers, "digits", "accuracy", KINDS, ["passive"])
    own = table[table["stage"] == "proxy"]
    assert set(table["strategy"]) == {"random"}
    assert list(own["trainer"].unique()) == list(TRAINERS)
    for at, labels in enumerate((50, 100, 500), start=1):
        found = {trainer: scores(of_trainers, trainer=trainer, strategy="random", round=at) for trainer in TRAINERS}
        rows = own[(own["num_labels"] == labels) & (own["split"] == "test")].set_index("trainer")
        assert len(rows) == 4
        highest = max(found, key=lambda trainer: found[trainer].mean())
        for trainer, values in found.items():
            assert rows.loc[trainer, "mean"] == pytest.approx(values.mean())
            assert rows.loc[trainer, "se"] == pytest.approx(values.std(ddof=1) / 2)
            shown = {t: stats.ttest_rel(found[highest], found[t]).pvalue for t in TRAINERS if t != highest}
            # Holm: a mean is shown to be lower where each of those with smaller p is, too.
            ordered = sorted(shown, key=shown.get)
            last = next((i for i, t in enumerate(ordered) if shown[t] * (3 - i) >= 0.05), 3)
            assert rows.loc[trainer, "best"] == (last > 0 and trainer not in ordered[:last])
            if trainer != "passive":
                gap = statistics.paired_difference(values, found["passive"])
                assert rows.loc[trainer, "difference"] == pytest.approx(gap.mean)
                assert rows.loc[trainer, "difference_low"] == pytest.approx(gap.low)
        assert math.isnan(rows.loc["passive", "difference"])
    assert not own.loc[own["num_labels"] == 50, "best"].all()


def test_trainers_stand_beside_the_noise_of_their_training(of_trainers):
    first = of_trainers[(of_trainers["round"] != 2) & (of_trainers["stage"] == "proxy") & (of_trainers["split"] != "")]
    again = first.assign(stage="replicate1", value=first["value"] + 0.01 * (1 - 2 * (first["trial"] % 2)))
    table = tables.trainers_table(pd.concat([of_trainers, again]), "digits", "accuracy", KINDS, ["passive"])
    # Two trainings 0.01 apart: a standard deviation of 0.01/√2 for both, over four trials.
    assert table.loc[table["trainer"].eq("uda") & table["stage"].eq("proxy"), "noise"].tolist() == pytest.approx(
        [0.005] * 6
    )
    lines = pages.trainers_page(table).lines
    shown = [(heading, cells) for heading, name, cells in lines if name == wording.NOISE]
    assert [heading for heading, _ in shown] == [f"glyphclip · linear: {split} accuracy" for split in ("test", "pool")]
    assert [text for text, _ in shown[0][1]] == [wording.NONE, "±0.50"] * 3
    assert not any(name == wording.NOISE for _, name, _ in pages.trainers_page(table.assign(noise=np.nan)).lines)


def test_trainers_stand_side_by_side_where_numbers_of_labels_are_too_many(tmp_path):
    labels = (50, 100, 150, 200, 250)
    settings = (("linear", "passive"), ("linear", "uda"))
    metrics = synthetic_study.table(tmp_path, datasets=("digits",), labels=labels, settings=settings, finetune=())
    table = tables.trainers_table(metrics, "digits", "accuracy", KINDS, ["passive"])
    page = pages.trainers_page(table)
    assert (page.corner, page.spans) == ("labels", [("passive", 2), ("uda", 2), (wording.NOISE, 1)])
    assert page.names == ["% ± SE", "vs passive"] * 2 + ["vs passive"]
    assert [name for _, name, _ in page.lines] == [f"{n:,} labels" for n in labels] * 2
    found = table[(table["trainer"] == "uda") & (table["split"] == "test")].set_index("num_labels")
    texts = [text for text, _ in page.lines[2][2]]
    assert texts[2].startswith(f"{100 * found.loc[150, 'mean']:.2f} ±")
    assert texts[3].startswith(wording.points(found.loc[150, "difference"]))
    assert (texts[1], texts[4]) == (wording.NONE, "not measured")


def test_trainers_of_final_models_are_a_block_of_their_own(of_trainers):
    table = tables.trainers_table(of_trainers, "digits", "accuracy", KINDS, ["passive"])
    tuned = table[table["stage"] == "finetune"]
    # What random bought is the same under all trainers of the proxies: one of these blocks is enough.
    assert set(tuned["trainer"]) == {"passive"}
    assert set(tuned["num_labels"]) == {50, 500}
    first = tuned[(tuned["split"] == "test") & (tuned["num_labels"] == 500)].set_index("model")
    assert list(first.index) == ["flexmatch", "passive"]
    values = [
        scores(of_trainers, trainer="passive", strategy="random", round=3, stage="finetune", model=model)
        for model in first.index
    ]
    assert first.loc["flexmatch", "difference"] == pytest.approx((values[0] - values[1]).mean())
    lines = pages.trainers_page(table).lines
    assert {heading for heading, _, _ in lines} == {
        f"glyphclip{block}: {split} accuracy" for block in (" · linear", " → fine-tuned") for split in ("test", "pool")
    }
    tuned_line = next(cells for heading, name, cells in lines if "→" in heading and name == "flexmatch")
    assert [text == wording.NONE for text, _ in tuned_line] == [False, False, True, True, False, False]


def test_without_random_trainers_are_compared_on_the_first_strategy_and_without_passive_not_at_all(of_trainers):
    part = of_trainers[(of_trainers["strategy"] != "random") & (of_trainers["trainer"] != "passive")]
    table = tables.trainers_table(part, "digits", "accuracy", KINDS, ["passive"])
    own = table[table["stage"] == "proxy"]
    assert set(own["strategy"]) == {"margin"}
    assert own["difference"].isna().all()
    assert set(table.loc[table["stage"] == "finetune", "trainer"]) == set(TRAINERS[1:])
    assert "bought by margin" in pages.trainers_page(table).note


def test_selectors_are_compared_by_the_model_fine_tuned_on_their_labels(of_selectors):
    scored = tables.selectors_table(of_selectors, "digits", "accuracy", KINDS)
    assert set(scored["stage"]) == {"finetune"}
    for selector, _ in SELECTORS:
        rows = scored[(scored["selector"] == selector) & (scored["split"] == "test")].set_index("strategy")
        for strategy in ("random", "margin", "badge"):
            keys = {"selector": selector, "strategy": strategy, "round": 6, "stage": "finetune", "model": "passive"}
            values = scores(of_selectors, **keys)
            assert rows.loc[strategy, "mean"] == pytest.approx(values.mean())
            assert rows.loc[strategy, "num_labels"] == 80
        of_selector = {"selector": selector, "round": 6, "stage": "finetune", "model": "passive"}
        finals = {s: pd.Series(scores(of_selectors, strategy=s, **of_selector)) for s in rows.index}
        assert set(rows.index[rows["best"]]) == tables._best(finals)


def test_selectors_own_models_stand_in_where_the_last_round_is_not_evaluated_end_to_end(of_selectors):
    part = of_selectors[~((of_selectors["stage"] == "finetune") & (of_selectors["round"] == 6))]
    table = tables.selectors_table(part, "digits", "accuracy", KINDS)
    assert set(table["stage"]) == {"proxy"}
    found = table[(table["selector"] == "linear") & (table["strategy"] == "margin") & (table["split"] == "test")]
    expected = scores(of_selectors, selector="linear", strategy="margin", round=6).mean()
    assert found["mean"].item() == pytest.approx(expected)
    assert "selectors' own models" in pages.selectors_page(table).note


def test_a_model_trained_in_one_setting_compares_no_selectors(of_selectors):
    tuned = of_selectors["stage"] == "finetune"
    other = of_selectors[tuned & (of_selectors["selector"] == "finetune")].assign(model="uda")
    table = tables.selectors_table(pd.concat([of_selectors, other]), "digits", "accuracy", KINDS)
    assert set(table["model"]) == {"passive"}


def test_selectors_of_a_long_tail_have_macro_f1_too(of_selectors):
    table = tables.selectors_table(of_selectors, "digits", "balanced_accuracy", KINDS)
    page = pages.selectors_page(table)
    titles = [f"{split} {name}" for name in ("balanced accuracy", "macro F1") for split in ("test", "pool")]
    assert page.spans == [(title, len(SELECTORS)) for title in titles]


@pytest.fixture(scope="module")
def with_embeddings(of_selectors):
    views = [{"model": view, "metric": "embed_seconds", "value": 180.0} for view in ("clean", "aug0")]
    held = [{"model": view, "metric": m, "value": v} for view in ("clean", "aug0") for m, v in HELD.items()]
    before = of_selectors[of_selectors["stage"] == "zero_shot"].iloc[0].to_dict() | {"split": ""}
    return pd.concat([of_selectors, pd.DataFrame([before | row for row in views + held])], ignore_index=True)


HELD = {"threads": 2.0, "gpus": 0.0, "startup_seconds": 0.0}


def held(metrics, gpus):
    """`metrics` with what every job held."""
    work = {"train_seconds": "", "select_seconds": "select_"}
    rows = metrics[metrics["metric"].isin(work) & (metrics["stage"] != "zero_shot")]
    more = [
        rows.assign(metric=rows["metric"].map(work) + name, value=value)
        for name, value in (HELD | {"gpus": float(gpus)}).items()
    ]
    return pd.concat([metrics, *more], ignore_index=True)


def test_costs_are_those_of_all_runs_and_the_shared_round_counts_once(with_embeddings):
    table = tables.costs_table(held(with_embeddings, gpus=0), "digits", ["finetune"], {"cpu_hour": 0.5})
    seconds = 3600 * table.pivot_table(index="selector", columns="measure", values="hours")
    # Three strategies in four trials: of five rounds of models that select, the first is trained once a trial. The
    # blend has fine-tuned and embedded once in each run.
    models = 4 * (1 + 3 * 4)
    assert seconds[tables.TRAINING].to_dict() == pytest.approx(
        {"linear": models * 1.5, "finetune": models * 40.0, "blend": models * 1.5 + 12 * 45.0}
    )
    assert set(seconds[tables.SELECTION].round(6)) == {12 * 5 * 0.2}
    assert set(seconds[tables.FINAL].round(6)) == {12 * 40.0}
    assert seconds[tables.PRECOMPUTATION].to_dict() == pytest.approx({"linear": 360.0, "finetune": 0.0, "blend": 360.0})
    parts = [tables.PRECOMPUTATION, tables.TRAINING, tables.SELECTION, tables.FINAL]
    assert np.allclose(seconds[tables.TOTAL], seconds[parts].sum(axis=1))
    assert np.allclose(table["cpu_hours"], 2 * table["hours"])
    assert np.allclose(table["money"], table["cpu_hours"] * 0.5)
    assert (table["gpu_hours"] == 0).all()
    assert set(table["runs"]) == {12}
    totals = table[table["measure"] == tables.TOTAL].set_index("selector")
    assert totals.loc["finetune", "times_less"] == 1
    assert totals.loc["linear", "times_less"] == pytest.approx(
        totals.loc["finetune", "hours"] / totals.loc["linear", "hours"]
    )


def test_prices_are_those_of_what_a_job_held(with_embeddings):
    on_gpu = held(with_embeddings, gpus=1)
    prices = {"cpu_hour": 0.5, "gpu_hour": 3.0}
    table = tables.costs_table(on_gpu, "digits", ["finetune"], prices)
    assert np.allclose(table["money"], 3.0 * table["gpu_hours"] + 0.5 * table["cpu_hours"])
    assert (table.loc[table["measure"] == tables.TRAINING, "cpu_hours"] == 0).all()
    assert "USD" in pages.costs_page(table, "USD").names
    unpriced = tables.costs_table(on_gpu, "digits", ["finetune"], {"cpu_hour": 0.5})
    assert unpriced.loc[unpriced["measure"] == tables.TOTAL, "money"].isna().all()
    names = pages.costs_page(unpriced, "USD").names
    assert names == ["CPU hours", "GPU hours"] * 5 + ["times less"]


def test_costs_of_jobs_that_do_not_say_what_they_held_are_hours(of_selectors):
    table = tables.costs_table(of_selectors, "digits", ["finetune"], {"cpu_hour": 0.5})
    assert table.loc[table["measure"] == tables.TRAINING, "hours"].gt(0).all()
    assert table.loc[table["measure"] == tables.TRAINING, "cpu_hours"].isna().all()
    assert pages.costs_page(table, "USD").names == ["hours"] * 5 + ["times less"]


def test_selectors_with_several_trainers_are_told_apart(of_selectors):
    more = of_selectors[of_selectors["selector"] == "linear"].assign(trainer="uda")
    table = tables.selectors_table(pd.concat([of_selectors, more]), "digits", "accuracy", KINDS)
    names = ["linear · flexmatch", "finetune", "blend", "linear · uda"]
    assert pages.selectors_page(table).names == [*names, *names]  # test and pool


@pytest.mark.parametrize("kind", ["trainers", "selectors", "costs"])
def test_comparisons_are_whole_in_every_format(of_trainers, of_selectors, with_embeddings, kind):
    if kind == "trainers":
        table = tables.trainers_table(of_trainers, "digits", "accuracy", KINDS, ["passive"])
        page = pages.trainers_page(table)
        csv = tables.to_csv(table, "passive")
    elif kind == "selectors":
        table = tables.selectors_table(of_selectors, "digits", "accuracy", KINDS)
        page, csv = pages.selectors_page(table), tables.to_csv(table)
    else:
        table = tables.costs_table(held(with_embeddings, gpus=0), "digits", ["finetune"], {"cpu_hour": 0.5})
        page, csv = pages.costs_page(table, "EUR"), tables.costs_csv(table)
    width = 1 + len(page.names)
    assert sum(span for _, span in page.spans) == len(page.names)
    rows = Rows(typeset.to_html(page).split("</table>")[0]).rows
    assert {sum(span for _, span, _ in cells) for cells in rows} == {width}
    for line in typeset.to_latex(page).split(r"\toprule")[1].splitlines():
        if line.endswith(r"\\"):
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert line.count("&") + 1 - len(spans) + sum(spans) == width
    texts = (typeset.to_html(page), typeset.to_latex(page), typeset.to_text(page), csv)
    assert all("nan" not in text.split("<script>")[0].lower() for text in texts)
    assert len(pd.read_csv(io.StringIO(texts[-1]))) == len(table)
    if kind == "costs":
        return
    best = next(text for _, _, cells in page.lines for text, bold in cells if bold)
    assert f"<b>{best}</b>" in texts[0]
    assert f"{best}*" in texts[2]


# What readers see.


def html_of(table):
    return typeset.to_html(pages.final_page(table))


def latex_of(table):
    return typeset.to_latex(pages.final_page(table))


class Rows(HTMLParser):
    """Cells (text, span, bold) of every table row of a page."""

    def __init__(self, text):
        super().__init__()
        self.rows = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append(["", int(dict(attributes).get("colspan", 1)), False])
        elif tag == "b":
            self.rows[-1][-1][2] = True

    def handle_data(self, text):
        if self.rows and self.rows[-1] and (text.strip() or self.rows[-1][-1][0]):
            self.rows[-1][-1][0] += text


def test_html_is_a_whole_table_and_says_what_it_shows(digits, longtail):
    for table, width in ((digits, 8), (longtail, 10)):
        page = html_of(table)
        rows = Rows(page.split("</table>")[0]).rows
        assert {sum(span for _, span, _ in cells) for cells in rows} == {width}
        assert len(rows) == 2 + 1 + 3 * (1 + 3)  # header, zero-shot, three blocks of three strategies
        for statement in ("4 paired trials", "80 labels", "standard error", "count bought labels as annotated"):
            assert statement in page
        assert not re.search(r"(src|href)=", page)
        assert "http" not in page


def test_html_numbers(metrics, digits):
    rows = {cells[0][0]: cells for cells in Rows(html_of(digits).split("</table>")[0]).rows[::-1]}
    margin, random = finals(metrics, "margin"), finals(metrics, "random")
    gap = statistics.paired_difference(margin, random)
    assert rows["margin"][1][0] == f"{100 * margin.mean():.2f} ± {100 * margin.std(ddof=1) / 2:.2f}"
    expected = f"{100 * gap.mean:+.2f} [{100 * gap.low:+.2f}, {100 * gap.high:+.2f}]".replace("-", "−")
    assert rows["margin"][2][0] == expected
    assert rows["random"][2][0] == rows["random"][3][0] == "–"
    assert rows["margin"][1][2] == row(digits, "margin")["best"]


def test_names_are_escaped(digits):
    odd = digits.assign(dataset="a_b<c>&d")
    assert "<c>" not in html_of(odd)
    assert r"a\_b$<$c$>$\&d" in latex_of(odd)


def test_latex_rows_have_all_columns(digits, longtail):
    for table, width in ((digits, 8), (longtail, 10)):
        text = latex_of(table)
        body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        for line in rows:
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert line.count("&") + 1 - len(spans) + sum(spans) == width
        assert len(re.findall(r"(?<!\\)%", text)) == 1  # the first line: all else escaped
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
        assert text.isascii()
        assert r"\caption{" in text
        assert "4 paired trials" in text


def test_the_one_that_is_truly_best_is_seldom_left_out_of_the_best():
    """Equal strategies, any of which may be the best: it is among those in bold in at least 95 % of studies."""
    draw, studies, kept = np.random.default_rng(3), 300, 0
    for scores in draw.normal(0, 1, (studies, 4, 7)) + draw.normal(0, 1, (studies, 4, 1)):
        best = tables._best({i: pd.Series(scores[:, i]) for i in range(7)})
        kept += not best or 0 in best
    assert kept / studies >= 0.95


def test_where_all_may_be_the_best_none_is_marked():
    scores = {name: pd.Series([0.5, 0.6, 0.7, 0.8]) + shift for name, shift in (("a", 0), ("b", 0))}
    assert tables._best(scores) == set()
    assert tables._best(scores | {"c": scores["a"] - 0.1}) == {"a", "b"}


def test_nothing_is_best_where_the_highest_has_too_few_trials():
    scores = {"random": pd.Series([0.50, 0.52, 0.51, 0.53]), "margin": pd.Series([0.58, 0.59])}
    assert tables._best(scores) == set()
    assert tables._best(scores | {"badge": pd.Series([0.60, 0.61, 0.62, 0.61])}) == {"badge"}


def test_csv_has_a_number_per_cell(metrics, digits):
    found = pd.read_csv(io.StringIO(tables.to_csv(digits)))
    proxies = found[(found["model"] == "selector's model") & (found["split"] == "pool")].set_index("strategy")
    expected = finals(metrics, "margin", "pool_accuracy", "pool")
    assert proxies.loc["margin", "mean (%)"] == pytest.approx(100 * expected.mean(), rel=1e-5)
    assert proxies.loc["margin", "labels"] == 80
    savings = row(digits, "margin", split="pool")["savings"]
    assert float(proxies.loc["margin", "label savings (times)"]) == pytest.approx(savings.factor.value, rel=1e-5)
    assert proxies.loc["margin", "labels random needs"] == ">80"
    assert len(found) == 2 + 3 * 3 * 3  # zero-shot on test alone; the worst class of test beside both accuracies


def test_censored_savings_show_their_sign(digits):
    known = [Bounded(v, s) for v, s in ((2.5, ">"), (1.25, ""), (2.5, ">"), (80, ">"))]
    savings = Savings(0.9, True, *known, *[Bounded(1.1)] * 3)
    table = digits.assign(savings=[savings] * len(digits))
    assert "&gt;2.5× <span>[1.2, &gt;2.5]</span>" in html_of(table)
    assert r"$>$2.5$\times$ [1.2, $>$2.5]" in latex_of(table)
    assert ",>2.5,1.25,>2.5,>80" in tables.to_csv(table)


def test_summary_is_short_and_aligned(digits, longtail):
    text = pages.summary([digits, longtail], [])
    first, second, legend = text.strip().split("\n\n")
    lines = first.splitlines()
    assert lines[0] == "digits: 80 labels, 4 paired trials"
    assert lines[1].split("  ")[1] == "strategy"
    column = lines[1].index("pool accuracy")
    margin = next(line for line in lines if line.startswith("  margin"))
    found = row(digits, "margin", split="pool")
    assert margin[column:].startswith(f"{100 * found['mean']:.2f} ± {100 * found['se']:.2f} ")
    assert margin.endswith("  " + wording.savings(found["savings"]))
    assert legend.startswith("label savings: ") and "label savings: " not in pages.summary(
        [digits.assign(savings=None)], []
    )
    assert "balanced accuracy" in second
    assert max(map(len, text.splitlines())) <= 120


def test_a_study_of_one_trial_without_random(tmp_path):
    metrics = synthetic_study.table(
        tmp_path, datasets=("digits",), strategies=("margin",), trials=1, finetune=(), zero_shot=None
    )
    table = tables.final_table(metrics, "digits", "accuracy", KINDS)
    page = html_of(table).split("<script>")[0]
    assert "one trial" in page
    assert "nan" not in (page + latex_of(table) + tables.to_csv(table) + pages.summary([table], [])).lower()
    assert f"{100 * row(table, 'margin')['mean']:.2f}" in page


def test_several_settings_are_blocks(metrics):
    other = metrics[metrics["stage"] != "zero_shot"].assign(selector="shallow")
    table = tables.final_table(pd.concat([metrics, other]), "digits", "accuracy", KINDS)
    page = html_of(table)
    assert page.count("glyphclip · linear · flexmatch") == page.count("glyphclip · shallow · flexmatch") == 3
    assert page.count("zero-shot, glyphclip") == 1


@pytest.mark.parametrize("path", sorted((REPO / "workflow/report").glob("*.rst")), ids=lambda path: path.stem)
def test_captions_say_one_trial_as_one(path):
    def caption(trials):
        job = SimpleNamespace(params=SimpleNamespace(trials=trials, spec="{}"), config={"run": {"trials": trials}})
        return " ".join(environment.from_string(path.read_text()).render(snakemake=job).split())

    environment = jinja2.Environment(undefined=jinja2.ChainableUndefined)
    if "params.trials" in path.read_text() or '["trials"]' in path.read_text():
        assert re.search("1 (paired )?trial[^s]", caption("1")) and re.search("4 (paired )?trials", caption("4"))
    assert not re.search("1 (paired )?trials", caption("1"))
