"""Unsupervised data augmentation, UDA (Xie et al. 2020, arXiv 1904.12848)."""

from dataclasses import dataclass

from labelbench.training.trainers import _semi


@dataclass(frozen=True, kw_only=True)
class Config(_semi.SemiSupervised):
    """The settings of semi-supervised training, the confidence threshold β and the temperature of the targets.

    Defaults are the paper's for CIFAR-10. Its annealing of the labelled loss (TSA) is not implemented.
    """

    threshold: float = 0.8
    temperature: float = 0.4

    def __post_init__(self):
        super().__post_init__()
        _semi.check_threshold(self.threshold)
        if self.temperature <= 0:
            raise ValueError("temperature must be above 0")


unlabelled_batch = _semi.unlabelled_batch


def objective(config, problem):
    """The loss of one step (equation 1, with confidence-based masking and sharpened targets); it keeps no state.

        L = CE(labelled, weak view) + λ_u · mean_i 1[max q_i > β] · CE(p(strong view), q_i^(1/T) / Σ_c q_ic^(1/T))

    with q_i the prediction on the weak view, without gradient. The mean is over all unlabelled examples of the step,
    not only those that the mask lets through.
    """

    def teach(q, at):
        sharpened = q.pow(1 / config.temperature)
        return (q.amax(1) > config.threshold).float(), sharpened / sharpened.sum(1, keepdim=True)

    return _semi.consistency(config, problem, teach), {}
