"""Adjudication: of all answers on an image, the one that counts, or a conflict."""

from collections import Counter
from typing import NamedTuple

from labelbench.common.words import counted
from labelbench.labelling.answer_files import family, numbered
from labelbench.labelling.records import OPINIONS, Problem


class Settled(NamedTuple):
    """The one answer that counts for an image.

    status: label, skip, none, unsure, new or conflict; label: class name (conflict: all, joined by ' | ');
    annotators: names of those who gave it; seconds: sum over the people whose answers were compared, or None;
    sources: `file:row` of those answers, and files of answers that these replaced as corrections.
    """

    sha256: str
    status: str
    label: str = ""
    annotators: tuple = ()
    seconds: float | None = None
    sources: tuple = ()


class Conflict(NamedTuple):
    """People who disagree about an image, or one with himself; answers: the latest `Answer` of each, or the several
    of which nothing tells the latest."""

    sha256: str
    answers: tuple


def settle(answers):
    """(settled, conflicts): `Settled` by hash in the order of their first answers, and a list of `Conflict`.

    Of each person the latest answer counts: by time where both have one; otherwise within a file the lower row, and
    among files whose names differ by a number at the end alone ("a.csv", "a (1).csv", "a-2.csv") the highest number.
    Where none of these tells which is later, a person who contradicts himself is a conflict. Nameless answers are one
    person per file ("answers (1).csv", a second download, belongs to "answers.csv"). Skipped, unsure and several labels
    contradict nobody. Where opinions differ it is a conflict, unless three or more people have one and more than half
    of them agree. Answers handed in empty are none. A row of delivered labels that was changed replaces the answers it
    was made of, whoever gave them; one that was not changed says nothing.
    """
    given = {}
    sources = {answer.source for answer in answers}
    for answer in answers:
        if answer.status != "empty":
            given.setdefault(answer.sha256, []).append(answer)
    settled, conflicts = {}, []
    for name, found in given.items():
        latest = _by_person(_corrected(found, sources), sources)
        settled[name] = _settle(name, latest)
        if settled[name].status == "conflict":
            conflicts.append(Conflict(name, tuple(answer for mine in latest for answer in mine)))
    return settled, conflicts


def _by_person(given, sources):
    """The answers on an image that count of each person: a list of lists as of `_latest`."""
    people = {}
    for answer in given:
        person = (answer.annotator, "") if answer.annotator else ("", family(answer.source, sources))
        people.setdefault(person, []).append(answer)
    return [_latest(mine) for mine in people.values()]


def _corrected(given, sources):
    """The answers on an image without what a changed row of delivered labels replaces, and without unchanged rows.

    A row is unchanged where it says what the answers of which it was made say by themselves.
    """
    gone = set()
    for n, row in enumerate(given):
        made_of = {m for m, a in enumerate(given) if a.source in row.replaces and a.source != row.source}
        if made_of:
            old = _settle("", _by_person(_corrected([given[m] for m in sorted(made_of)], sources), sources))
            gone |= {n} if (old.status, old.label) == (row.status, row.label) else made_of
    return [a for n, a in enumerate(given) if n not in gone] or given


def _latest(mine):
    """The answers of one person, in the order in which they were read, that no other one of them replaces: mostly one.

    Several are left where nothing tells their order and they are different opinions.
    """
    left = [a for n, a in enumerate(mine) if not any(_replaces(b, a, m > n) for m, b in enumerate(mine) if m != n)]
    left = left or mine  # times and names that contradict each other
    opinions = {(a.status, a.label): a for a in left if a.status in OPINIONS}
    return list(opinions.values()) or left[-1:]


def _replaces(new, old, below):
    """Whether one person's answer is later than another one; below: whether it was read after it."""
    if new.when and old.when and new.when != old.when:
        return new.when > old.when
    if new.source == old.source:
        return below
    (new_name, new_number), (old_name, old_number) = numbered(new.source), numbered(old.source)
    return new_name == old_name and new_number > old_number


def contradictions(conflicts):
    """A `Problem` for each file in which a person contradicts what the same person says in another file."""
    found = {}
    for conflict in conflicts:
        people = {}
        for answer in conflict.answers:
            people.setdefault(answer.annotator or family(answer.source), []).append(answer)
        for mine in people.values():
            for one, other in zip(mine, mine[1:], strict=False):
                found.setdefault((one.source, other.source, one.annotator), []).append(one)
    return [
        Problem(
            other,
            0,
            f"{person or 'Somebody'} contradicts {source} here, about {counted(len(mine), 'image')} (conflicts.csv), "
            "and nothing says which file is later. Move the older one away, or put a number at the end of the later "
            f"one's name: {_after(source)!r}.",
        )
        for (source, other, person), mine in found.items()
    ]


def _after(source):
    stem, dot, ending = source.rpartition("/")[2].rpartition(".")
    return f"{stem} (1){dot}{ending}" if dot else f"{ending} (1)"


def _settle(name, people):
    """The `Settled` of an image; people: for each person the answers of `_latest`.

    One who contradicts himself is one of those who have an opinion, and agrees with nobody.
    """
    given = [answer for mine in people for answer in mine]
    opinions = [mine for mine in people if mine[0].status in OPINIONS]
    if opinions:
        votes = Counter((mine[0].status, mine[0].label) for mine in opinions if len(mine) == 1)
        (status, label), most = votes.most_common(1)[0] if votes else (("conflict", ""), 0)
        agreed = [a for mine in opinions for a in mine if len(mine) == 1 and (a.status, a.label) == (status, label)]
        if most < len(opinions) and (len(opinions) < 3 or most <= len(opinions) / 2):
            status, agreed = "conflict", [a for mine in opinions for a in mine]
            label = " | ".join(sorted({a.label or a.status for a in agreed}))
    else:
        status = "skip" if all(a.status == "skip" for a in given) else "unsure"
        label, agreed = "", [a for a in given if status == "skip" or a.status != "skip"]
    times = [a.seconds for a in given if a.seconds is not None]
    annotators = tuple(sorted({a.annotator for a in agreed if a.annotator}))
    sources = [f"{a.source}:{a.row}" if a.row else a.source for a in given]
    sources = tuple(dict.fromkeys(sources + [name for a in given for name in a.replaces]))
    return Settled(name, status, label, annotators, sum(times) if times else None, sources)
