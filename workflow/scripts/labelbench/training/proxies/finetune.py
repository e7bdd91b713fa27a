"""The encoder itself, trained end to end in every round: what selection via proxy saves (LabelBench paper, §3.2).

What a round leaves for strategies is the trained head, as a proxy on the features of the trained encoder.
"""

from dataclasses import dataclass

END_TO_END = True


@dataclass(frozen=True)
class Config:
    """No settings."""


def hidden(config, dim):
    """The layers before the classifier and their output width: none, so strategies see the encoder's features."""
    from torch import nn

    return nn.Identity(), dim
