"""The ranking of levers for readers: a table, and what it says in sentences."""

import math

from labelbench.evidence import comparisons, levers, study, typeset, wording

TITLE = "which lever pays"


def page(found, equivalence):
    """The ranking as readers see it (`levers.table`): a block for each dataset and split, levers in their order."""
    lines, images = [], bool(found["other_low"].notna().any())
    for row in found.to_dict("records"):
        heading = f"{row['dataset']}: {row['split']} {_measure(row)}"
        cells = [row["level"], row["reference"], wording.interval(row["difference"], *comparisons.told(row))]
        cells += [wording.interval(row["difference"], row["low"], row["high"])] * images
        cells += [wording.p_value(row["p_holm"]), row["verdict"] or wording.NONE]
        cells += [f"{row['above']} of {row['combinations']}", _ahead(row)]
        lines.append((heading, f"{row['rank']}. {row['lever']}", [(cell, cell == "better") for cell in cells]))
    spans = [("change", 2), ("effect", 4 if images else 3), ("", 2)]
    names = ["to", "from", "points", *["these images"] * images, "Holm p", "verdict"]
    names += ["combinations above zero", "ahead of the next lever"]
    return typeset.Page("all settings", "levers", "lever", spans, names, lines, note(found, equivalence))


def _measure(row):
    return study.NAMES.get(row["measure"], "score")


def _ahead(row):
    return (
        wording.NONE
        if math.isnan(row["ahead"])
        else wording.interval(row["ahead"], row["ahead_low"], row["ahead_high"])
    )


def note(found, equivalence):
    """What a reader must know to read the ranking."""
    if found.empty:
        return "No lever was moved with all others held: there is nothing to rank."
    text = (
        f"What changing one lever is worth after {_labels(found)} labels, all others held: in points, the mean of the "
        "paired differences over all combinations of the other levers that were run with both levels, taken trial by "
        f"trial ({_trials(found)}; the trial is the unit). Brackets are 95 % intervals"
    )
    if found["other_low"].notna().any():
        text += ", on test sets of trials and test images together; beside them those on these very images"
    text += (
        ". Levers stand in the order of their largest effect, of whatever sign: cold start and strategy against random "
        "sampling where it was run, encoder and trainer against the first that the study names, final models against "
        "the selector's own. The trainer is what is trained in every round, so it also chooses. p is corrected by Holm "
        f"for all changes of a block; verdicts as for strategies, with a region of ±{100 * equivalence:g} points for a "
        "tie. Combinations above zero: in how many the mean over trials is positive; all or none, and the sign does "
        "not hang on the other levers. Ahead of the next lever: how much larger the effect is, not corrected; both "
        "were picked as their levers' largest by these numbers."
    )
    if (found["dataset"] == levers.EVERY).any():
        text += (
            f" {levers.EVERY.capitalize()}: the mean over those that have the change, paired by the number of the "
            "trial; it is about these datasets and no others."
        )
    return text


def _labels(found):
    return " or ".join(map(str, sorted({n for labels in found["num_labels"] for n in labels})))


def _trials(found):
    low, high = found["trials"].min(), found["trials"].max()
    if low == high:
        return "one trial" if high == 1 else f"{high} trials"
    return f"{low} to {high} trials"


def sentences(found):
    """What the ranking says, for the summary: one sentence on all datasets, or on the only one, of the test set.

    None where there are no intervals, for nothing can be claimed without.
    """
    if found.empty:
        return []
    last = found[found["dataset"] == found["dataset"].iloc[-1]]
    rows = last[last["split"] == last["split"].iloc[0]].to_dict("records")
    if any(math.isnan(row["low"]) for row in rows):
        return []
    tops = {}
    for row in rows:
        tops.setdefault(row["lever"], row)
    if len(tops) < 2:
        return []
    first, second = list(tops.values())[:2]
    over = f"Over {first['datasets']} datasets" if first["datasets"] > 1 else f"On {first['dataset']}"
    text = f"{over}, after {_labels(last)} labels, the lever that matters most is the {first['lever']}: {_told(first)}"
    text += f"; the next is the {second['lever']}: {_told(second)}"
    if not math.isnan(first["ahead"]):
        sure = "larger" if first["ahead_low"] > 0 else "not shown to be larger"
        gap = wording.interval(first["ahead"], first["ahead_low"], first["ahead_high"])
        text += f". The first is {sure}, by {gap}" if sure == "larger" else f". The first is {sure} ({gap})"
    return [text + "."]


def paragraphs(found):
    """A text for each dataset and split: all levers in their order, with what is shown of them."""
    texts = []
    for (dataset, split), block in found.groupby(["dataset", "split"], sort=False):
        rows = block.to_dict("records")
        text = f"{dataset}, {split} {_measure(rows[0])} after {_labels(block)} labels, {_trials(block)}. "
        if any(math.isnan(row["low"]) for row in rows):
            texts.append(text + "With one trial there are no intervals, and without intervals nothing can be claimed.")
            continue
        lines = {}
        for row in rows:
            lines.setdefault((row["rank"], row["lever"]), []).append(_told(row))
        texts.append(text + " ".join(f"{rank}. {lever}: {'; '.join(t)}." for (rank, lever), t in lines.items()))
    return texts


def _told(row):
    gap = wording.interval(row["difference"], *comparisons.told(row))
    verdict = {"tie": "a tie"}.get(row["verdict"], row["verdict"])
    return f"{row['level']} instead of {row['reference']}, {gap} points, {verdict}"
