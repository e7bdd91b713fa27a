"""FixMatch (Sohn et al. 2020, arXiv 2001.07685): what is confident on the weak view teaches the strong one."""

from dataclasses import dataclass

from labelbench.training.trainers import _semi


@dataclass(frozen=True, kw_only=True)
class Config(_semi.SemiSupervised):
    """The settings of semi-supervised training, and the confidence threshold τ."""

    threshold: float = 0.95

    def __post_init__(self):
        super().__post_init__()
        _semi.check_threshold(self.threshold)


unlabelled_batch = _semi.unlabelled_batch


def objective(config, problem):
    """The loss of one step (§2.2, equations 3 and 4); it keeps no state.

        L = CE(labelled, weak view) + λ_u · mean_i 1[max q_i ≥ τ] · CE(p(strong view), argmax q_i)

    with q_i the prediction on the weak view, without gradient.
    """

    def teach(q, at):
        confidence, pseudo = q.max(1)
        return (confidence >= config.threshold).float(), pseudo

    return _semi.consistency(config, problem, teach), {}
