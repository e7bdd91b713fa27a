"""Promises are kept as often as they say, and the blocks of the rule do what a plain loop does."""

import math

import numpy as np
import pytest
from scipy.stats import hypergeom

from labelbench.labelling import batch_files, campaign, finetuned, identity, promises
from labelbench.labelling.campaign import Answered, Asked, Batch


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
    pool, others, audits = 1000, 300, 600
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
    n = next(n for n in range(1, 1000) if promises.most_wrong(1000, n, 0, 0.05) <= 0.05 * 1000)
    assert 50 <= n <= 59  # 59 in an endless pool: ln 0.05 / ln 0.95
    confidence = np.linspace(0.5, 1, 1000)
    found = promises.promise(confidence, confidence[:n], np.zeros(n, bool), 0, 0.05, 0.05)
    assert found.automatic == 1000
    # Five images cannot show that at most 5 % are wrong: nothing is delivered.
    few = promises.promise(confidence, confidence[:5], np.zeros(5, bool), 0, 0.05, 0.05)
    assert few.threshold is None


def test_an_audit_is_large_enough_for_half_of_the_mistakes_that_are_allowed():
    n = promises.audit_size(1000, 0, 0.05, 0.05)
    assert promises.most_wrong(1000, n, math.floor(0.025 * n), 0.05) <= 50
    assert promises.most_wrong(1000, n - 1, math.floor(0.025 * (n - 1)), 0.05) > 50


def frozen(tmp_path, predicted, drawn, number=3):
    """A promise's batch: predicted: (class, confidence) by hash; drawn: hashes of its audit."""
    folder = tmp_path / campaign.folder_name(number)
    folder.mkdir(parents=True)
    rows = [(name, label, score, 1) for name, (label, score) in predicted.items()]
    identity.write_table(folder / "frozen.csv", batch_files.FROZEN, [*rows, ("seen", "heron", 0.9, 0)])
    return Batch("birds", number, "0" * 8, "random", tuple(Asked(n, n, True) for n in drawn), folder=folder)


def test_a_class_that_is_renamed_after_the_model_was_frozen_is_renamed_in_its_labels(tmp_path):
    names = [f"{n:03d}" for n in range(300)]
    batch = frozen(tmp_path, {n: ("ardea" if n < "200" else "owl", 0.9) for n in names}, names[::3])
    answers = {n: Answered(n, "label", "heron" if n < "200" else "owl") for n in names[::3]}
    asked = batch, 1, answers, 0.05, 0.05, ["heron", "owl"]
    found, predicted, confidence, _ = promises.of_audit(*asked, {"ardea": "heron"})
    assert found.automatic == 300
    assert "seen" not in predicted
    assert set(predicted.values()) == {"heron", "owl"}
    # A class that is gone without another name is nobody's label; the audit of the others counts.
    found, predicted, confidence, told = promises.of_audit(*asked, {})
    assert set(predicted.values()) == {"owl"}
    assert promises.passed(found, confidence) <= set(names[200:])
    assert "an audit of 33 images" in told
    # What is told of the frozen model follows, too.
    images = [identity.Image(n, n) for n in (*names, "seen")]
    read = finetuned.read_predictor(batch.folder / "frozen.csv", images, ["heron", "owl"], {"ardea": "heron"})
    assert read(np.array([0, 250, 300]))[1].tolist() == [0, 1, 0]
    read = finetuned.read_predictor(batch.folder / "frozen.csv", images, ["heron", "owl"], {})
    assert read(np.array([0, 250]))[1].tolist() == [-2, 1]


def test_an_audit_image_that_is_gone_counts_as_a_mistake(tmp_path):
    names = [f"{n:03d}" for n in range(300)]
    batch = frozen(tmp_path, dict.fromkeys(names, ("owl", 0.9)), names[::3])
    answers = {n: Answered(n, "label", "owl") for n in names[::3]}
    assert "(0 wrong)" in promises.of_audit(batch, 1, answers, 0.05, 0.05, ["owl", "x"], {})[3]
    del answers["000"]
    assert "(1 wrong)" in promises.of_audit(batch, 1, answers, 0.05, 0.05, ["owl", "x"], {})[3]


def test_every_promise_of_a_campaign_has_its_own_share_of_the_risk(tmp_path):
    assert sum(promises.risk(0.05, n) for n in range(1, 40)) <= 0.05
    assert promises.risk(0.05, 1) == pytest.approx(0.04)
    names = [f"{n:03d}" for n in range(1000)]
    drawn = names[:72]  # 0.95 ** 72 is about 0.025, below 0.04: enough for a first promise, not for a second one
    batch = frozen(tmp_path, dict.fromkeys(names, ("owl", 0.9)), drawn)
    answers = {n: Answered(n, "label", "owl") for n in drawn}
    kept = [promises.of_audit(batch, k, answers, 0.05, 0.05, ["owl", "x"], {})[0].threshold for k in (1, 2)]
    assert kept == [0.9, None]
    told = promises.of_audit(batch, 2, answers, 0.05, 0.05, ["owl", "x"], {})[3]
    assert told.endswith(promises.AGAIN)


def test_asking_until_a_promise_is_given_breaks_it_no_more_often_than_is_said():
    """Models that are a little worse than promised, each with a fresh audit, until one passes by luck."""
    rng = np.random.default_rng(3)
    pool, epsilon, n, campaigns, broken = 1000, 0.05, 90, 4000, {"shared": 0, "whole": 0}
    wrong = round(epsilon * pool) + 1
    seen = rng.hypergeometric(wrong, pool - wrong, n, (campaigns, 6))
    bounds = {}
    for name in broken:
        for k in range(6):
            alpha = promises.risk(0.1, k + 1) if name == "shared" else 0.1
            for s in set(seen[:, k]):
                bounds[name, k, s] = promises.most_wrong(pool, n, int(s), alpha) <= epsilon * pool
        broken[name] = np.mean([any(bounds[name, k, s] for k, s in enumerate(row)) for row in seen])
    assert broken["shared"] <= 0.1
    assert broken["whole"] > 0.2  # what it is for
