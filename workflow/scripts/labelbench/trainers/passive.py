"""Supervised training on the labelled examples alone ("passive" in the LabelBench paper, Figure 4c)."""

from dataclasses import dataclass

from labelbench.trainers._common import Optimisation


@dataclass(frozen=True, kw_only=True)
class Config(Optimisation):
    """Only the optimiser's settings."""


def unlabelled_batch(config):
    """Unlabelled examples per step: none."""
    return 0


def objective(config, num_unlabelled, num_classes, device):
    """The loss of one step: cross-entropy of the weak views of the labelled batch."""
    import torch.nn.functional as F

    def loss(model, batch, progress):
        return F.cross_entropy(model(batch.labelled), batch.labels), None

    return loss
