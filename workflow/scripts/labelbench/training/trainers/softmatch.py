"""SoftMatch (Chen et al. 2023, arXiv 2301.10921): a weight that grows with confidence in the place of a threshold."""

from dataclasses import dataclass

from labelbench.training.trainers import _semi


@dataclass(frozen=True, kw_only=True)
class Config(_semi.SemiSupervised):
    """The settings of semi-supervised training, and those of the weights.

    ema: momentum of the moving averages, in long trainings (`_semi.momentum`). n_sigma: n_σ, 1 in the paper's formula,
    2 in the authors' code. alignment: whether the weights see predictions that make all classes equally frequent.
    """

    ema: float = 0.999
    n_sigma: float = 2.0
    alignment: bool = True

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.ema < 1:
            raise ValueError("ema must be at least 0, below 1")
        if self.n_sigma <= 0:
            raise ValueError("n_sigma must be above 0")


unlabelled_batch = _semi.unlabelled_batch


def objective(config, problem):
    """The loss of one step, and the state it keeps.

        L = CE(labelled, weak view) + λ_u · mean_i w_i · CE(p(strong view), argmax q_i)
        w_i = exp(−min(max q̂_i − μ, 0)² / (2 σ²/n_σ²)),   q̂_i ∝ q_i / p̃

    with q_i the prediction on the weak view without gradient; p̃, μ, σ² moving averages of the mean of q_i and of the
    mean and variance of max q̂_i over a batch, from 1/K, 1/K and 1 (§3.1; uniform alignment: §3.2). Only weights see
    q̂_i: the pseudo-label is that of q_i itself.
    """
    import torch

    k, device, m = problem.num_classes, problem.device, _semi.momentum(config, problem)
    average = torch.full((k,), 1 / k, device=device)
    mean, variance = torch.tensor(1 / k, device=device), torch.tensor(1.0, device=device)

    def teach(q, at):
        aligned = q
        if config.alignment:
            average.lerp_(q.mean(0), 1 - m)
            aligned = q / average.clamp(min=1e-6)
            aligned = aligned / aligned.sum(1, keepdim=True)
        confidence = aligned.amax(1)
        mean.lerp_(confidence.mean(), 1 - m)
        # One example has no variance of its own.
        variance.lerp_(confidence.var(correction=min(1, len(q) - 1)), 1 - m)
        below = (confidence - mean).clamp(max=0)
        weights = torch.exp(-below.square() * config.n_sigma**2 / (2 * variance.clamp(min=1e-12)))
        return weights, q.argmax(1)

    return _semi.consistency(config, problem, teach), {"average": average, "mean": mean, "variance": variance}
