"""Linear probing, then fine-tuning (Kumar et al. 2022, ICLR, arXiv 2202.10054): labels only.

A head that begins far from its optimum distorts the pretrained features in the first steps of fine-tuning. So the
head is fitted first, on the features as they are; then everything is trained end to end.
"""

from dataclasses import dataclass

from labelbench.training.trainers import passive
from labelbench.training.trainers.passive import objective, unlabelled_batch  # noqa: F401  this trainer's, too

IMAGES_ONLY = True


@dataclass(frozen=True, kw_only=True)
class Config(passive.Config):
    """The settings of `passive` for the second step.

    probe_penalty: λ of the first, which minimises Σ cross-entropy + λ/2 ‖W‖² on features of mean square norm 1.
    """

    probe_penalty: float = 0.03

    def __post_init__(self):
        super().__post_init__()
        if self.probe_penalty <= 0:
            raise ValueError("probe_penalty must be above 0")


def prepare(config, model, features, labels, rng):
    """Fit the head on the clean features of the labelled images, in place of the one it has.

    The default λ is that of the linear probes of CLIP (Radford et al. 2021, A.3: C = 0.316) for features of norm 10.
    """
    import torch

    from labelbench.common.refit import fit_heads

    head = model[1]
    x = features()
    square = sum(float(part.double().square().sum()) for part in x.split(4096)) / len(x)
    # On features of mean square norm 1, weights would be √square times as long, and with them the penalty's share.
    x = torch.cat([x, x.new_ones(len(x), 1)], dim=1).to(head.weight.device)
    targets = torch.as_tensor(labels, device=x.device)
    penalty = config.probe_penalty * square
    weight = fit_heads(x[None], targets[None], len(head.bias), iterations=200, penalty=penalty)[0]
    with torch.no_grad():
        head.weight.copy_(weight[:-1].T)
        head.bias.copy_(weight[-1])
