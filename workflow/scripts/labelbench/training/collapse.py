"""Trainings that collapsed, noticed from their own history: without a test split, for the model's metrics."""

import math

FALL = 0.5  # of the best validation accuracy that a kept state may have lost
RISE = 2.0  # times the first loss at which a training without validation has gone astray


def collapsed(history):
    """Whether a training, by the records of `training.fit`, has come to nothing: 1 or 0, for `metrics.json`.

    With a validation split: the last epoch's accuracy is less than half of the best one's, or its loss is not a number.
    Without one: the loss of the last epoch is not finite or twice that of the first. The state that is kept may be an
    earlier one; a training that went astray is worth a look all the same.
    """
    last, accuracies = history[-1], [epoch["val_accuracy"] for epoch in history]
    validated = not math.isnan(accuracies[-1])
    loss = last["val_loss" if validated else "train_loss"]
    if not math.isfinite(loss):
        return 1
    if validated:
        return int(accuracies[-1] < FALL * max(accuracies))
    return int(loss > RISE * history[0]["train_loss"])
