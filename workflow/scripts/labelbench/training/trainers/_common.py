"""Settings that every trainer has, and the supervised loss."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How a model is optimised, whatever the loss.

    learning_rate, weight_decay: of the optimiser (`training.Optimiser`). batch_size: labelled examples per step.
    epochs: at most so many; an epoch is one pass over the labelled examples, or `min_steps_per_epoch` steps where a
    pass is shorter. early_stopping: what of the validation split decides; the best state by it is kept, and `patience`
    epochs without a better one end the training (0: never). With `none` the last state is kept. lr_warmup: fraction of
    all steps in which the learning rate rises linearly; schedule: what it does then, over the steps that are left
    (`training.learning_rate_factor`); first_period, period_factor: of `warm_restarts` only, the first period in steps
    and how much longer each next one is. max_gradient_norm: longer gradients are scaled down to it (0: never).
    precision: of all layers but the last, which is float32; auto is bfloat16 on a GPU that has it natively, float32
    elsewhere.
    label_smoothing: ε, the labelled targets become 1 - ε + ε/K and ε/K. class_weights: whether labelled examples
    weigh by the inverse frequency of their class among the bought labels.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 128
    epochs: int = 20
    min_steps_per_epoch: int = 1
    patience: int = 3
    early_stopping: Literal["loss", "accuracy", "none"] = "loss"
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    lr_warmup: float = 0.0
    schedule: Literal["fixmatch", "cosine", "warm_restarts", "constant"] = "fixmatch"
    first_period: int = 500
    period_factor: int = 2
    max_gradient_norm: float = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    label_smoothing: float = 0.0
    class_weights: bool = False

    def __post_init__(self):
        for name in ("learning_rate", "batch_size", "epochs", "min_steps_per_epoch", "first_period", "period_factor"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        if not 0 <= self.lr_warmup < 1:
            raise ValueError("lr_warmup is a fraction of all steps: at least 0, below 1")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError("label_smoothing must be at least 0, below 1")
        for name in ("patience", "weight_decay", "max_gradient_norm"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} cannot be negative")

    def unlabelled_weight_at(self, progress):
        """Weight of the loss on unlabelled examples after the fraction `progress` of all steps: there is none."""
        return 0.0


def supervised(config, problem):
    """The loss of labelled examples: (logits (B, K), labels (B,) int64) → mean cross-entropy.

    With `class_weights` an example of class c weighs L / (K' n_c), where n_c of the L bought labels are of this class
    and K' classes have any: on average over the labelled set 1.
    """
    import torch
    import torch.nn.functional as F

    if not config.class_weights:
        return lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    counts = torch.bincount(problem.labels, minlength=problem.num_classes)
    weights = len(problem.labels) / ((counts > 0).sum() * counts)  # infinite for a class that no label is of

    def weighted(logits, labels):
        losses = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing, reduction="none")
        return (weights[labels] * losses).mean()

    return weighted
