"""Promises are kept as often as they say, and the blocks of the rule do what a plain loop does."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from labelbench.labelling import promises


@pytest.mark.parametrize(("pool", "n"), [(50, 10), (300, 60)])
def test_the_bound_by_bisection_is_that_of_a_plain_search(pool, n):
    for seen in range(0, n + 1, 3):
        plain = max(d for d in range(pool + 1) if hypergeom.cdf(seen, pool, d, n) > 0.05)
        assert promises.most_wrong(pool, n, seen, 0.05) == plain


def reference(confidence, audit, wrong, others, epsilon, alpha):
    """Threshold by threshold over whole arrays."""
    best = None
    for percent in range(2, 101, 2):
        count = max(int(np.ceil(percent / 100 * len(confidence))), 1)
        threshold = sorted(confidence, reverse=True)[count - 1]
        seen = sum(w for c, w in zip(audit, wrong, strict=True) if c >= threshold)
        pool, n = len(confidence), len(audit)
        bound = max(d for d in range(pool + 1) if hypergeom.cdf(seen, pool, d, n) > alpha)
        if bound > epsilon * (others + len(confidence)):
            return best
        best = threshold
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_is_that_of_the_plain_rule(seed):
    rng = np.random.default_rng(seed)
    confidence = rng.beta(5, 1, 150).round(2)  # with ties
    wrong = rng.random(150) > 0.5 + confidence / 2
    drawn = rng.choice(150, 60, replace=False)
    found = promises.promise(confidence, confidence[drawn], wrong[drawn], 200, 0.05, 0.1)
    assert found.threshold == reference(confidence, confidence[drawn], wrong[drawn], 200, 0.05, 0.1)


@pytest.mark.parametrize("arranged", ["uncertain", "anywhere", "certain"])
@pytest.mark.parametrize(("epsilon", "n"), [(0.05, 100), (0.02, 150)])
def test_promises_are_broken_at_most_as_often_as_they_say(arranged, epsilon, n):
    rng = np.random.default_rng(1)
    pool, others, audits = 1000, 300, 1500
    confidence = np.sort(rng.random(pool))[::-1]
    share = 1.2 * epsilon * (others + pool) / pool
    weight = {"uncertain": 1.05 - confidence, "anywhere": np.ones(pool), "certain": confidence}[arranged]
    broken = 0
    for _ in range(audits):
        wrong = np.zeros(pool, bool)
        wrong[rng.choice(pool, round(share * pool), replace=False, p=weight / weight.sum())] = True
        drawn = rng.choice(pool, n, replace=False)
        found = promises.promise(confidence, confidence[drawn], wrong[drawn], others, epsilon, 0.05)
        if found.threshold is not None:
            above = confidence >= found.threshold
            broken += wrong[above].sum() > epsilon * (others + pool)
    assert broken / audits <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / audits)


def test_a_faultless_model_delivers_everything_after_the_audit_it_needs():
    n = promises.audit_size(1000, 0, 0.05, 0.05, share=0)
    assert 50 <= n <= 59  # 59 in an endless pool: ln 0.05 / ln 0.95
    confidence = np.linspace(0.5, 1, 1000)
    found = promises.promise(confidence, confidence[:n], np.zeros(n, bool), 0, 0.05, 0.05)
    assert found.automatic == 1000
    # Five images cannot show that at most 5 % are wrong: nothing is delivered.
    few = promises.promise(confidence, confidence[:5], np.zeros(5, bool), 0, 0.05, 0.05)
    assert few.threshold is None


def test_more_is_wrong_than_was_promised():
    assert promises.audit_size(1000, 0, 0.05, 0.05, share=0.06) is None
    assert promises.audit_size(1000, 1000, 0.05, 0.05, share=0.06) is not None
