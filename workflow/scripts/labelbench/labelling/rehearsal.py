"""A rehearsal: a simulated person answers batches through the same files as people do.

It is how campaigns are tried before anyone labels, how the tests run them, and how the claims about them are checked:
that intervals cover, that promises are kept, that forecasts hold.

    python -m labelbench.labelling.rehearsal labelling/digits truth.csv     # answers the batch that waits
"""

import argparse
import hashlib
import logging
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from labelbench.common import registry
from labelbench.labelling import (
    adjudication,
    assessment,
    batch_files,
    campaign,
    forecast,
    identity,
    models,
    promise_batch,
    promises,
    proposal,
)
from labelbench.labelling import answers as handed_back

LOG = logging.getLogger("labelbench.rehearsal")  # silent: hundreds of trainings
LOG.setLevel(logging.WARNING)


def answers(batch, truth, rng, classes, mistakes=0.0, skips=0.0, seconds=2.0, annotator="simulated"):
    """Rows of a `batch.csv` as a person fills it in: dicts by column.

    truth: class by hash; mistakes: share of the labels that are another class, drawn at random; skips: share of the
    images that are skipped; seconds: mean time of an answer, exponentially distributed.
    """
    name = f"{batch.campaign}/{batch.number:02d}/{batch.id}"
    rows = []
    for asked in batch.images:
        label, status = truth[asked.sha256], "label"
        if rng.random() < mistakes:
            label = rng.choice([other for other in classes if other != label])
        if rng.random() < skips:
            label, status = "", "skip"
        took = f"{rng.exponential(seconds):.1f}"
        values = (name, asked.path, asked.sha256, str(label), status, annotator, took, "")
        rows.append(dict(zip(batch_files.COLUMNS, values, strict=True)))
    return rows


def hand_back(folder, batch, rows):
    """Write rows into the campaign's `answers/`, as a person saves the file of a page; returns its path."""
    path = Path(folder) / "answers" / f"{batch.campaign}-batch{batch.number:02d}-{rows[0]['annotator']}.csv"
    identity.write_table(path, batch_files.COLUMNS, (row.values() for row in rows), encoding="utf-8-sig")
    return path


def read_truth(path, images):
    """Class by hash from a table with the columns image and label, for a list of `identity.Image`."""
    labels = {row["image"]: row["label"] for row in identity.read_table(path)}
    return {image.sha256: labels[image.path] for image in images if image.path in labels}


def rehearse(space, truth, test, settings, folder):
    """A whole campaign on images whose classes are known; what it claimed and what was true, as JSON values.

    space: `models.Space` of the pool; truth: (N,) its classes; test: (embeddings (n, d), classes (n,)) of images
    outside the pool, by which it is seen how good models really are; settings: as `proposal.propose` takes them, with
    `rounds`, `further`, `target`, `wrong`, `confidence`, `looks`, `forecast`, `mistakes`, `skips`, `late`, and the
    specs `first`, `strategy`, `selector` and `trainer`; folder: an empty one, for the campaign's batches and answers.
    After `rounds` the labels are delivered under the promise; `further` rounds, as if nothing had been delivered, show
    what more labels would have given.
    """
    images = [numbered(n) for n in range(len(truth))]
    known = {image.sha256: settings.classes[c] for image, c in zip(images, truth, strict=True)}
    spec = {"seed": settings.seed, "selector": settings.selector, "trainer": settings.trainer}
    person = np.random.default_rng([settings.seed, 1])
    position = {image.sha256: n for n, image in enumerate(images)}
    state, trained, rounds, found = campaign.state([], {}, settings.seed), [], [], {"seed": settings.seed}
    for number in range(1, settings.rounds + settings.further + 1):
        model = trained[-1] if trained else None
        strategy, config = registry.configured("strategies", settings.strategy if model else settings.first)
        batch = proposal.propose(images, state, space, model, settings, strategy, config, number)
        if not batch.images:
            break
        state = _answered(batch, images, known, settings, person, folder, settings.late)
        last = state.rounds[-1]
        index = [position[name] for name in last.labels]
        classes = [settings.classes.index(label) for label in last.labels.values()]
        trained.append(models.train(space, spec, index, classes, len(settings.classes), number, LOG))
        rounds.append(_judged(images, state, space, trained, test, rounds, settings))
        if number == settings.rounds and settings.wrong:
            aside = shutil.copytree(folder, Path(folder, "aside"))
            found["promise"] = _delivered(images, known, state, space, trained[-1], settings, person, aside)
            shutil.rmtree(aside)
    return found | {"rounds": rounds, "reached": _reached(rounds, settings)}


def numbered(number):
    """An image that exists by its number only."""
    return identity.Image(hashlib.sha256(str(number).encode()).hexdigest(), f"{number}.png")


def _answered(batch, images, known, settings, person, folder, late=0.0):
    """The `campaign.State` after a batch was written, answered and read again.

    late: share of the answers that people hand back only after the next batch went out.
    """
    place = Path(folder, campaign.folder_name(batch.number))
    place.mkdir(parents=True)
    campaign.write_batch(place / "batch.json", batch)
    for waiting in Path(folder).glob("late-*"):
        waiting.rename(Path(folder, "answers", waiting.name))
    rows = answers(batch, known, person, settings.classes, settings.mistakes, settings.skips)
    now = len(rows) - int(late * len(rows))
    path = hand_back(folder, batch, rows[:now])
    if rows[now:]:
        hand_back(folder, batch, [row | {"annotator": "late"} for row in rows[now:]]).rename(
            Path(folder, f"late-{path.name}")
        )
    found, problems = handed_back.read([Path(folder, "answers")], images, settings.classes, {}, settings.name)
    if problems:
        raise ValueError(f"simulated answers cannot be read: {problems[0]}")
    settled, _ = adjudication.settle(found)
    counted = {name: campaign.Answered(name, s.status, s.label) for name, s in settled.items()}
    return campaign.state(campaign.batches(folder), counted, settings.seed, 1 - late)


def _judged(images, state, space, trained, test, before, settings):
    """What a round claims, and what is true of its model on the test images.

    trained: the models of all rounds, the last one being judged; before: what was found of the earlier rounds.
    """
    position = {image.sha256: n for n, image in enumerate(images)}
    level = settings.confidence / 100
    audit = [state.answers[name] for name in sorted(state.audit) if name in state.answers]
    labelled = [a for a in audit if a.status == "label"]
    index = np.array([position[a.sha256] for a in labelled], np.int64)
    classes = np.array([settings.classes.index(a.label) for a in labelled], np.int64)
    hits = np.array([models.predict(model, space.clean, index)[0] == classes for model in trained])
    right, n = int(hits[-1].sum()), len(classes)
    embedded, true_classes = test
    true = float((models.predict(trained[-1], embedded)[0] == true_classes).mean())
    verdict = assessment.verdict(
        right, n, len(audit) - n, settings.target / 100, 1 - level, settings.looks, len(trained), len(state.answers), 0,
        [],
    )  # fmt: skip
    counts = [r["labels"] for r in before] + [len(state.rounds[-1].labels)]
    found = {"labels": counts[-1], "answers": len(state.answers), "audit": n, "truth": true, "verdict": verdict.key}
    if n < assessment.ENOUGH:
        return found
    interval = assessment.accuracy(right, n, len(images), level)
    found |= {"low": interval.low, "high": interval.high}
    if before:
        gain = assessment.paired_gain(hits[-2], hits[-1], level)
        found |= {"gain_low": gain.low, "gain_high": gain.high, "gain_truth": true - before[-1]["truth"]}
    rng = np.random.default_rng([settings.seed, 2, len(trained)])
    most = len(images) - len(state.audit)
    ranges = [forecast.labels_to(share / 100, counts, hits, most, rng) for share in settings.forecast]
    return found | {"forecast": ranges, "reach": min(forecast.AHEAD * counts[-1], most)}


def _reached(rounds, settings):
    """Training labels with which each target of `forecast` was reached, and all answers by then; None where it was not.

    A single model may be lucky: what counts is the monotone curve next to all of them (isotonic regression).
    """
    from sklearn.isotonic import IsotonicRegression

    labels = np.log([r["labels"] for r in rounds])
    truth = IsotonicRegression().fit_transform(labels, [r["truth"] for r in rounds])
    found = []
    for share in settings.forecast:
        at = int(np.searchsorted(truth, share / 100))
        if at == len(truth):
            found.append(None)
            continue
        crossing = [labels[0]] if at == 0 else np.interp([share / 100], truth[at - 1 : at + 1], labels[at - 1 : at + 1])
        found.append({"labels": float(np.exp(crossing[0])), "answers": rounds[at]["answers"]})
    return found


def _delivered(images, known, state, space, model, settings, person, folder):
    """What was promised on delivery and the share of wrong labels; beside it, a threshold without a bound."""
    batch, frozen = promise_batch.propose(
        images, state, models.predictor(space, model), settings, len(state.batches) + 1
    )
    labelled = {a.sha256: a.label for a in state.answers.values() if a.status == "label"}
    state = _answered(batch, images, known, settings, person, folder)
    identity.write_table(Path(folder, campaign.folder_name(batch.number), "frozen.csv"), batch_files.FROZEN, frozen)
    epsilon, alpha = settings.wrong / 100, 1 - settings.confidence / 100
    promise, predicted, confidence, _ = promises.of_audit(
        state.batches[-1], 1, state.answers, epsilon, alpha, settings.classes, {}
    )
    wrong = {name: label != known[name] for name, label in predicted.items()}
    total = len(labelled) + len(predicted)
    passed = promises.passed(promise, confidence)
    drawn = {image.sha256 for image in batch.images}
    # What is usual: the lowest threshold at which the audit itself has at most so many wrong.
    ranked = sorted(drawn, key=lambda name: -confidence[name])
    share = np.cumsum([wrong[name] for name in ranked]) / np.arange(1, len(ranked) + 1)
    fits = np.flatnonzero(share <= epsilon)
    usual = confidence[ranked[fits[-1]]] if len(fits) else np.inf
    above = [name for name, score in confidence.items() if score >= usual]
    return {
        "audit": len(drawn),
        "automatic": len(passed) / len(predicted),
        "wrong": sum(wrong[name] for name in passed - drawn) / total,
        "usual_automatic": len(above) / len(predicted),
        "usual_wrong": sum(wrong[name] for name in above) / max(len(above), 1),
    }


def summary(found, settings):
    """Rates over many campaigns, by name: coverage of intervals, targets declared wrongly, promises broken."""
    rounds = [r for c in found for r in c["rounds"]]
    told = [r for r in rounds if "low" in r]
    gains = [r for r in rounds if "gain_low" in r]
    promised = [c["promise"] for c in found if "promise" in c]
    early = [any(r["verdict"] == "target" and r["truth"] < settings.target / 100 for r in c["rounds"]) for c in found]
    rates = {
        "campaigns": len(found),
        "intervals_cover": np.mean([r["low"] <= r["truth"] <= r["high"] for r in told]),
        "gains_cover": np.mean([r["gain_low"] <= r["gain_truth"] <= r["gain_high"] for r in gains] or [np.nan]),
        "target_too_early": np.mean(early),
        "first_accuracy": np.mean([c["rounds"][0]["truth"] for c in found]),
        "final_accuracy": np.mean([c["rounds"][settings.rounds - 1]["truth"] for c in found]),
    }
    if promised:
        rates |= {
            "promises_broken": np.mean([p["wrong"] > settings.wrong / 100 for p in promised]),
            "automatic": np.mean([p["automatic"] for p in promised]),
            "audit": np.mean([p["audit"] for p in promised]),
            "usual_broken": np.mean([p["usual_wrong"] > settings.wrong / 100 for p in promised]),
            "usual_automatic": np.mean([p["usual_automatic"] for p in promised]),
        }
    for at, share in enumerate(settings.forecast):
        given, covered = _forecasts(found, at, share)
        reached = [c["reached"][at]["labels"] if c["reached"][at] else np.inf for c in found]
        rates |= {
            f"forecasts_{share:g}": given,
            f"forecasts_cover_{share:g}": covered,
            f"labels_to_{share:g}": np.median(reached),
        }
    return {name: float(value) for name, value in rates.items()}


def _forecasts(found, at, share):
    """(share of the rounds that give a range, share of the ranges that hold the truth) for a target: percent, position.

    Rounds count until the audit shows that the target is reached, as long as the truth is known: the target was
    reached in the end, or all that a forecast looks ahead to was labelled. A range that begins at the present labels
    says that the target may be reached already.
    """
    asked = covers = given = 0
    for one in found:
        truth = one["reached"][at]["labels"] if one["reached"][at] else np.inf
        for r in one["rounds"]:
            known = truth < np.inf or r.get("reach", np.inf) <= one["rounds"][-1]["labels"]
            if "reach" not in r or not known or r["low"] >= share / 100:
                continue
            asked += 1
            if r["forecast"][at]:
                low, high = r["forecast"][at]
                given += 1
                covers += low <= max(truth, r["labels"]) and (high is None or max(truth, r["labels"]) <= high)
    return given / asked if asked else np.nan, covers / given if given else np.nan


def campaigns(rows, classes, pool, settings, seeds):
    """`rehearse` with each of these seeds, in folders that go again.

    rows, classes: (n, d) float16 and (n,) of all images. Each campaign has a random `pool` of them; the others tell
    what its models are worth, for they are a draw of the same kind.
    """
    found = []
    for seed in seeds:
        settings.seed = seed
        order = np.random.default_rng([seed, 0]).permutation(len(rows))
        mine, others = order[:pool], order[pool:]
        single = rows[mine].astype(np.float32)
        mean, std = single.mean(0), single.std(0)
        std = np.where(std > 1e-6, std, 1).astype(np.float32)
        space = models.Space(rows[mine], mean, std, np.ones(pool, bool), [], [])
        with tempfile.TemporaryDirectory() as folder:
            found.append(rehearse(space, classes[mine], (rows[others], classes[others]), settings, folder))
    return found


def main():
    """Answer the batch that waits, as a simulated person."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", help="labelling/<campaign>")
    parser.add_argument("truth", help="a CSV with the columns image and label")
    parser.add_argument("--mistakes", type=float, default=0.0, help="share of wrong labels")
    parser.add_argument("--skips", type=float, default=0.0, help="share of skipped images")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    batches = campaign.batches(options.folder)
    if not batches:
        sys.exit(f"{options.folder} holds no batch: name labelling/<campaign>, after `snakemake label` wrote one.")
    batch = batches[-1]
    labels = {row["image"]: row["label"] for row in identity.read_table(options.truth)}
    if missing := [asked.path for asked in batch.images if asked.path not in labels]:
        sys.exit(f"{options.truth} has no label for {len(missing)} images of the batch, such as {missing[0]}.")
    truth = {asked.sha256: labels[asked.path] for asked in batch.images}
    rng = np.random.default_rng([options.seed, batch.number])
    classes = sorted(set(labels.values()))
    rows = answers(batch, truth, rng, classes, options.mistakes, options.skips)
    print(f"{len(rows)} simulated answers in {hand_back(options.folder, batch, rows)}")


if __name__ == "__main__":
    main()
