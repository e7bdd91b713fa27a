"""FlexMatch (Zhang et al. 2021, arXiv 2110.08263): FixMatch with a confidence threshold per class."""

from dataclasses import dataclass

from labelbench.training.trainers import _semi, fixmatch


@dataclass(frozen=True, kw_only=True)
class Config(fixmatch.Config):
    """The settings of FixMatch; its threshold τ is the highest that a class can have."""


unlabelled_batch = _semi.unlabelled_batch


def objective(config, problem):
    """The loss of one step, and the state it keeps.

        L = CE(labelled, weak view) + λ_u · mean_i 1[max q_i ≥ τ · β_c/(2 − β_c)] · CE(p(strong view), c)

    with q_i the prediction on the weak view without gradient, c its argmax, β_c = σ_c / max(max_k σ_k, N₀); σ_c counts
    the unlabelled examples whose last prediction above τ was c, N₀ those that never had one (§3.2, equations 5–8, with
    the threshold warm-up of equation 11 and the convex mapping of equation 12). Counts are kept up to date from the
    batch; an example occurs at most once in a batch.
    """
    import torch

    k, device = problem.num_classes, problem.device
    last = torch.full((problem.num_unlabelled,), k, device=device)  # class k: never confident
    counts = torch.zeros(k + 1, device=device)
    counts[k] = problem.num_unlabelled

    def teach(q, at):
        confidence, pseudo = q.max(1)
        beta = counts[:k] / counts.max()
        mask = (confidence >= config.threshold * (beta / (2 - beta))[pseudo]).float()
        before = last[at]
        after = torch.where(confidence >= config.threshold, pseudo, before)
        one = torch.ones_like(confidence)
        # Not bincount: on a GPU it waits for the numbers to know the size of its result.
        counts.scatter_add_(0, after, one).scatter_add_(0, before, -one)
        last[at] = after
        return mask, pseudo

    return _semi.consistency(config, problem, teach), {"last": last, "counts": counts}
