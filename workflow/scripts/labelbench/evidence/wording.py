"""Numbers as texts, and what several pages must say: one way to write each, so that pages agree."""

import math

from labelbench.evidence import study
from labelbench.evidence.savings import Savings

NONE = "–"
NOISE = "training noise"  # name of the line that ends a block with it
UNMEASURED = "not measured"
# What is in bold beside the best.
AS_GOOD = "every mean that is not shown to lie below it (paired t test, corrected by Holm), unless that were all"


def percent(x):
    """A fraction in percent, with two digits behind the point."""
    return NONE if math.isnan(x) else f"{half_up(100 * x):.2f}"


def half_up(x):
    """A number a hair further from zero, so that a half is rounded up whatever its last bits say.

    In these the same mean differs by the order of its sum.
    """
    return x + math.copysign(1e-9, x)


def points(x, digits=2):
    """A difference of fractions as text, in points with its sign."""
    return NONE if math.isnan(x) else f"{half_up(100 * x):+.{digits}f}".replace("-", "−")


def digits_of(width):
    """Digits behind the point that an interval of this width, a fraction, gives to the points it is about: 1 to 4."""
    if math.isnan(width) or width <= 0:
        return 2
    return min(max(1 - math.floor(math.log10(100 * width)), 2 if 100 * width < 10 else 1), 4)


def interval(difference, low, high):
    """A difference with its interval as text, in points; without it where it is not known, or has no width to tell.

    An end that is not zero does not read as zero, where four digits do.
    """
    least = digits_of(high - low)
    told = (d for d in range(least, 5) if not any(end and not round(half_up(100 * end), d) for end in (low, high)))
    digits = next(told, least)
    ends = [points(end, digits) for end in (low, high)]
    if math.isnan(low):
        return points(difference)
    if ends[0] == ends[1]:
        return f"{points(difference)} in every trial"
    return f"{points(difference, digits)} [{', '.join(ends)}]"


def times(bounded, precision=3):
    """A `savings.Bounded` factor as text, with its sign of censoring: so many digits, at most two behind the point."""
    if math.isnan(bounded.value):
        return NONE
    behind = precision - 1 - math.floor(math.log10(bounded.value)) if bounded.value > 0 else 2
    return f"{bounded.sign}{bounded.value:.{min(max(behind, 0), 2)}f}"


def precision(low, high):
    """Digits that the interval of a factor, two `savings.Bounded`, gives to it: 3, or 2 if it is wide.

    The bootstrap's draws move the ends of a wide interval in the third digit.
    """
    return 2 if high.value > 1.5 * low.value else 3


def factor(value, low, high):
    """A factor with its interval, three `savings.Bounded`, as text."""
    digits = precision(low, high)
    text = f"{times(value, digits)}×"
    return text if math.isnan(low.value) else f"{text} [{times(low, digits)}, {times(high, digits)}]"


def savings(found):
    """Label savings at the end of a curve, a `savings.Savings`, or a dash for anything else."""
    return factor(found.factor, found.low, found.high) if isinstance(found, Savings) else NONE


def p_value(p):
    """A p-value as text, with two digits that count."""
    return NONE if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def noise(values):
    """The largest of training noises, fractions, in points; NaN where it was not measured."""
    values = [value for value in values if not math.isnan(value)]
    return f"±{points(max(values), digits_of(max(values)))[1:]}" if values else UNMEASURED


def marks(kinds):
    """What the marks behind the names of strategies mean, for those that occur."""
    text = ""
    if "sequential" in kinds:
        text += " †: sees the label of every pick before it makes the next; the others choose a batch at once."
    if "upper bound" in kinds:
        text += (
            " ‡: not a strategy that can be used, but a bound for those that can: it tries candidate batches with "
            "labels of the pool that nobody bought."
        )
    return text


def pool_note(table):
    """Which definition of pool metrics the table's are of."""
    if (table["split"] == study.MODEL_POOL).any():
        return f"{study.MODEL_POOL}: predictions only, also of bought images."
    return "Pool metrics count bought labels as annotated and all others as predicted."


def noise_note(table):
    """What training noise is, and how far it was measured."""
    if table["noise"].notna().any():
        return (
            "Training noise: the standard deviation that a difference, a mean over trials, would have if both had been "
            "trained anew on the very same labels."
        )
    if "noise_sd" in table and table["noise_sd"].notna().any():
        row = table.loc[table["noise_sd"].idxmax()]
        return (
            "Training noise was measured after the first round only: scores of models that were trained anew on the "
            f"same {int(row['noise_labels']):,} labels spread by up to {noise([row['noise_sd']])} points (one "
            "standard deviation). Of later rounds it is not known."
        )
    where = "" if "noise_sd" in table else " at these numbers of labels"
    return f"Training noise was not measured{where} (run: replicates)."


def paired(low, high):
    """How many paired trials there are, from the fewest to the most: `one trial`, `4 paired trials`."""
    if high == 1:
        return "one trial"
    return f"{high} paired trials" if low == high else f"{low} to {high} paired trials"
