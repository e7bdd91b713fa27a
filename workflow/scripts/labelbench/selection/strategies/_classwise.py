"""A batch with as many examples of one class as of another, the most central first: for upper bounds, as it needs to
know the true labels."""

import numpy as np

# Similarities count in steps of this: far above what float64 loses, so true ties are ties.
_GRID = 2.0**-34


def central(features, classes: np.ndarray, known: np.ndarray, count: int) -> np.ndarray:
    """Positions of up to `count` examples, one at a time: (m,) int64, in pick order.

    features: (n, d) float32; they are scaled to unit length here (zeros stay). classes: (n,) int64.
    known: (K,) int64, how many labels each class has.
    Each time the class with the fewest labels and picks, of these the first, gives that of its examples with the least
    sum of squared distances to the others that it has left, which is the one nearest to their mean; of equal ones the
    first. Fewer than `count` only where the examples are fewer. O(count·n/K·d) time.
    """
    import torch

    from labelbench.selection.coverage import unit

    numbers = known.astype(np.int64)
    members = {label: np.flatnonzero(classes == label) for label in range(len(known))}
    x = {label: unit(features[torch.as_tensor(rows, device=features.device)]) for label, rows in members.items()}
    picks = []
    while len(picks) < count:
        open_classes = [label for label in members if len(members[label])]
        if not open_classes:
            break
        label = min(open_classes, key=lambda label: (numbers[label], label))
        own = x[label]
        # Squared distance to the mean, without the mean's own length.
        distance = (own.square().sum(1) - 2 * (own @ own.mean(0))).div_(_GRID).round_()
        at = int(distance.argmin())
        picks.append(members[label][at])
        members[label] = np.delete(members[label], at)
        x[label] = torch.cat([own[:at], own[at + 1 :]])
        numbers[label] += 1
    return np.array(picks, dtype=np.int64)
