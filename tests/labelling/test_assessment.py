"""Intervals that cover, gains on the same images, and verdicts in their order."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom

from labelbench.labelling import assessment
from labelbench.labelling.assessment import Worth, verdict


def test_wilson_is_scipys_in_an_endless_pool():
    mine = assessment.accuracy(93, 100, 10**9)
    theirs = stats.binomtest(93, 100).proportion_ci(method="wilson")
    assert mine == pytest.approx((0.93, theirs.low, theirs.high), abs=1e-6)


@pytest.mark.parametrize("n", range(30, 130))
def test_an_interval_holds_what_was_seen(n):
    for right in (0, 1, n - 1, n):
        value, low, high = assessment.accuracy(right, n, 5000)
        assert 0 <= low <= value <= high <= 1


def test_an_audit_of_the_whole_pool_knows():
    assert assessment.accuracy(93, 100, 100) == (0.93, 0.93, 0.93)


@pytest.mark.parametrize("share", [0.9, 0.95, 0.98])
@pytest.mark.parametrize("n", [50, 100, 200, 500])
def test_accuracy_covers(share, n):
    """Exactly, over all draws from a pool of 5,000: on average over neighbouring shares, as is Wilson's nature."""
    pool, covered = 5000, []
    for right in range(round(pool * (share - 0.005)), round(pool * (share + 0.005)), 5):
        k = np.arange(n + 1)
        chance = stats.hypergeom.pmf(k, pool, right, n)
        inside = []
        for count in k:
            _, low, high = assessment.accuracy(count, n, pool)
            inside.append(low <= right / pool <= high)
        covered.append(chance @ inside)
    assert np.mean(covered) >= 0.93


def test_the_lower_bound_is_clopper_and_pearsons():
    bound = assessment.lower_bound(95, 100, 0.05)
    assert bound == pytest.approx(stats.binomtest(95, 100, alternative="greater").proportion_ci(0.95).low)
    assert binom.sf(94, 100, bound) == pytest.approx(0.05)
    assert assessment.lower_bound(0, 100, 0.05) == 0


@pytest.mark.parametrize("n", [30, 60, 100, 200])
@pytest.mark.parametrize(("wins", "losses"), [(0.02, 0.0), (0.05, 0.0), (0.05, 0.05), (0.1, 0.02), (0.2, 0.1)])
def test_paired_gains_cover(n, wins, losses):
    """Exactly, over all numbers of images that only one of the two models gets right."""
    total = 0.0
    for won in range(n + 1):
        chance = binom.pmf(won, n, wins)
        if chance < 1e-9:
            continue
        lost = np.arange(n - won + 1)
        others = binom.pmf(lost, n - won, losses / (1 - wins))
        for count, probability in zip(lost, others, strict=True):
            if probability > 1e-9:
                before = np.zeros(n, bool)
                after = np.zeros(n, bool)
                after[:won] = True
                before[won : won + count] = True
                _, low, high = assessment.paired_gain(before, after)
                total += chance * probability * (low <= wins - losses <= high)
    assert total >= 0.93


def test_kappa():
    one, other = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert assessment.kappa(one, other, 2) == pytest.approx((0.75 - 0.5) / 0.5)
    assert assessment.kappa(one, one, 2) == 1
    assert assessment.kappa(np.zeros(4, int), np.zeros(4, int), 2) == 1


def test_classes_with_few_audit_images_get_no_interval():
    truth = np.array([0] * 12 + [1] * 3 + [-1])
    said = np.array([0] * 11 + [1] * 4 + [0])
    (n, interval), few, none = assessment.per_class(truth, said, 3)
    assert (n, interval.value) == (12, 11 / 12)
    assert interval.low < 11 / 12 < interval.high
    assert (few, none) == ((3, None), (0, None))
    assert assessment.confusions(truth, said) == [(-1, 0, 1), (0, 1, 1)]


@pytest.mark.parametrize(("half", "share", "pool", "size"), [(0.02, 0.95, 1000, 314), (0.02, 0.95, 10_000, 437)])
def test_sample_sizes(half, share, pool, size):
    assert abs(assessment.needed(half, share, pool) - size) <= 1


def told(right=98, n=100, **more):
    settings = {"skipped": 0, "target": 0.9, "alpha": 0.05, "looks": 10, "look": 1, "bought": 50, "budget": 0}
    return verdict(right, n, **{**settings, "kappas": [], **more}).key


def test_verdicts_in_their_order():
    assert told() == "target"
    assert told(budget=50) == "target"
    assert told(right=90, budget=50, kappas=[1, 1, 1]) == "budget"
    assert told(right=90, kappas=[1, 1, 1]) == "stable"
    assert told(right=90, kappas=[0.9, 1, 1]) == "go on"
    assert told(right=20, n=20) == "cannot tell"
    assert told(target=0.99) == "cannot tell"
    assert told(target=0) == "go on"
    assert told(right=90, worth=Worth(0.01, 1000, 1.0, 20.0)) == "worthless"
    assert told(right=90, worth=Worth(0.05, 1000, 1.0, 20.0)) == "go on"


def test_skipped_audit_images_count_as_wrong():
    assert told(right=97, n=98) == "target"
    assert told(right=97, n=98, skipped=20) == "go on"


def test_more_looks_than_planned_reach_no_target():
    assert told(look=10) == "target"
    assert told(look=11) == "cannot tell"


def test_a_target_is_rarely_declared_too_early():
    """Ten models, each just below the target, judged by one audit: at most α of the campaigns declare it."""
    rng, n, share, wrongly = np.random.default_rng(0), 300, 0.90, 0
    for _ in range(1000):
        hits = rng.random((10, n)) < share  # the worst case: every look is a new chance
        wrongly += any(told(int(hit.sum()), n, target=share, look=k) == "target" for k, hit in enumerate(hits, 1))
    assert 0 < wrongly / 1000 <= 0.05


def test_an_audit_that_is_still_being_asked_is_waited_for():
    def told(n, drawn):
        return assessment.verdict(n, n, 0, 0.95, 0.05, 10, 1, n, 0, [], drawn=drawn).sentence

    assert told(40, 150).startswith("Cannot tell yet: 40 of 150 audit images")
    assert "It takes 104" in told(40, 60)
    assert told(0, 0).startswith("Cannot tell: there is no audit")
    assert told(10, 60).startswith("Cannot tell yet: 10 audit answers")
