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

    Matrices are the weights of linear layers, of attention's projections (of query, key and value in one, or of each
    where they differ in width, as in CoCa's pooling) and of 1×1 convolutions, which are linear layers of every pixel:
    all of a transformer but its embedding of patches, and most of an EfficientNet. A is drawn from N(0, 1/width), B is
    zero, so that training begins with the pretrained model, whose statistics of batches `training.fit` leaves alone.
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
        for name in _matrices(module):
            parametrize.register_parametrization(module, name, Adapted(getattr(module, name).detach()))


# Where an attention of torch's or of open_clip's has projections of its own, not linear layers.
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


def _matrices(module):
    """The names of those of a module's own parameters that are matrices, by `prepare`."""
    from torch import nn

    pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
    if isinstance(module, nn.Linear) or pointwise:
        return ["weight"]
    return [name for name in _PROJECTIONS if module._parameters.get(name) is not None]
