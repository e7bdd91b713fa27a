"""Selection strategies, one file each.

A strategy file defines `Config`, a frozen dataclass of its settings; `USES`, what `select` asks the pool for, of
"features", "probabilities", "head" (the model's last layer) and "labels" (of the labelled examples); and
`select(pool, budget, config, rng)`. It may also define

* `SEQUENTIAL = True`: `select` takes an `oracle` as well and buys each of its picks there before it makes the next;
* `memory(config, sizes)`: bytes that `select` takes at its peak, from `selection.memory.Sizes`, on a CPU and beside one
  chunk of the pool (`selection.memory` says what is taken of a strategy without it). No result depends on it, so it is
  no part of the code's digest;
* `UPPER_BOUND = True`: `select` takes `true_labels` (N,) of the whole pool as well. No annotator could follow it.
"""


def kind(strategy):
    """What readers of a table must know of a strategy's plug-in: it is `batch`, `sequential` or `upper bound`."""
    if getattr(strategy, "UPPER_BOUND", False):
        return "upper bound"
    return "sequential" if getattr(strategy, "SEQUENTIAL", False) else "batch"
