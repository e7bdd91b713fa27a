import numpy as np

SAME_PICKS = True


def one_vs_rest_order(view, k):
    """All examples as class k sorts them."""
    largest = view.probabilities.max(1)
    # Rounded, so that margins are equal where float32 cannot tell them apart.
    margins = (view.probabilities[:, k] - largest).astype(np.float32)
    return sorted(range(len(largest)), key=lambda i: (-margins[i], -largest[i], i))


def select(view, budget, config, rng, oracle):
    graphs = [one_vs_rest_order(view, k) for k in range(view.num_classes)]
    labels = dict(zip(view.labelled.tolist(), view.labels.tolist(), strict=True))
    picks = []
    while len(picks) < budget:
        k = rng.integers(view.num_classes)
        graph = graphs[k]
        answers = [bool(labels[i] == k) if i in labels else None for i in graph]
        rank = middle_of_shortest_path(answers)
        if rank is None:
            rank = nearest_to_both_answers(answers)
        unlabelled = [i for i in range(len(graph)) if i not in labels]
        pick = int(rng.choice(unlabelled)) if rank is None else graph[rank]
        picks.append(pick)
        labels[pick] = oracle(pick)
    return np.array(picks)


def middle_of_shortest_path(answers):
    """Rank of the middle unlabelled node between unequal answers (None: unlabelled) with none between, or None."""
    shortest, middle, last = len(answers), None, None
    for rank, answer in enumerate(answers):
        if answer is None:
            continue
        if last is not None and answers[last] != answer:
            run = list(range(last + 1, rank))
            if 0 < len(run) < shortest:
                shortest, middle = len(run), run[(len(run) - 1) // 2]
        last = rank
    return middle


def nearest_to_both_answers(answers):
    """Rank of the unlabelled node that has both answers within the fewest steps, or None.

    With edges between all nodes up to `order` steps apart, it is the first to lie on a path between the two.
    """
    if True not in answers or False not in answers:
        return None

    def order_needed(rank):
        return max(
            min(abs(rank - other) for other, answer in enumerate(answers) if answer is wanted)
            for wanted in (True, False)
        )

    return min((rank for rank, answer in enumerate(answers) if answer is None), key=order_needed)
