from labelbench.selection.strategies.typiclust import Config as TypiclustConfig
from references import margin, typiclust

SAME_PICKS = True


def select(view, budget, config, rng):
    if len(view.labelled) < config.batches * budget:
        return typiclust.select(view, budget, TypiclustConfig(), rng)
    return margin.select(view, budget, None, rng)
