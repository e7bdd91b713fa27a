"""Pseudo-Label (Lee 2013, ICML workshop on challenges in representation learning)."""

from dataclasses import dataclass

from labelbench.training.trainers import _semi


@dataclass(frozen=True, kw_only=True)
class Config(_semi.SemiSupervised):
    """The settings of semi-supervised training, and the confidence threshold τ of later versions (0: Lee's own).

    supervised_warmup and ramp are Lee's schedule α(t) (equation 16), T₁ and T₂ - T₁ as fractions of all steps.
    """

    threshold: float = 0.95
    ramp: float = 0.4

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.threshold < 1:
            raise ValueError("threshold is a probability: at least 0, below 1")


unlabelled_batch = _semi.unlabelled_batch


def objective(config, problem):
    """The loss of one step (equation 15, with cross-entropy); it keeps no state.

        L = CE(labelled, weak view) + λ_u · mean_i 1[max q_i ≥ τ] · CE(p(weak view), argmax q_i)

    One prediction is teacher, q, without gradient, and student, p, with it: it becomes surer of what it predicts.
    """

    def teach(q, at):
        confidence, pseudo = q.max(1)
        return (confidence >= config.threshold).float(), pseudo

    return _semi.consistency(config, problem, teach, student="weak"), {}
