"""Shallow network: one hidden layer as wide as the embedding (LabelBench paper, §3.2), from random weights."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """No settings."""


def hidden(config, dim):
    """The layers before the classifier and their output width: strategies see the hidden activations."""
    from torch import nn

    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU()), dim
