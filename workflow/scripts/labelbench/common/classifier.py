"""The last layer of every model that is trained here."""

import torch
import torch.nn.functional as F
from torch import nn


class Classifier(nn.Linear):
    """A linear layer to logits, in float32 also where the layers before it compute in bfloat16.

    bfloat16 has 8 bits: logits of 16 to 32, which zero-shot heads give, would be multiples of 0.125, and many equal.
    """

    def forward(self, features):
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(features.float(), self.weight, self.bias)
