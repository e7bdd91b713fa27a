"""Linear probe on the standardised embedding (LabelBench paper, §3.2: selection via proxy)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """No settings."""


def hidden(config, dim):
    """The layers before the classifier and their output width: none, so strategies see the embedding itself."""
    from torch import nn

    return nn.Identity(), dim
