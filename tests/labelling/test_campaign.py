"""The state of a campaign: what counts from which round, what waits, what is an audit."""

import json

import numpy as np
import pytest

from labelbench.common.errors import UserError
from labelbench.labelling import campaign
from labelbench.labelling.campaign import Answered, Asked, Batch
from labelbench.planning import campaigns

SEED = 7


def name(number):
    return f"{number:064x}"


def batch(number, images, **more):
    return Batch("birds", number, "0" * 8, "margin", tuple(Asked(name(n), f"{n}.png") for n in images), **more)


def labels(**by_number):
    return {name(int(n[1:])): Answered(name(int(n[1:])), "label", label) for n, label in by_number.items()}


def test_nothing_yet():
    state = campaign.state([], {}, SEED)
    assert (state.rounds, state.open, state.next) == ([], None, 1)


def test_an_answer_counts_from_the_round_that_asked():
    batches = [batch(1, [1, 2]), batch(2, [3, 4])]
    answers = labels(n1="a", n2="b", n3="a", n4="b")
    state = campaign.state(batches, answers, SEED)
    assert [sorted(round_.labels) for round_ in state.rounds] == [
        [name(1), name(2)],
        [name(1), name(2), name(3), name(4)],
    ]
    assert (state.open, state.next) == (None, 3)


def test_a_corrected_answer_changes_its_round_and_those_after_it():
    batches = [batch(1, [1, 2]), batch(2, [3, 4])]
    answers = labels(n1="a", n2="b", n3="a", n4="b")
    before = [round_.digest for round_ in campaign.state(batches, answers, SEED).rounds]
    late = [round_.digest for round_ in campaign.state(batches, answers | labels(n4="a"), SEED).rounds]
    early = [round_.digest for round_ in campaign.state(batches, answers | labels(n1="b"), SEED).rounds]
    assert late[0] == before[0]
    assert late[1] != before[1]
    assert early[0] != before[0]
    assert early[1] != before[1]


def test_a_batch_without_all_answers_waits():
    batches = [batch(1, [1, 2, 3, 4])]
    state = campaign.state(batches, labels(n1="a", n2="b", n3="a"), SEED)
    assert (state.open, state.next, state.missing, state.rounds) == (batches[0], None, 1, [])
    state = campaign.state(batches, labels(n1="a", n2="b", n3="a"), SEED, complete=0.75)
    assert (state.open, state.next) == (None, 2)


def test_nobody_waits_for_images_that_are_gone():
    batches, half = [batch(1, [1, 2, 3, 4, 5])], labels(n1="a", n2="b")
    state = campaign.state(batches, half, SEED, gone=frozenset({name(1), name(4)}))
    assert (state.open, state.missing, state.rounds) == (batches[0], 2, [])
    told = campaign.order(state, "labelling/birds", 9, 0)
    assert told.startswith("Batch 1: 2 of 5 images wait for an answer; 1 is gone, for which nobody waits. Open ")
    # Where the rest is gone, the batch is closed, and what it taught counts.
    state = campaign.state(batches, half, SEED, gone=frozenset({name(3), name(4), name(5)}))
    assert (state.open, state.next, [r.number for r in state.rounds]) == (None, 2, [1])
    assert campaign.lost(batches, state) == 3
    # An untouched batch that is gone teaches nothing, and the next one may go out.
    state = campaign.state(batches, {}, SEED, gone=frozenset(map(name, range(1, 6))))
    assert (state.open, state.next, state.rounds) == (None, 2, [])
    assert campaign.asks(state, left=9, budget=0)
    # So it is with the audit of a promise, which could never be answered otherwise.
    promise = batch(2, [6, 7], kind="promise")
    state = campaign.state([*batches, promise], half | labels(n6="a"), SEED, gone=frozenset({name(7)}))
    assert campaign.answered(promise, state)
    assert not campaign.answered(promise, state._replace(gone=frozenset()))


def test_a_share_of_what_is_there_is_enough():
    batches, answers = [batch(1, range(8))], labels(n0="a", n1="b", n2="a")
    assert campaign.state(batches, answers, SEED, complete=0.5).open
    assert campaign.state(batches, answers, SEED, complete=0.5, gone=frozenset({name(6), name(7)})).open is None


@pytest.mark.parametrize("tenths", range(1, 11))
def test_a_share_of_a_batch_is_enough_to_the_image(tenths):
    of = 6 * tenths
    for answered, waits in ((of - 1, True), (of, False)):
        answers = labels(**{f"n{n}": "ab"[n % 2] for n in range(answered)})
        state = campaign.state([batch(1, range(60))], answers, SEED, complete=1 - (10 - tenths) / 10)
        assert (state.open is not None) == waits, (answered, tenths)


def test_an_answer_nobody_asked_for_counts_from_the_batch_that_knew_it():
    early = batch(1, [1, 2], known=(name(8),))
    later = batch(2, [3, 4], known=(name(9),))
    answers = labels(n1="a", n2="b", n3="a", n4="b", n8="a", n9="b")
    rounds = campaign.state([early, later], answers, SEED).rounds
    assert [round_.number for round_ in rounds] == [0, 1, 2]
    assert [name(8) in round_.labels for round_ in rounds] == [True, True, True]
    assert [name(9) in round_.labels for round_ in rounds] == [False, True, True]
    # One that came in after the last batch was proposed counts from the last round.
    new = campaign.state([early, later], answers | labels(n7="a"), SEED).rounds
    assert [round_.digest for round_ in new[:2]] == [round_.digest for round_ in rounds[:2]]
    assert name(7) in new[2].labels


def test_states_that_are_no_label_are_answers_but_teach_nothing():
    answers = labels(n1="a")
    answers |= {name(n): Answered(name(n), status) for n, status in ((2, "skip"), (3, "none"), (4, "conflict"))}
    state = campaign.state([batch(1, [1, 2, 3, 4])], answers, SEED)
    assert state.open is None
    assert list(state.rounds[-1].labels) == [name(1)]
    assert not campaign.trainable(state.rounds[-1])


def test_audit_images_are_a_random_draw_that_additions_do_not_move():
    rng = np.random.default_rng(0)
    pool = [rng.bytes(32).hex() for _ in range(2000)]
    threshold = campaign.audit_threshold(SEED, pool, 100)
    first = batch(1, [], threshold=threshold)
    drawn = {n for n in pool if campaign.is_audit([first], SEED, n)}
    assert len(drawn) == 100
    more = pool + [rng.bytes(32).hex() for _ in range(2000)]
    later = {n for n in more if campaign.is_audit([first], SEED, n)}
    assert drawn <= later
    assert 150 < len(later) < 260  # the same rate
    assert len({n for n in pool if campaign.is_audit([batch(1, [], threshold=None)], SEED, n)}) == 0
    assert campaign.audit_threshold(SEED, pool[:50], 100) == "g"


def test_audit_images_are_never_trained_on():
    threshold = "g"  # all of them
    state = campaign.state([batch(1, [1, 2], threshold=threshold)], labels(n1="a", n2="b"), SEED)
    assert state.rounds[-1].labels == {}
    assert state.audit == {name(1), name(2)}


@pytest.mark.parametrize("half", [{}, {"n3": "a"}])
def test_a_promise_opens_no_round_though_its_images_were_asked_before(half):
    batches = [batch(1, [1, 2]), batch(2, [3, 4])]
    before = campaign.state(batches, labels(n1="a", n2="b", **half), SEED)
    batches.append(batch(3, [4, 5], kind="promise"))
    for answered in ({}, {"n4": "b"}, {"n4": "b", "n5": "a"}):
        after = campaign.state(batches, labels(n1="a", n2="b", **half, **answered), SEED)
        assert after.rounds == before.rounds
        assert (after.open is None) == (len(answered) == 2)
    # What was left open counts once people label on.
    batches.append(batch(4, [6, 7]))
    rounds = campaign.state(batches, labels(n1="a", n2="b", n4="b", n5="a", n6="b", n7="a", **half), SEED).rounds
    assert [round_.number for round_ in rounds] == ([1, 2, 4] if half else [1, 4])
    assert (name(3) in rounds[-1].labels) == bool(half)


def test_images_of_a_promise_are_never_trained_on():
    batches = [batch(1, [1, 2]), batch(2, [3, 4], kind="promise")]
    state = campaign.state(batches, labels(n1="a", n2="b", n3="a", n4="b"), SEED)
    assert [sorted(round_.labels) for round_ in state.rounds] == [[name(1), name(2)]]


def test_batches_come_back_as_they_were_written(tmp_path):
    asked = (Asked(name(1), "a\nb.png", True), Asked(name(2), "ü.png", False, "heron", 0.5))
    made = Batch("birds", 1, "0" * 8, "kmeans", asked, (name(5),), "f" * 64)
    (tmp_path / "batch01").mkdir()
    campaign.write_batch(tmp_path / "batch01/batch.json", made)
    assert campaign.batches(tmp_path) == [made._replace(folder=tmp_path / "batch01")]


def test_damaged_and_missing_batches_are_said(tmp_path):
    for number in (1, 3):
        (tmp_path / f"batch{number:02d}").mkdir()
        campaign.write_batch(tmp_path / f"batch{number:02d}/batch.json", batch(number, [number]))
    with pytest.raises(UserError, match=r"\[1, 3\]"):
        campaign.batches(tmp_path)
    (tmp_path / "batch03/batch.json").write_text(json.dumps({"batch": 3}))
    with pytest.raises(UserError, match="batch03/batch.json lacks images, known.*bring it back"):
        campaign.batches(tmp_path)


def test_orders_name_pages_that_exist_and_one_thing_to_do():
    done = labels(n1="a", n2="b")
    asked = [batch(1, [1, 2])]
    waits = campaign.order(campaign.state(asked, labels(n1="a"), SEED), "labelling/birds", 9, 0)
    assert waits.startswith("Batch 1: 1 of 2 images wait for an answer. Open labelling/birds/batch01/label.html")
    state = campaign.state(asked, done, SEED)
    # The same sentence before the next batch is written and after: status and batch are made side by side.
    assert campaign.order(state, "labelling/birds", 9, 0) == campaign.page_order(2, False, "labelling/birds")
    for left, budget, words in ((9, 2, "budget is spent"), (0, 0, "Every image has an answer")):
        told = campaign.order(state, "labelling/birds", left, budget)
        assert words in told
        assert "batch02" not in told
        assert not campaign.asks(state, left, budget)
    assert campaign.asks(state, 9, 3)


def test_a_spent_budget_and_an_open_batch_are_both_told():
    asked = [batch(1, [1, 2]), batch(2, [3, 4, 5])]
    state = campaign.state(asked, labels(n1="a", n2="b", n3="a"), SEED)
    told = campaign.order(state, "labelling/birds", 9, 3)
    assert told.startswith(
        "The budget is spent. Batch 2 is still open: 2 of 3 images wait for an answer, and need none. Deliver the"
    )
    assert "labelling/birds/batch02/label.html" in told
    assert "budget" not in campaign.order(state, "labelling/birds", 9, 4)
    assert "budget" not in campaign.order(state, "labelling/birds", 9, 0)
    promise = campaign.state([asked[0], batch(2, [3], kind="promise")], labels(n1="a", n2="b"), SEED)
    assert "budget" not in campaign.order(promise, "labelling/birds", 9, 2)  # its answers are needed


def test_another_seed_moves_no_image_into_the_audit_or_out_of_it():
    hashes = [name(n) for n in range(300)]
    first = batch(1, [], threshold=campaign.audit_threshold(SEED, hashes, 60), seed=SEED)
    for seed in (SEED, SEED + 1):
        assert sum(campaign.is_audit([first], seed, h) for h in hashes) == 60
        assert campaign.is_audit([first], seed, hashes[3]) == campaign.is_audit([first], SEED, hashes[3])


def test_a_promise_before_the_first_batch_fixes_no_audit():
    promise = batch(1, [1], kind="promise")
    assert campaign.drew_audit([promise]) is None
    first = batch(2, [2], threshold="8" + 63 * "0", seed=SEED)
    assert campaign.drew_audit([promise, first]) == first
    assert any(campaign.is_audit([promise, first], SEED, name(n)) for n in range(30))


def test_the_audit_of_a_promise_is_not_in_the_budget():
    batches = [batch(1, [1, 2]), batch(2, [3, 4, 5], kind="promise")]
    state = campaign.state(batches, labels(n1="a", n2="b", n3="a", n4="b", n5="a"), SEED)
    assert campaign.bought(state) == 2
    assert campaign.asks(state, left=9, budget=3)
    assert not campaign.asks(state, left=9, budget=2)


def test_a_copy_of_a_batch_is_no_batch(tmp_path):
    for folder in ("batch01", "batch01 copy", "batch01 (2)"):
        (tmp_path / folder).mkdir()
        campaign.write_batch(tmp_path / folder / "batch.json", batch(1, [1]))
    assert [found.number for found in campaign.batches(tmp_path)] == [1]


@pytest.mark.parametrize("lines", ["a,b\nb,a\n", "a,b\nb,c\nc,b\n"])
def test_names_that_lead_in_a_circle_are_said(tmp_path, lines):
    (tmp_path / "classes.csv").write_text("old,new\n" + lines)
    with pytest.raises(UserError, match="circle"):
        campaigns.renames(tmp_path, ("a", "b", "c"))


def test_names_that_lead_on_are_followed_to_their_end(tmp_path):
    (tmp_path / "classes.csv").write_text("old,new\nx,y\ny,a\nb,b\n")
    assert campaigns.renames(tmp_path, ("a", "b")) == {"x": "a", "y": "a"}


def test_what_lies_beside_the_answers_is_known(tmp_path):
    for folder in ("answers", "batch01", "batch01 copy", "Answers"):
        (tmp_path / folder).mkdir()
    for file in ("classes.csv", "labels.csv", "mine.csv", ".DS_Store"):
        (tmp_path / file).write_text("")
    assert campaign.strays(tmp_path) == ["Answers", "batch01 copy", "mine.csv"]
    assert campaign.strays(tmp_path / "nowhere") == []
