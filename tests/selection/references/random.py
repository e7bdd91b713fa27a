SAME_PICKS = True


def select(view, budget, config, rng):
    return rng.choice(view.unlabelled, budget, replace=False)
