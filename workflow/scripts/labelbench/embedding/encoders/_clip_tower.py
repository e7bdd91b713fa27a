"""The image side of a CLIP, without its text tower. Imported inside `load` only."""

import copy

import torch.nn.functional as F
from torch import nn


class ImageTower(nn.Module):
    """images (B, 3, H, W) → embeddings (B, e), L2-normalised on demand."""

    def __init__(self, visual, normalize):
        super().__init__()
        self.visual = visual
        self.normalize = normalize

    def forward(self, images):
        features = self.visual(images)
        if isinstance(features, tuple):  # CoCa's tower gives the patch tokens too
            features = features[0]
        return F.normalize(features, dim=-1) if self.normalize else features


def without_projection(visual):
    """open_clip's `VisionTransformer` up to its pooled features; it shares every parameter with `visual`."""
    bare = copy.copy(visual)
    bare._parameters = {**visual._parameters, "proj": None}
    return bare
