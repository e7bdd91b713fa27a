"""FreeMatch (Wang et al. 2023, arXiv 2205.07246): thresholds that follow the confidence, and fairness."""

from dataclasses import dataclass

from labelbench.training.trainers import _semi


@dataclass(frozen=True, kw_only=True)
class Config(_semi.SemiSupervised):
    """The settings of semi-supervised training; ema: momentum of the moving averages, in long trainings
    (`_semi.momentum`); fairness_weight: w_f, the paper's 0.01 of few labels (elsewhere it takes 0.05).
    """

    ema: float = 0.999
    fairness_weight: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.ema < 1:
            raise ValueError("ema must be at least 0, below 1")
        if self.fairness_weight < 0:
            raise ValueError("fairness_weight cannot be negative")


unlabelled_batch = _semi.unlabelled_batch


def objective(config, problem):
    """The loss of one step, and the state it keeps.

        L = CE(labelled, weak view) + λ_u · mean_i m_i · CE(p(strong view), argmax q_i) + w_f · L_f
        m_i = 1[max q_i ≥ τ · p̃_c / max_k p̃_k],   c = argmax q_i
        L_f = Σ_k N(p̃/h̃)_k · log N(p̄/h̄)_k,   N(x) = x / Σ x

    with q_i the prediction on the weak view without gradient; τ, p̃, h̃ moving averages of the mean of max q_i, the mean
    of q_i and the frequencies of argmax q_i in a batch, all from 1/K (its self-adaptive thresholding); p̄ the mean
    prediction and h̄ the frequencies of predicted classes over the strong views of examples with m_i = 1, with gradient
    through p̄ (its self-adaptive fairness). A class that none of these is taken for has 0 in p̄/h̄, as in the authors'
    code.
    """
    import torch

    k, device, m = problem.num_classes, problem.device, _semi.momentum(config, problem)
    threshold = torch.tensor(1 / k, device=device)
    average, frequency = torch.full((k,), 1 / k, device=device), torch.full((k,), 1 / k, device=device)

    def frequencies(classes, weights):
        return torch.zeros(k, device=device).scatter_add_(0, classes, weights) / len(classes)

    def teach(q, at):
        confidence, pseudo = q.max(1)
        threshold.lerp_(confidence.mean(), 1 - m)
        average.lerp_(q.mean(0), 1 - m)
        frequency.lerp_(frequencies(pseudo, torch.ones_like(confidence)), 1 - m)
        return (confidence >= threshold * (average / average.max())[pseudo]).float(), pseudo

    def fairness(logits, mask):
        p = logits.softmax(1)
        mean, seen = (mask[:, None] * p).mean(0), frequencies(p.argmax(1), mask)
        share = torch.where(seen > 0, mean / seen.clamp(min=1 / len(p)), 0.0)
        share = share / share.sum().clamp(min=1e-12)
        target = average / frequency.clamp(min=1e-12)
        # Times 0 where the mask lets nothing through.
        return config.fairness_weight * mask.max() * (target / target.sum() * (share + 1e-12).log()).sum()

    state = {"threshold": threshold, "average": average, "frequency": frequency}
    return _semi.consistency(config, problem, teach, extra=fairness), state
