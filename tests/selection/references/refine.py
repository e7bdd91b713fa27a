import numpy as np

from references.oracle import propose

# The strategies that filter have references of their own; here they are the library's.
SAME_PICKS = True


def select(view, budget, config, rng):
    left = view.unlabelled
    for level in range(config.depth):
        if len(left) <= budget:
            break
        size = len(left)
        if level > 0:
            size = round(config.share * len(left))
        elif config.subset is not None:
            size = config.subset
        size = min(max(size, budget), len(left))
        proposals = config.proposals
        if size == len(left):
            proposals = min(proposals, len(config.strategies))
        union = set()
        for number in range(proposals):
            name = config.strategies[number % len(config.strategies)]
            part = left
            if size < len(left):
                part = np.sort(rng.choice(left, size, replace=False))
            union |= set(propose(view, name, part, budget, rng, None).tolist())
        left = np.array(sorted(union))
        if len(left) > max(config.largest, budget):
            left = np.sort(rng.choice(left, max(config.largest, budget), replace=False))
    return propose(view, "uherding", left, budget, rng, None)
