import numpy as np

SAME_PICKS = True


def select(view, budget, config, rng):
    noise = rng.gumbel(scale=1 / config.beta, size=len(view.unlabelled))
    keys = []
    for i, e in zip(view.unlabelled, noise, strict=True):
        second, first = np.sort(view.probabilities[i])[-2:]
        score = 1 - (first - second)
        # A score of 0 has a key of minus infinity: these come last, and among them the noise decides.
        keys.append((score <= 0, -np.log(score) - e if score > 0 else -e, i))
    return np.array([i for _, _, i in sorted(keys)[:budget]])
