import numpy as np

from references._representatives import nearest_to_centres

SAME_PICKS = True


def select(view, budget, config, rng):
    """Every anchor is mixed in, with the closed-form ratio written out wherever z* − z is not 0."""
    anchors = [view.features[view.labelled[view.labels == c]].mean(0) for c in np.unique(view.labels)]
    candidates = set()
    multiple = 0
    while multiple * config.epsilon < 1 and len(candidates) < budget:
        multiple += 1
        bound = min(multiple * config.epsilon, 1) / np.sqrt(view.features.shape[1])
        candidates |= {i for i in view.unlabelled for z in anchors if changes(view, view.features[i], z, bound)}
    candidates = np.array(sorted(candidates), dtype=np.int64)
    if len(candidates) < budget:
        others = np.setdiff1d(view.unlabelled, candidates)
        return np.append(candidates, rng.choice(others, budget - len(candidates), replace=False))
    return nearest_to_centres(view, candidates, budget, rng)


def changes(view, x, anchor, bound):
    logits = view.weight @ x + view.bias
    predicted = np.argmax(logits)
    others = np.exp(logits - np.delete(logits, predicted).max())
    others[predicted] = 0
    # The gradient of the cross-entropy at the predicted class, up to its length.
    residuals = others / others.sum()
    residuals[predicted] = -1
    gradient = view.weight.T @ residuals
    if np.linalg.norm(gradient) < 1e-12:
        return False
    step = bound * np.linalg.norm(anchor - x) * gradient / np.linalg.norm(gradient)
    ratio = np.divide(step, anchor - x, out=np.zeros_like(x), where=anchor != x)
    mixed = np.where(anchor != x, ratio * anchor + (1 - ratio) * x, x + step)
    mixed_logits = view.weight @ mixed + view.bias
    return np.delete(mixed_logits, predicted).max() - mixed_logits[predicted] > 1e-9
