"""What a study holds, by names: all that tables and figures have to know before any number is read.

Built while the Snakefile is parsed, of the study's own config and of what it imports.
"""

from typing import NamedTuple

FIELDS = ("encoder", "selector", "trainer", "strategy")


class Contents(NamedTuple):
    """What was run on one dataset, in reading order; plain data that survives JSON.

    lead: the leading metric; runs: (encoder, selector, trainer, strategy) of each; kinds: by strategy, `batch`,
    `sequential` or `upper bound`; models: trainers that fine-tuned end to end on the chosen labels; passive: those of
    all trainers that use labels only; end_to_end: selectors that train the encoder itself; trials: how many.
    """

    lead: str
    runs: list
    kinds: dict
    models: list
    passive: list
    end_to_end: list
    trials: int

    def names(self, field):
        """The encoders, selectors, trainers or strategies (`field` in the singular), each once."""
        at = FIELDS.index(field)
        return list(dict.fromkeys(run[at] for run in self.runs))


def kind(strategy):
    """What readers of a table must know of a strategy's plug-in: it is `batch`, `sequential` or `upper bound`."""
    if getattr(strategy, "UPPER_BOUND", False):
        return "upper bound"
    return "sequential" if getattr(strategy, "SEQUENTIAL", False) else "batch"
