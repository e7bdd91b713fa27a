"""What a selection strategy may see of the pool. Importing this module does not import torch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labelbench.common.errors import UserError


class Head(NamedTuple):
    """The model's last layer: `weight` (K, d) and `bias` (K,), float32 tensors on the pool's device."""

    weight: object
    bias: object

    def logits(self, features):
        """(m, K) for features (m, d)."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class Pool:
    """The pool as one round sees it: which examples are labelled, their labels, and the model's view of the others.

    labelled: (L,) int64, indices into the pool in the order of annotation.
    labels: (L,) int64, the annotated labels of `labelled`; no other label can be reached from here.
    unlabelled: (U,) int64, strictly ascending, disjoint from `labelled`.
    num_classes: K; classes that nobody has labelled yet count.
    embed: callable from an int64 array of m indices to their features (m, d), array or tensor of any float type. It is
        called with at most `chunk_size` indices at a time and only when a strategy asks, so a strategy that uses no
        model needs no model.
    classify: callable from (indices, features (m, d) float32) to class probabilities (m, K), called like `embed`.
    head: the model's last layer, for strategies that need more of it than probabilities; None in the first round.
    device: where the tensors that strategies receive live, as torch spells it.

    Raises ValueError where these do not fit together (a label for every example of the pool, for instance).
    """

    labelled: np.ndarray
    labels: np.ndarray
    unlabelled: np.ndarray
    num_classes: int
    embed: Callable | None = None
    classify: Callable | None = None
    head: Head | None = None
    device: str = "cpu"
    chunk_size: int = 8192

    def __post_init__(self):
        for name in ("labelled", "labels", "unlabelled"):
            # A view: of a hundred million indices, a copy is most of the memory.
            array = np.asarray(getattr(self, name), dtype=np.int64).view()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.labelled.shape != self.labels.shape:
            raise ValueError(f"{len(self.labels)} labels for {len(self.labelled)} labelled examples")
        pieces = (self.unlabelled[at : at + 1_000_001] for at in range(0, len(self.unlabelled), 1_000_000))
        if any((piece[1:] <= piece[:-1]).any() for piece in pieces):
            raise ValueError("unlabelled indices must be strictly ascending")
        if np.isin(self.labelled, self.unlabelled).any():
            raise ValueError("an example cannot be both labelled and unlabelled")

    @classmethod
    def from_arrays(cls, features, probabilities, labelled, labels, head=None, device="cpu", chunk_size=8192):
        """A pool whose outputs are already in memory: `features` (N, d) and `probabilities` (N, K), any float type.

        `labelled` and `labels` are (L,) as above; everything else of the N examples is unlabelled.
        """
        features, probabilities = np.asarray(features), np.asarray(probabilities)
        return cls(
            labelled=labelled,
            labels=labels,
            unlabelled=np.setdiff1d(np.arange(len(features)), labelled),
            num_classes=probabilities.shape[1],
            embed=lambda indices: features[indices],
            classify=lambda indices, _: probabilities[indices],
            head=head,
            device=device,
            chunk_size=chunk_size,
        )

    @classmethod
    def from_head(cls, features, head, labelled, labels, device="cpu", chunk_size=8192):
        """A pool of `features` (N, d), any float type, whose probabilities are the softmax of a linear `head`."""
        return cls(
            labelled=labelled,
            labels=labels,
            unlabelled=np.setdiff1d(np.arange(len(features)), labelled),
            num_classes=len(head.bias),
            embed=lambda indices: features[indices],
            classify=lambda _, x: head.logits(x).softmax(1),
            head=head,
            device=device,
            chunk_size=chunk_size,
        )

    def check_budget(self, budget: int) -> None:
        """Raises UserError unless 1 <= `budget` <= number of unlabelled examples."""
        if budget < 1:
            raise UserError(f"A batch of {budget} labels was asked for; ask for at least 1.")
        if budget > len(self.unlabelled):
            raise UserError(
                f"A batch of {budget} labels was asked for, but only {len(self.unlabelled)} examples of the pool are "
                f"unlabelled ({len(self.labelled)} are labelled). Lower the batch size or the number of rounds."
            )

    def chunks(self, indices: np.ndarray) -> Iterator[tuple]:
        """Yields `(rows, features, probabilities)` for `indices`, at most `chunk_size` at a time and in their order.

        rows: slice of `indices`; features: (m, d) and probabilities: (m, K), float32 tensors on `device`. They may
        share memory with the pool: do not write into them. Raises UserError where the model gave NaN or infinity.
        """
        for rows, features in self.feature_chunks(indices):
            yield rows, features, self._tensor(self.classify(indices[rows], features))

    def feature_chunks(self, indices: np.ndarray) -> Iterator[tuple]:
        """Yields `(rows, features)` as `chunks` does, without asking for probabilities."""
        # No indices are one empty chunk, so that what is materialised from it has its width.
        for start in range(0, len(indices) or 1, self.chunk_size):
            rows = slice(start, min(start + self.chunk_size, len(indices)))
            yield rows, self._tensor(self.embed(indices[rows]))

    def _tensor(self, x):
        import torch

        x = torch.as_tensor(x, dtype=torch.float32, device=self.device)
        # One sum is much cheaper than a mask, and NaN and infinity survive it.
        if not torch.isfinite(x.sum()):
            raise UserError(
                "The model's features or probabilities of the pool contain NaN or infinity: its training "
                "diverged. Lower the learning rate, or check the embeddings."
            )
        return x

    def features(self, indices: np.ndarray):
        """Features of `indices`, materialised: (n, d) float32 tensor on `device`, free to be overwritten."""
        return self._materialise(len(indices), self.feature_chunks(indices))[0]

    def probabilities(self, indices: np.ndarray):
        """Class probabilities of `indices`, materialised: (n, K) float32 tensor, free to be overwritten."""
        return self._materialise(len(indices), ((rows, p) for rows, _, p in self.chunks(indices)))[0]

    def features_and_probabilities(self, indices: np.ndarray):
        """Both of the above in one pass over the model."""
        return self._materialise(len(indices), self.chunks(indices))

    def _materialise(self, n, chunks):
        import torch

        out = []
        for rows, *chunk in chunks:
            # Filled in place: concatenating the chunks would need twice the memory.
            out = out or [torch.empty((n, x.shape[1]), device=x.device) for x in chunk]
            for whole, part in zip(out, chunk, strict=True):
                whole[rows] = part
        return out
