"""What a selection takes of memory, from its sizes. Each strategy states its own need; nothing here imports torch.

Constants are measured: tests/planning/test_job_requests.py runs every strategy and compares.
"""

from dataclasses import dataclass, replace

from labelbench.selection import shortlist

# Examples that the model's outputs are computed for at a time, as in `pool.Pool`.
CHUNK = 8192

# Bytes of an example as an index: labelled or not, its order, its place among others.
_INDEX = 48


@dataclass(frozen=True)
class Sizes:
    """unlabelled, labelled: examples of the pool; classes: K; dim: d, the width of features; budget: of the batch."""

    unlabelled: int
    labelled: int
    classes: int
    dim: int
    budget: int

    @property
    def examples(self):
        return self.unlabelled + self.labelled

    def features(self, count):
        """Bytes of the features of so many examples, in float32."""
        return 4 * count * self.dim

    def probabilities(self, count):
        """Bytes of their class probabilities, in float32."""
        return 4 * count * self.classes

    def chunk(self):
        """Bytes of one chunk: embeddings on their way to features, and these to probabilities."""
        return min(self.examples, CHUNK) * (24 * self.dim + 12 * self.classes)

    def chunk_in_float64(self):
        """Bytes that are added where a chunk is computed with in float64: features, and five times the logits."""
        return min(self.examples, CHUNK) * (8 * self.dim + 40 * self.classes)

    def k_means(self, count, clusters):
        """Bytes of `clustering.k_means` beyond the features of these examples."""
        clusters = min(clusters, count)
        if count * clusters <= ONE_LEVEL:
            return 24 * count + 36 * clusters * self.dim
        # Two levels: the largest group, taken to be of three times the mean size, and the centres of all.
        groups = max(round(clusters**0.5), 1)
        largest = self.features(3 * count // groups) + 3 * 36 * (clusters // groups) * self.dim
        return 24 * count + 8 * clusters * self.dim + largest

    def coverage(self, largest_part):
        """Bytes of `coverage.select`: features in float32, and in float64 before and after they are scaled."""
        parts = max(-(-self.unlabelled // largest_part), 1)
        part = -(-self.unlabelled // parts)
        return 5 * self.features(part) + 2 * self.features(self.labelled)

    def matrix(self, dim):
        """Bytes of a float64 matrix on pairs of class and feature; larger ones than some are refused, not made."""
        return 8 * min((self.classes - 1) * dim, LARGEST_MATRIX) ** 2

    def products(self, dim, classes):
        """Bytes of the temporaries of `fisher.Softmax.information`: nine of 2²² values, or of fewer if few examples."""
        pairs = max(classes * (classes + 1), dim * (dim + 1)) // 2
        return 9 * 8 * min(1 << 22, self.examples * pairs)


# As in `clustering` and `fisher`, which import torch; a test compares.
ONE_LEVEL, LARGEST_MATRIX = 5e8, 12_000


def looks(strategy, short=None) -> bool:
    """Whether a selection looks at the pool's embeddings: for its strategy, a plug-in or None, or for its shortlist."""
    used = {*strategy.USES} if strategy else set()
    return bool((used | set(shortlist.uses(short) if short else ())) - {"labels"})


def of(strategy, config, sizes: Sizes, short=None) -> int:
    """Bytes that a strategy's plug-in takes at its peak beside the embeddings and the process, on a CPU.

    short: its `shortlist.Config`, or None. A plug-in without a function `memory` is taken to hold what it uses as those
    do that hold most: features five times, probabilities twice.
    """
    taken = _INDEX * sizes.examples
    if strategy is None:
        return taken
    if looks(strategy, short):
        taken += sizes.chunk()
    if short:
        if "kmeans" in shortlist.ways(short):
            sample = min(shortlist.SAMPLE, sizes.unlabelled)
            taken += sizes.features(sample) + sizes.k_means(sample, short.cells)
        sizes = replace(sizes, unlabelled=min(sizes.unlabelled, short.size))
    if hasattr(strategy, "memory"):
        return taken + strategy.memory(config, sizes)
    if "features" in strategy.USES:
        taken += 5 * sizes.features(sizes.examples)
    if "probabilities" in strategy.USES:
        taken += 2 * sizes.probabilities(sizes.examples)
    return taken
