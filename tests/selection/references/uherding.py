import numpy as np
from sklearn.linear_model import LogisticRegression

from references._coverage import greedy, squared_distances, unit

SAME_PICKS = True


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def calibration_error(p, predicted, truth, bins):
    confidence = np.round(p.max(1), 11)
    total = 0
    for b in range(bins):
        inside = (confidence > round(b / bins, 11)) & (confidence <= round((b + 1) / bins, 11))
        if inside.any():
            total += inside.sum() * abs((predicted == truth)[inside].mean() - p.max(1)[inside].mean())
    return total / len(p)


def temperature(view, config, rng):
    held_out = round(config.held_out * len(view.labelled))
    order = rng.permutation(len(view.labelled))
    x, y = view.features[view.labelled], view.labels
    validation, training = order[:held_out], order[held_out:]
    if held_out == 0 or len(set(y[training])) < 2:
        return 1.0
    model = LogisticRegression().fit(x[training], y[training])
    log_p = model.predict_log_proba(x[validation])
    predicted = model.predict(x[validation])
    best, least = None, np.inf
    lowest, highest, step = config.temperatures
    t = lowest
    for i in range(round((highest - lowest) / step) + 1):
        t = lowest + i * step
        error = round(calibration_error(softmax(log_p / t), predicted, y[validation], config.bins), 9)
        if error < least:
            best, least = t, error
    return best


def select(view, budget, config, rng):
    t = temperature(view, config, rng)
    with np.errstate(divide="ignore"):
        p = np.sort(softmax(np.log(view.probabilities) / t), axis=1)
    weights = 1 - (p[:, -1] - p[:, -2])
    x = unit(view.features[view.labelled])
    distances = squared_distances(x, x)
    distances = distances[distances > 2e-6]
    sigma = np.sqrt(distances.min()) if distances.size else 1
    return greedy(view, budget, lambda d2: np.exp(-d2 / sigma**2), weights, rng)
