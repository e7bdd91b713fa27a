"""Classification metrics from integer labels, and the two accuracies of the pool."""

from typing import NamedTuple

import numpy as np

from labelbench.training import hits


class Predictions(NamedTuple):
    """What metrics need of a model's logits (n, K), which take gigabytes for many classes.

    classes: (n,) int64, the largest logit's; log_likelihood: (n,) float32, of the true class in nats.
    """

    classes: np.ndarray
    log_likelihood: np.ndarray


def classification(true, predicted, num_classes, groups=None):
    """accuracy, balanced_accuracy, macro_f1 and worst_class_accuracy, fractions in [0, 1], of labels (n,) int64.

    Balanced accuracy and macro F1 average the classes that occur in `true`, and the worst class is one of these: a
    class that a split lacks is no zero. With groups (n,) int64 there is worst_group_accuracy as well, the lowest
    accuracy of a group that occurs (WILDS, Koh et al. 2021, arXiv 2012.07421); examples of group −1 belong to none.
    """
    hits, occurring, claimed = (
        np.bincount(classes, minlength=num_classes) for classes in (true[true == predicted], true, predicted)
    )
    present = occurring > 0
    recall = hits[present] / occurring[present]
    f1 = 2 * hits[present] / (occurring + claimed)[present]
    found = {
        "accuracy": float(hits.sum() / occurring.sum()),
        "balanced_accuracy": float(recall.mean()),
        "macro_f1": float(f1.mean()),
        "worst_class_accuracy": float(recall.min()),
    }
    if groups is not None and (grouped := groups >= 0).any():
        sizes = np.bincount(groups[grouped])
        right = np.bincount(groups[grouped], weights=(true == predicted)[grouped])
        found["worst_group_accuracy"] = float((right[sizes > 0] / sizes[sizes > 0]).min())
    return found


def pool(true, predicted, labelled, annotated, num_classes, groups=None):
    """Metrics of the pool (N,) under both definitions.

    `pool_accuracy` (and its balanced and macro F1 forms) counts an example that was bought as the annotator labelled
    it, and as predicted otherwise (LabelBench paper, Appendix F.1: the annotated pool is the product).
    `pool_model_accuracy` uses predictions only, which is what the paper's published tables hold.
    Examples whose true class is unknown (−1) are left out; a pool without any known class has no metrics.
    labelled: (n,) int64 positions that were bought; annotated: (n,) int64 their labels.
    """
    delivered = np.array(predicted)
    delivered[labelled] = annotated
    known = true >= 0
    if not known.any():
        return {}
    groups = None if groups is None else groups[known]
    return {
        f"{name}_{metric}": value
        for name, labels in (("pool", delivered), ("pool_model", predicted))
        for metric, value in classification(true[known], labels[known], num_classes, groups).items()
    }


def of_logits(batches, true):
    """The `Predictions` of logits that come batch by batch, (b, K) float32 arrays; true: (n,) labels of all.

    An example of unknown class (−1) has some class's log-likelihood.
    """
    classes, log_likelihood, begin = [np.empty(0, np.int64)], [np.empty(0, np.float32)], 0
    for logits in batches:
        own, begin = true[begin : begin + len(logits)], begin + len(logits)
        shifted = logits - logits.max(1, keepdims=True)
        log_likelihood.append(shifted[np.arange(len(own)), own] - np.log(np.exp(shifted).sum(1)))
        classes.append(logits.argmax(1))
    return Predictions(np.concatenate(classes), np.concatenate(log_likelihood))


def evaluate(dataset, predictions, labels):
    """Metrics by split of `Predictions` {split: …} on clean views; the pool's need the label set `labels`.

    Test sets have the text `hits` as well: which of their images were predicted right (`training.hits`).
    """
    results = {}
    for split, (predicted, log_likelihood) in predictions.items():
        true, groups = dataset.splits[split].labels, dataset.splits[split].groups
        if split == "pool":
            results[split] = pool(true, predicted, labels.index, labels.label, dataset.num_classes, groups)
        else:
            results[split] = classification(true, predicted, dataset.num_classes, groups)
            results[split]["loss"] = float(-log_likelihood.mean())
            if split != "val":
                results[split]["hits"] = hits.encode(true, predicted, dataset.num_classes)
    return results
