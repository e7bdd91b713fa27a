"""Selection without the workflow: a strategy on arrays. `from labelbench import select`."""

import numpy as np

from labelbench.common import registry
from labelbench.common.errors import UserError, did_you_mean
from labelbench.selection import shortlist as shortlists
from labelbench.selection.pool import Head, Pool
from labelbench.selection.shards import Shards


class _Seller:
    """What sequential strategies buy from: a function from indices (n,) to their labels (n,)."""

    def __init__(self, answer):
        self._answer = answer

    def buy(self, indices):
        return np.asarray(self._answer(np.atleast_1d(indices)), dtype=np.int64)


def select(
    features=None,
    *,
    strategy: str,
    budget: int,
    labelled=(),
    labels=(),
    probabilities=None,
    head=None,
    num_classes: int | None = None,
    settings: dict | None = None,
    shortlist: dict | None = None,
    seed: int = 0,
    answer=None,
    true_labels=None,
    device: str = "cpu",
) -> np.ndarray:
    """Indices of the `budget` examples to label next: (budget,) int64, in the order of the strategy.

    features: (N, d), a NumPy array or memory map of any float type, a tensor, a `selection.shards.NpyRows`, or a
        list of such (shards). Strategies see them as they are: give what the last layer of your model sees.
    labelled, labels: (L,) indices of the examples that have labels, and these labels, from 0 to K − 1.
    probabilities: (N, K), or head: (weight (K, d), bias (K,)), the last layer, whose softmax they are. A strategy that
        looks into the head (`docs/strategies.md`, column *uses*) needs the latter.
    num_classes: K, where neither says it.
    settings: of the strategy; shortlist: settings of `selection.shortlist.Config`, to choose among a part of the pool.
    seed: an int, or anything that `numpy.random.default_rng` takes; the same seed gives the same picks.
    answer: for sequential strategies, a function from indices (n,) to their labels (n,); it is asked for every pick.
    true_labels: (N,), for upper bounds only, such as `oracle`.
    device: where the strategy computes, as torch spells it.

    Raises UserError (`labelbench.common.errors`) where something is missing, does not fit, or is not there.
    """
    plugin = registry.load("strategies", strategy)
    config = _config(f"settings of {strategy}", plugin.Config, settings)
    short = None if shortlist is None else _config("shortlist", shortlists.Config, shortlist)
    uses = {*plugin.USES, *(shortlists.uses(short) if short else ())}
    pool = _pool(features, labelled, labels, probabilities, head, num_classes, uses, strategy, device)
    extra = {}
    if getattr(plugin, "SEQUENTIAL", False):
        if answer is None:
            raise UserError(f"{strategy} buys each label before it chooses the next: give it `answer`, who sells them.")
        extra["oracle"] = _Seller(answer)
    if getattr(plugin, "UPPER_BOUND", False):
        if true_labels is None:
            raise UserError(f"{strategy} is an upper bound that looks at the labels of the whole pool: `true_labels`.")
        extra["true_labels"] = np.asarray(true_labels, dtype=np.int64)
    rng = np.random.default_rng(seed)
    if not uses:
        return _chosen(plugin, pool, budget, config, short, rng, extra)
    import torch

    with torch.no_grad():
        return _chosen(plugin, pool, budget, config, short, rng, extra)


def _chosen(plugin, pool, budget, config, short, rng, extra):
    pool.check_budget(budget)
    if short:
        pool = shortlists.shortened(pool, budget, short, rng)
    return plugin.select(pool, budget, config, rng, **extra)


def _config(where, config_class, settings):
    """A `Config` with these settings. Raises `UserError` for one that it does not have, or that cannot be."""
    known = list(config_class.__dataclass_fields__)
    for name in settings or {}:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"{where}: there is no {name!r}.{hint} There are: {', '.join(known) or 'none'}.")
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in (settings or {}).items()}
    try:
        return config_class(**tuples)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}") from None


def _pool(features, labelled, labels, probabilities, head, num_classes, uses, strategy, device):
    """The `Pool` of these arrays. Raises `UserError` where they do not fit together, or the strategy needs more."""
    if isinstance(features, list | tuple):
        features = Shards(map(_array, features))
    features, probabilities, labelled, labels = map(_array, (features, probabilities, labelled, labels))
    if features is None and probabilities is None:
        raise UserError("There is no pool: give `features` (N, d) or `probabilities` (N, K).")
    missing = []
    if "features" in uses and features is None:
        missing.append("features")
    if "head" in uses and head is None:
        missing.append("head")
    if "probabilities" in uses and probabilities is None and (head is None or features is None):
        missing.append("probabilities (or head and features)")
    if missing:
        raise UserError(f"{strategy} uses {', '.join(sorted(uses))}: give {', '.join(missing)}.")
    rows = len(probabilities if features is None else features)
    if features is not None and probabilities is not None and len(probabilities) != rows:
        raise UserError(f"There are {rows} rows of features and {len(probabilities)} of probabilities.")
    labelled, labels = (np.asarray(x, dtype=np.int64).reshape(-1) for x in (labelled, labels))
    if len(labelled) != len(labels):
        raise UserError(f"There are {len(labels)} labels for {len(labelled)} labelled examples.")
    if len(labelled) and (labelled.min() < 0 or labelled.max() >= rows or len(np.unique(labelled)) < len(labelled)):
        raise UserError(f"labelled must be different whole numbers from 0 to {rows - 1}.")
    classes = [len(head[1])] if head is not None else []
    classes += [probabilities.shape[1]] if probabilities is not None else []
    num_classes = num_classes or (classes[0] if classes else int(labels.max(initial=0)) + 1)
    if (
        any(found != num_classes for found in classes)
        or labels.max(initial=0) >= num_classes
        or labels.min(initial=0) < 0
    ):
        raise UserError(f"There are {num_classes} classes, but head, probabilities or labels name others.")
    if head is not None:
        head = _head(head, features, device)
    left = np.ones(rows, dtype=bool)
    left[labelled] = False
    return Pool(
        labelled=labelled,
        labels=labels,
        unlabelled=np.flatnonzero(left),
        num_classes=num_classes,
        embed=(lambda indices: features[indices]) if features is not None else _no_features,
        classify=_classify(probabilities, head),
        head=head,
        device=device,
    )


def _array(x):
    """A tensor as an array; what is none, as it is."""
    return x.detach().cpu().numpy() if hasattr(x, "detach") else x


def _head(head, features, device):
    import torch

    weight, bias = (torch.as_tensor(np.asarray(_array(x)), dtype=torch.float32, device=device) for x in head)
    if features is not None and weight.shape != (len(bias), features.shape[1]):
        raise UserError(
            f"The head's weight is {tuple(weight.shape)} and its bias {tuple(bias.shape)}; features of width "
            f"{features.shape[1]} need (K, {features.shape[1]}) and (K,)."
        )
    return Head(weight, bias)


def _no_features(indices):
    """Stands for features where nobody asks for any, but chunks of probabilities come with some."""
    return np.zeros((len(indices), 1), dtype=np.float32)


def _classify(probabilities, head):
    if probabilities is not None:
        return lambda indices, _: probabilities[indices]
    return None if head is None else lambda _, features: head.logits(features).softmax(1)
