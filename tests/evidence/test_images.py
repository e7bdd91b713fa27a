"""The luck of the test images: what is kept of them, and intervals that cover what they say they cover."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import synthetic_study
from labelbench.evidence import comparison_pages, comparisons, images, statistics, study, tables
from labelbench.training import hits, metrics
from synthetic_study import KINDS

SETTING = ("glyphclip", "linear", "flexmatch")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_hits_are_a_bit_per_image(pairs):
    true, predicted = np.array(pairs).T
    bits, sizes = hits.decode(hits.encode(true, predicted, 6))
    assert sizes.tolist() == np.bincount(true, minlength=6).tolist()
    # From them alone: the accuracies that the model's metrics hold.
    found = metrics.classification(true, predicted, 6)
    assert bits.mean() == pytest.approx(found["accuracy"])
    parts = [part for part in np.split(bits, np.cumsum(sizes)[:-1]) if len(part)]
    assert np.mean([part.mean() for part in parts]) == pytest.approx(found["balanced_accuracy"])


def test_hits_are_small():
    true = np.arange(10_000) % 10
    assert len(hits.encode(true, true, 10)) < 1800


def curve(bits, sizes):
    """`study.Curves` of two rounds with these hits (trials, rounds, images)."""
    trials, rounds = np.arange(len(bits)), np.arange(1, bits.shape[1] + 1)
    found = images.Hits(bits, sizes, np.eye(len(rounds)))
    return study.Curves(trials, rounds, 10 * 2**rounds, bits.mean(axis=2), found)


def a_study(rng, measure, trials, count=600):
    """Hits (trials, images) of two strategies on new images, and the differences: on these images, and of all."""
    classes = 4
    sizes = np.array([count // 2, count // 4, count // 8, count // 8])
    of_class = np.repeat(np.arange(classes), sizes)
    # Most images are easy. Where strategies differ, the first wins on some and loses on others, more so in one class.
    base = np.where(rng.random(count) < 0.75, 0.97, 0.4)
    wins, loses = 0.14 + 0.05 * (of_class == 3), 0.10
    draw = rng.random(count)
    gap = np.where(draw < wins, 0.7, 0.0) - np.where(draw > 1 - loses, 0.7, 0.0)
    base = np.where(gap == 0, base, 0.5)
    own, other = np.clip(base + gap / 2, 0, 1), np.clip(base - gap / 2, 0, 1)
    weights = 1 / count if measure == "accuracy" else np.repeat(1 / (classes * sizes), sizes)
    luck = rng.normal(0, 0.002, (2, trials, 1))  # of a trial, on all images alike
    bits = [rng.random((trials, count)) < p + shift for p, shift in zip((own, other), luck, strict=True)]
    return bits, sizes, float(((own - other) * weights).sum())


@pytest.mark.parametrize("measure", ["accuracy", "balanced_accuracy"])
@pytest.mark.parametrize("trials", [4, 10])
def test_intervals_cover_what_they_are_about(measure, trials):
    """Simulated studies on new images each: 95 % of both kinds of interval hold what they are said to hold."""
    rng, studies = np.random.default_rng(1), 600
    of_all = np.mean([a_study(rng, measure, 1)[2] for _ in range(4000)])
    here = other = narrow_on_others = 0
    for _ in range(studies):
        (own, reference), sizes, on_these = a_study(rng, measure, trials)
        parts = [np.split(bits, np.cumsum(sizes)[:-1], axis=1) for bits in (own, reference)]
        score = [
            bits.mean(axis=1) if measure == "accuracy" else np.mean([p.mean(axis=1) for p in part], axis=0)
            for bits, part in zip((own, reference), parts, strict=True)
        ]
        gap = statistics.paired_difference(*score)
        luck = images.luck(*(curve(bits[:, None], sizes).hits for bits in (own, reference)), np.ones(1), measure)
        half = images.half_width(float(gap.se), trials, luck.se)
        here += gap.low <= on_these <= gap.high
        narrow_on_others += gap.low <= of_all <= gap.high
        other += abs(gap.mean - of_all) <= half
    # A 95 % interval of such a share is ±1.7 points wide; truncation of scores at 0 and 1 moves the first a little.
    assert 0.925 <= here / studies <= 0.985
    assert 0.93 <= other / studies <= 0.99
    assert narrow_on_others / studies < 0.90  # why the second is needed


def test_the_images_share_is_that_of_new_images():
    """What `luck` says of one study is how much the difference moves from one set of images to the next."""
    rng = np.random.default_rng(3)
    gaps = [a_study(rng, "accuracy", 1)[2] for _ in range(3000)]
    found = []
    for _ in range(200):
        (own, reference), sizes, _ = a_study(rng, "accuracy", 6)
        luck = images.luck(*(curve(b[:, None], sizes).hits for b in (own, reference)), np.ones(1), "accuracy")
        found.append(luck.se**2)
    assert math.sqrt(np.mean(found)) == pytest.approx(np.std(gaps), rel=0.1)


def test_intervals_and_p_values_agree():
    assert images.half_width(0.01, 4, 0.0) == pytest.approx(stats.t.ppf(0.975, 3) * 0.01)
    assert images.half_width(0.0, 4, 0.01) == pytest.approx(stats.norm.ppf(0.975) * 0.01)
    for difference, se, n, luck in ((0.02, 0.003, 4, 0.004), (0.001, 0.002, 2, 0.01), (-0.3, 0.01, 8, 0.0)):
        p = images.p_value(difference, se, n, luck)
        assert images.half_width(se, n, luck, 1 - p) == pytest.approx(abs(difference), rel=1e-6)
    gaps = np.array([0.01, 0.02, 0.04])
    assert images.p_value(gaps.mean(), statistics.estimate(gaps).se, 3, 0.0) == pytest.approx(
        statistics.student_t_p(gaps)
    )
    assert (images.p_value(0.0, 0.0, 4, 0.0), images.p_value(0.1, 0.0, 4, 0.0)) == (1.0, 0.0)


def test_trials_that_would_decide():
    gaps = np.array([0.010, 0.016])
    needed = images.trials_needed(gaps, math.nan, 3)
    spread = gaps.std(ddof=1)

    def corrected(n):
        return 3 * 2 * stats.t.sf(gaps.mean() / (spread / math.sqrt(n)), n - 1)

    assert corrected(int(needed)) < 0.05 <= corrected(int(needed) - 1)
    # Where the images alone hide the difference, no number of trials helps.
    assert images.trials_needed(gaps, 0.01, 1) == math.inf
    assert math.isnan(images.trials_needed(gaps[:1], 0.0, 1))


def with_hits(folder, count=200, **kwargs):
    """A synthetic study whose scores on the test set are those of hits; its table and `images.TestImages`."""
    files = synthetic_study.write(folder, datasets=("digits",), finetune=(), **kwargs)
    true = np.repeat([0, 1], [count // 2, count - count // 2])
    hard = np.random.default_rng(5).random(count)  # the same for all models
    for path in files[0]:
        content = json.loads(Path(path).read_text())
        rng = np.random.default_rng([content["trial"], content["round"], len(content["strategy"])])
        liked = np.random.default_rng(len(content["strategy"])).random(count)  # a strategy has images of its own
        right = hard + 0.1 * rng.random(count) + 0.6 * liked < content["metrics"]["test"]["accuracy"] + 0.2
        predicted = np.where(right, true, 1 - true)
        scores = metrics.classification(true, predicted, 2) | {"hits": hits.encode(true, predicted, 2)}
        content["metrics"]["test"] = scores
        Path(path).write_text(json.dumps(content))
    rows = study.share_first_round(study.read(*files), ("random", "margin", "badge"))
    numbers, texts = study.apart(study.in_order(rows, {"strategy": ("random", "margin", "badge")}))
    study.write_parquet(texts, folder / "hits.parquet", "string")
    study.write(numbers, folder / "metrics.csv")
    return study.load(folder / "metrics.csv"), images.TestImages(study.read_parquet(folder / "hits.parquet"))


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    return with_hits(tmp_path_factory.mktemp("hits"))


@pytest.mark.parametrize("lead", ["accuracy", "balanced_accuracy"])
def test_a_study_tells_both_intervals(studied, lead):
    table, found = studied
    compared = comparisons.comparisons_table(table, "digits", lead, KINDS, 0.002, found)
    test, pool = (compared[compared["split"] == split] for split in ("test", "pool"))
    assert set(test["images"]) == {200}
    assert (test["other_high"] - test["other_low"] > test["high"] - test["low"]).all()
    assert set(test["test"]) == {"images"}
    assert pool["other_low"].isna().all()
    assert set(pool["test"]) == {"t"}
    # The hits are those of the scores: weighed, they give the same difference.
    for strategy in ("margin", "badge"):
        own, other = (
            study.curves(table, "digits", SETTING, name, "test", "accuracy", images=found)
            for name in (strategy, "random")
        )
        weights = statistics.aulc_weights(own.labels)
        gap = (own.hits.weighed(weights) - other.hits.weighed(weights)).mean(axis=1)
        assert gap == pytest.approx((own.scores - other.scores) @ weights)
    plain = comparisons.comparisons_table(table, "digits", lead, KINDS, 0.002)
    pd.testing.assert_frame_equal(plain[["difference", "low", "high"]], compared[["difference", "low", "high"]])
    final = tables.final_table(table, "digits", lead, KINDS, found)
    shown = final[(final["split"] == "test") & (final["measure"] == lead) & final["difference"].notna()]
    assert (shown["other_low"] < shown["difference_low"]).all()


def test_no_tie_is_finer_than_the_test_set_shows(studied):
    """A region of equivalence that the test set cannot resolve gives no ties about other images."""
    table, found = studied
    for equivalence, may_tie in ((0.002, False), (0.5, True)):
        compared = comparisons.comparisons_table(table, "digits", "accuracy", KINDS, equivalence, found)
        test = compared[compared["split"] == "test"]
        fine = 1.96 * test["image_se"] > equivalence
        assert fine.all() != may_tie
        assert (test["verdict"] == "tie").any() == may_tie
        note = comparison_pages.note(compared, equivalence)
        assert ("finer than" in note) != may_tie


def test_without_all_hits_nothing_is_said_about_other_images(studied):
    table, _ = studied
    compared = comparisons.comparisons_table(table, "digits", "accuracy", KINDS, 0.002, images.TestImages([]))
    assert compared["other_low"].isna().all()
    found = comparisons.comparisons_table(table, "digits", "macro_f1", KINDS, 0.002, studied[1])
    assert found["other_low"].isna().all()  # no mean over images
