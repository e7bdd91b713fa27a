"""Low-rank adapters on the encoder (LoRA: Hu et al. 2022, ICLR, arXiv 2106.09685) and its classifier: labels only.

Pretrained weights stay as they are; a matrix W of them acts as W + (α/r) B A, with B A of rank r (§4.1).
"""

from dataclasses import dataclass

from labelbench.training.trainers import passive
from labelbench.training.trainers.passive import objective, unlabelled_batch  # noqa: F401  this trainer's, too

IMAGES_ONLY = True


@dataclass(frozen=True, kw_only=True)
class Config(passive.Config):
    """The settings of `passive`, and `rank` r and `alpha` α of the adapters."""

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self):
        super().__post_init__()
        if self.rank < 1:
            raise ValueError("rank must be at least 1")


def prepare(config, model, features, labels, rng):
    """Freeze the backbone and put adapters on its matrices, which become its only parameters that are trained.

    Matrices are the weights of linear layers, of attention's projections (of query, key and value in one) and of 1×1
    convolutions, which are linear layers of every pixel: all of a transformer but its embedding of patches, and most of
    an EfficientNet. A is drawn from N(0, 1/width), B is zero, so that training begins with the pretrained model.
    """
    import torch
    from torch import nn
    from torch.nn.utils import parametrize

    class Adapted(nn.Module):
        """W → W + (α/r) B A."""

        def __init__(self, weight):
            super().__init__()
            rows, columns = weight.shape[0], weight[0].numel()
            drawn = rng.normal(scale=columns**-0.5, size=(config.rank, columns))
            self.a = nn.Parameter(torch.as_tensor(drawn, dtype=weight.dtype, device=weight.device))
            self.b = nn.Parameter(weight.new_zeros(rows, config.rank))

        def forward(self, weight):
            return weight + (config.alpha / config.rank) * (self.b @ self.a).view_as(weight)

    backbone = model[0].requires_grad_(False)
    # A list, because the adapters become modules of the backbone, too.
    for module in list(backbone.modules()):
        pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
        if isinstance(module, nn.Linear) or pointwise:
            parametrize.register_parametrization(module, "weight", Adapted(module.weight.detach()))
        elif isinstance(module, nn.MultiheadAttention):
            parametrize.register_parametrization(module, "in_proj_weight", Adapted(module.in_proj_weight.detach()))
