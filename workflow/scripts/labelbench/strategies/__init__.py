"""Selection strategies, one file each.

A strategy file defines `Config` (a frozen dataclass of its settings), `USES_MODEL` (whether `select` asks the pool for
features or probabilities) and `select(pool, budget, config, rng)`.
"""
