"""Uncertainty herding: greedy coverage weighted by calibrated uncertainty (Bae et al. 2025)."""

from dataclasses import dataclass

import numpy as np

from labelbench.selection.pool import Pool

USES = ("features", "probabilities", "labels")


@dataclass(frozen=True)
class Config:
    """held_out: share of the labelled examples that the temperature is calibrated on.
    temperatures: smallest, largest and step of those tried.
    bins: of the expected calibration error.
    largest_part: more unlabelled examples than this are covered in random parts, see `selection.coverage.select`."""

    held_out: float = 0.2
    temperatures: tuple[float, float, float] = (1.0, 20.0, 0.1)
    bins: int = 15
    largest_part: int = 50_000

    def __post_init__(self):
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}; it must be between 0 and 1")
        lowest, highest, step = self.temperatures
        if not (0 < lowest <= highest and step > 0):
            raise ValueError(f"temperatures are {self.temperatures}; they must be positive, the smallest first")
        if self.bins < 1:
            raise ValueError(f"bins is {self.bins}; it must be at least 1")
        if self.largest_part < 1:
            raise ValueError(f"largest_part is {self.largest_part}; it must be at least 1")


def memory(config, sizes):
    """Bytes at the peak, see `selection.memory`: of the coverage, and of scikit-learn."""
    return 170_000_000 + 2 * sizes.features(sizes.labelled) + sizes.coverage(config.largest_part)


def select(pool: Pool, budget: int, config: Config, rng: np.random.Generator) -> np.ndarray:
    """Indices of `budget` unlabelled examples that cover what the model is uncertain of: (budget,) int64.

    Greedy coverage as in `maxherding`, but the mean over the pool is weighted by u = 1 − (p(1) − p(2)), p the
    probabilities at a temperature T, and the kernel's σ is the smallest distance between two labelled examples that
    differ, or 1 where no two do. So it narrows from coverage to uncertainty as labels are added, without a switch.

    T has the smallest expected calibration error on `held_out` of the labelled examples, drawn at random, of a model
    that has seen only the others. The paper trains its model again for that; here a logistic regression (scikit-learn's
    defaults) on the same features stands in. T is 1 where there is nothing to hold out or only one class to train on.
    Cost and memory as those of `maxherding`, with O(L²d) for σ and the regression's O(LKd) an iteration.
    Raises UserError if fewer than `budget` examples are unlabelled.
    Bae, Oliveira & Sutherland, "Uncertainty herding: one active learning method for all label budgets", ICLR 2025.
    """
    pool.check_budget(budget)
    from labelbench.selection import coverage, temporaries

    labelled = pool.features(pool.labelled)
    temperature = _temperature(labelled.cpu().double().numpy(), pool.labels, config, rng)
    sigma = _smallest_distance(coverage.unit(labelled)) or 1.0

    def uncertainty(indices):
        # Chunk by chunk: the probabilities of a part at 1,000 classes would be as large as its features.
        parts = (_uncertainty(p.double(), temperature) for _, _, p in pool.chunks(indices))
        return temporaries.joined(parts, len(indices))

    return coverage.select(
        pool, budget, coverage.Gaussian(sigma), rng, weigh=uncertainty, largest_part=config.largest_part
    )


def _uncertainty(probabilities, temperature):
    """1 − margin (m,) of probabilities (m, K) at a temperature; softmax(log p / T) is p^(1/T), normalised."""
    tempered = probabilities.pow(1 / temperature)
    first, second = tempered.topk(2, dim=1).values.unbind(1)
    return 1 - (first - second) / tempered.sum(1)


def _temperature(features, labels, config, rng):
    """The calibrated temperature from features (L, d) float64 and labels (L,)."""
    held_out = round(config.held_out * len(labels))
    order = rng.permutation(len(labels))
    training, validation = order[held_out:], order[:held_out]
    if not held_out or len(np.unique(labels[training])) < 2:
        return 1.0
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(features[training], labels[training])
    log_probabilities = model.predict_log_proba(features[validation])
    correct = model.classes_[log_probabilities.argmax(1)] == labels[validation]
    lowest, highest, step = config.temperatures
    tried = lowest + step * np.arange(int((highest - lowest) / step + 1e-9) + 1)
    errors = [_calibration_error(log_probabilities / t, correct, config.bins) for t in tried]
    # Rounded: of temperatures that are as good the smallest.
    return float(tried[np.round(errors, 9).argmin()])


def _calibration_error(logits, correct, bins):
    """Expected calibration error of the softmax of logits (m, K) whose largest are `correct` or not (m,)."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    confidence = 1 / e.sum(1)
    bin_of = np.ceil(np.round(confidence * bins, 9)).astype(int)
    return np.abs(np.bincount(bin_of, weights=correct - confidence)).sum() / len(correct)


def _smallest_distance(x):
    """Smallest distance between rows of x, (L, d) float64, that float32 can tell apart; 0 where there are none."""
    from labelbench.selection import temporaries
    from labelbench.selection.coverage import RESOLUTION, squared_distances

    if len(x) < 2:
        return 0.0
    x32 = x.float()
    rows = (_distinct(squared_distances(rows, x32)).amin(1) for rows in x32.split(512))
    smallest = temporaries.joined(rows, len(x32))
    if not smallest.isfinite().any():
        return 0.0
    # Which of those that float32 cannot tell apart is the smallest, float64 decides.
    closest = x[smallest <= smallest.min() + RESOLUTION]
    return min(float(_distinct(squared_distances(rows, x)).min()) for rows in closest.split(512)) ** 0.5


def _distinct(squared):
    """Squared distances, infinite where float32 takes both for the same."""
    from labelbench.selection.coverage import RESOLUTION

    return squared.masked_fill_(squared <= RESOLUTION, float("inf"))
