"""The authors' results: read without executing anything, into rows that tables understand."""

import logging
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import authors_results
from conftest import REPO
from labelbench.common.errors import UserError
from labelbench.evidence import comparisons, study, tables
from labelbench.evidence.importers import labelbench_results
from labelbench.selection.initial import SEEDS

LOG = logging.getLogger("labelbench")
DATASETS = {"mini": "cifar10/bs_1000"}


@pytest.fixture
def folder(tmp_path):
    return authors_results.a_clone(tmp_path)


def config(folder):
    return labelbench_results.Config(str(folder), DATASETS)


def loaded(rows, tmp_path):

    study.write(study.in_order(rows, {"strategy": ["random", "margin", "badge"]}), tmp_path / "metrics.csv")
    return study.load(tmp_path / "metrics.csv")


def test_names_say_what_was_run(folder):
    held = labelbench_results.contents(config(folder))["mini"]
    settings = [("finetune", "flexmatch"), ("linear", "flexmatch"), ("shallow", "flexmatch")]
    assert held.runs == [("clip_vitb32", *setting, s) for setting in settings for s in ("random", "badge", "margin")]
    assert (held.models, held.end_to_end, held.passive) == ([("clip_vitb32", "flexmatch")], ["finetune"], [])
    assert held.published["dataset"] == "cifar10"
    assert held.kinds == {"random": "batch", "badge": "batch", "margin": "batch"}
    assert (held.lead, held.trials) == ("accuracy", 2)


def test_rows_are_those_of_a_study(folder, tmp_path):
    metrics = loaded(labelbench_results.read(config(folder), LOG)[0], tmp_path)
    setting = ("clip_vitb32", "linear", "flexmatch")
    found = study.curves(metrics, "mini", setting, "badge", "test", "accuracy")
    assert (found.trials.tolist(), found.labels.tolist()) == ([0, 3], [1000, 2001, 3002])
    assert found.scores[1].tolist() == authors_results.curves(0.005, 3)["Test Accuracy"]
    assert set(metrics["metric"]) == {
        "accuracy",
        "pool_model_accuracy",
        "elapsed_seconds",
    }  # null and NaN are no values
    assert {trial: len(set(pairs)) for trial, pairs in metrics.groupby("trial")["pair"]} == {0: 1, 3: 1}
    assert len(set(metrics["pair"])) == 2
    # What end-to-end selection trained is also the model that judges other selectors' labels.
    for selector in ("finetune", "shallow"):
        found = study.curves(
            metrics,
            "mini",
            ("clip_vitb32", selector, "flexmatch"),
            "margin",
            "test",
            "accuracy",
            "finetune",
            "flexmatch",
        )
        assert found.scores[0].tolist() == authors_results.curves(0.01, 0)["Test Accuracy"]


def test_a_run_that_began_elsewhere_is_left_out_by_name(folder, tmp_path):
    """With the evaluation of its labels."""
    path = next(folder.glob(f"cifar10/bs_1000/**/model_shallow/**/margin_sampling_{SEEDS[3]}.pkl"))
    authors_results.write_run(path, authors_results.curves(0.01, 3), list(range(5000, 8000)))
    metrics, notes = study.paired(loaded(labelbench_results.read(config(folder), LOG)[0], tmp_path))
    assert notes == {
        "mini": [
            "clip_vitb32, shallow, flexmatch, margin: trial 3 is left out, for it did not begin with the labels and "
            "seeds of the others."
        ]
    }
    shallow = metrics[(metrics["selector"] == "shallow") & (metrics["strategy"] == "margin")]
    assert set(shallow["stage"]) == {"proxy", "finetune"}
    assert set(shallow["trial"]) == {0}


def test_where_no_labels_were_kept_the_notes_say_so(folder, tmp_path):
    for path in folder.glob("cifar10/**/*.pkl"):
        authors_results.write_run(path, pickle.loads(path.read_bytes())[0], [])
    _, notes = study.paired(loaded(labelbench_results.read(config(folder), LOG)[0], tmp_path))
    assert notes["mini"] == ["Nothing says whether trials began alike: they are paired by their number alone."]


def test_tables_say_that_the_pool_is_the_models(folder, tmp_path):
    held = labelbench_results.contents(config(folder))["mini"]
    metrics = loaded(labelbench_results.read(config(folder), LOG)[0], tmp_path)
    table = tables.final_table(metrics, "mini", held.lead, held.kinds)
    assert list(dict.fromkeys(table["split"])) == ["test", "pool (model)"]
    at = (table["selector"] == "linear") & (table["strategy"] == "margin") & (table["split"] == "pool (model)")
    row = table[at].iloc[0]
    assert row["mean"] == pytest.approx(0.85 + 0.0015, abs=1e-12)
    assert row["difference"] == pytest.approx(0.02, abs=1e-12)


def test_nothing_in_a_pickle_is_executed(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    path = folder / authors_results.place("cifar10", 1000, "none", "clip_ViTB32", "flexmatch", "", "margin", SEEDS[0])
    path.write_bytes(pickle.dumps([authors_results.curves(0, 0) | {"Test Loss": Trap()}, []]))
    with pytest.raises(UserError, match=r"margin_sampling_1234.*refused.*touch.*nothing in the file was executed"):
        labelbench_results.read(config(folder), LOG)
    assert not (tmp_path / "executed").exists()
    pickle.loads(path.read_bytes())  # the trap is one
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80",
        b"",
        pickle.dumps("text"),
        pickle.dumps([authors_results.curves(0, 0) | {"Num Labeled": [1000, 2000.5, 3000]}, []]),
        pickle.dumps([authors_results.curves(0, 0) | {"Test Accuracy": [0.5, "0.6", 0.7]}, []]),
        pickle.dumps([authors_results.curves(0, 0) | {"Test Accuracy": [0.5]}, []]),
    ],
)
def test_a_file_that_is_no_result_is_named(folder, content):
    path = next(folder.glob("**/margin_sampling_1234.pkl"))
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        labelbench_results.read(config(folder), LOG)


def test_what_cannot_be_compared_is_left_out_and_named(folder, caplog, tmp_path):
    short = next(folder.glob("**/model_linear/**/margin_sampling_1234.pkl"))
    authors_results.write_run(short, authors_results.curves(0.01, 0, rounds=2), list(range(3000)))
    again = next(folder.glob("**/model_shallow/**/badge_sampling_1234.pkl"))
    authors_results.write_run(
        again, authors_results.curves(0.01, 0) | {"Num Labeled": [1000, 2000, 2000]}, list(range(3000))
    )
    for path in folder.glob(f"**/embed_none/**/badge_sampling_{SEEDS[3]}.pkl"):
        path.unlink()
    for path in folder.glob("**/embed_none/**/margin_sampling_*.pkl"):
        trial = SEEDS.index(int(path.stem.split("_")[-1]))
        authors_results.write_run(path, authors_results.curves(0.01, trial, rounds=2), list(range(trial, 3000 + trial)))
    rows, notes = labelbench_results.read(config(folder), LOG)
    assert sorted(notes["mini"]) == [
        "clip_vitb32, finetune, flexmatch, badge: there is no trial 3; it is compared on those it has.",
        "clip_vitb32, finetune, flexmatch, margin: ends after 2 rounds, others after up to 3; it is compared up to "
        "there.",
        "clip_vitb32, linear, flexmatch, margin: trial 0 is left out, for it ends after 2 of 3 rounds.",
        "clip_vitb32, shallow, flexmatch, badge: trial 0 is left out, for its numbers of labels do not rise.",
    ]
    assert all(note in caplog.text for note in notes["mini"])
    # What is left of a strategy is compared: with the trials, and up to the labels, that both have.
    metrics, _ = study.paired(loaded(rows, tmp_path))
    held = labelbench_results.contents(config(folder))["mini"]
    table = comparisons.comparisons_table(metrics, "mini", held.lead, held.kinds, 0.002)
    table = table[(table["reference"] == "random") & (table["split"] == "test") & (table["stage"] == "proxy")]
    found = table.set_index(["selector", "strategy"])[["trials", "rounds", "num_labels"]].to_dict("index")
    assert found["linear", "margin"] == {"trials": 1, "rounds": 3, "num_labels": 3000}
    assert found["finetune", "margin"] == {"trials": 2, "rounds": 2, "num_labels": 2000}
    assert found["finetune", "badge"]["trials"] == 1


def test_first_batches_are_compared_whatever_numbers_they_are_written_in(folder):
    """As positions in a pool of a million images, which are floats in the authors' files."""
    path = next(folder.glob(f"cifar10/bs_1000/**/model_shallow/**/margin_sampling_{SEEDS[3]}.pkl"))
    curves, labels = pickle.loads(path.read_bytes())
    before = {row["pair"] for row in labelbench_results.read(config(folder), LOG)[0]}
    authors_results.write_run(path, curves, [float(n) for n in labels])
    assert {row["pair"] for row in labelbench_results.read(config(folder), LOG)[0]} == before
    for wrong in (float("nan"), 0.5, "7"):
        authors_results.write_run(path, curves, [wrong, *labels[1:]])
        assert len({row["pair"] for row in labelbench_results.read(config(folder), LOG)[0]}) == 2


def test_a_strategy_that_bought_a_few_labels_more_is_compared_at_the_end_too(folder, tmp_path):
    """BADGE of their files ends at 3,002 labels, the others at 3,000: read on the line, like curves."""
    held = labelbench_results.contents(config(folder))["mini"]
    metrics = loaded(labelbench_results.read(config(folder), LOG)[0], tmp_path)
    table = tables.final_table(metrics, "mini", held.lead, held.kinds)
    at = (table["strategy"] == "badge") & (table["selector"] == "linear") & (table["split"] == "test")
    row = table[at].iloc[0]
    curve = authors_results.curves(0.005, 0, extra=1)
    at_end = np.interp(math.log(3000), np.log(curve["Num Labeled"]), curve["Test Accuracy"])
    assert row["difference"] == pytest.approx(at_end - authors_results.curves(0, 0)["Test Accuracy"][-1])
    # The same savings in both tables, also of fine-tuned models of several rounds.
    compared = comparisons.comparisons_table(metrics, "mini", held.lead, held.kinds, 0.002)
    keys = ["selector", "stage", "strategy", "split"]
    ours = table[table["savings"].notna()].set_index(keys)["savings"]
    theirs = compared[compared["savings"].notna()].set_index(keys)["savings"]
    assert ours.to_dict() == theirs.to_dict()
    assert "finetune" in set(ours.index.get_level_values("stage"))


def test_one_training_stands_in_tables_once(folder, tmp_path):
    """An encoder that selects and is what others' labels are judged with is not shown as both."""
    held = labelbench_results.contents(config(folder))["mini"]
    metrics = loaded(labelbench_results.read(config(folder), LOG)[0], tmp_path)
    for table in (
        tables.final_table(metrics, "mini", held.lead, held.kinds),
        comparisons.comparisons_table(metrics, "mini", held.lead, held.kinds, 0.002),
    ):
        blocks = set(zip(table["selector"], table["stage"], strict=True))
        assert blocks == {("finetune", "proxy"), ("linear", "proxy"), ("shallow", "proxy"), ("shallow", "finetune")}
    assert study.judged(metrics, "mini", ("clip_vitb32", "finetune", "flexmatch")) == ("proxy", "")
    assert study.judged(metrics, "mini", ("clip_vitb32", "shallow", "flexmatch")) == ("finetune", "flexmatch")


def test_runs_with_random_batches_lead_with_the_metric_of_their_images(folder):
    (folder / "cifar10").rename(folder / "iwildcam_random")
    chosen = labelbench_results.Config(str(folder), {"mini": "iwildcam_random/bs_1000"})
    held = labelbench_results.contents(chosen)["mini"]
    assert (held.lead, held.images) == ("macro_f1", "iwildcam")


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cifar10/bs_1000 holds no results.*Clone"):
        labelbench_results.runs(config(tmp_path))
    with pytest.raises(ValueError, match="no folder such as"):
        labelbench_results.Config(str(tmp_path), {"mini": "cifar10"})


# Cells of the paper's tables that the authors' own curves do not give: (table, selector, split, strategy). Random
# sampling has one row for all selectors in the paper; the standard deviation of the others was rounded otherwise.
EXCEPTIONS = {
    "mean": {(4, "shallow", "test", "random"), (4, "shallow", "pool", "random")},
    "spread": {
        (4, "shallow", "test", "random"),
        (4, "shallow", "pool", "random"),
        (4, "finetune", "pool", "coreset"),
        (4, "finetune", "pool", "badge"),
        (5, "finetune", "test", "entropy"),
    },
}


@pytest.mark.skipif("LABELBENCH_CURVES" not in os.environ, reason="LABELBENCH_CURVES names no table of their curves")
def test_the_papers_cells(tmp_path):
    """Of a tidy table of the authors' CIFAR curves, with the columns of `authors_results.from_curves`."""
    authors_results.from_curves(pd.read_csv(os.environ["LABELBENCH_CURVES"]), tmp_path / "results")
    chosen = labelbench_results.Config(
        str(tmp_path / "results"), {"cifar10": "cifar10/bs_1000", "cifar100": "cifar100/bs_1000"}
    )
    metrics = loaded(labelbench_results.read(chosen, LOG)[0], tmp_path)
    wrong, checked = {"mean": set(), "spread": set()}, 0
    printed = pd.read_csv(REPO / "resources/published/scores.csv", dtype=str)
    for cell in printed[printed["dataset"].isin(("cifar10", "cifar100"))].itertuples():
        model = ("proxy", "") if cell.selector == "finetune" else ("finetune", "flexmatch")
        split = {"test": "test", "pool": study.MODEL_POOL}[cell.split]
        setting = (cell.encoder, cell.selector, "flexmatch")
        found = study.curves(
            metrics, cell.dataset, setting, cell.strategy, split, study.metric_of(split, cell.metric), *model
        )
        if found is None:
            continue
        checked += 1
        scores = 100 * found.scores[:, -1]
        for name, value in (("mean", scores.mean()), ("spread", scores.std(ddof=1))):
            text = getattr(cell, name)
            if abs(value - float(text)) > 0.5 * 10 ** -len(text.partition(".")[2]) + 1e-9:
                wrong[name].add((int(cell.table), cell.selector, cell.split, cell.strategy))
    assert checked == 46
    assert wrong == EXCEPTIONS
