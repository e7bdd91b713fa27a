"""Settings that every trainer has."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How a model is optimised, whatever the loss.

    learning_rate, weight_decay: of AdamW. batch_size: labelled examples per step. epochs: at most so many; an epoch
    is one pass over the labelled examples, or `min_steps_per_epoch` steps where a pass is shorter. patience: epochs
    without a lower validation loss before training stops (0: never stops early). The best state on validation loss
    is kept in any case. lr_warmup: fraction of all steps in which the learning rate rises linearly; it then falls as
    a cosine over 7/16 of a period (Sohn et al. 2020, FixMatch, §2.4).
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 128
    epochs: int = 20
    min_steps_per_epoch: int = 1
    patience: int = 3
    lr_warmup: float = 0.0

    def __post_init__(self):
        for name in ("learning_rate", "batch_size", "epochs", "min_steps_per_epoch"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        if not 0 <= self.lr_warmup < 1:
            raise ValueError("lr_warmup is a fraction of all steps: at least 0, below 1")
        if self.patience < 0 or self.weight_decay < 0:
            raise ValueError("patience and weight_decay cannot be negative")
