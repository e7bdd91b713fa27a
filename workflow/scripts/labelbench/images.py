"""Images on their way into a model: clean batches for evaluation, live weak and strong views for fine-tuning."""

import torch
from torch import nn

from labelbench.views import image_seed

CLEAN_BATCH = 256


def clean_batches(images, source, transform, device):
    """Batches (≤ 256, 3, H, W) float32 of the clean view of the images at positions `source`, in order."""
    for begin in range(0, len(source), CLEAN_BATCH):
        yield torch.stack([transform(images(int(at))) for at in source[begin : begin + CLEAN_BATCH]]).to(device)


class LiveViews:
    """Weak and strong views of pool images, drawn anew each time an image is seen.

    source: (N,) positions of the pool's images; address: text that names the run, trial and round. A view depends on
    the dataset, the address, the image and how often it was used before, on nothing else.
    """

    def __init__(self, images, source, views, fingerprint, address, device):
        self._images, self._source, self._views = images, source, views
        self._fingerprint, self._address, self._device = fingerprint, address, device
        self._visits = {}

    def _seed(self, index, role):
        """One seed per visit of an image: the n-th time it is used in a role gives the n-th view."""
        visit = self._visits[index, role] = self._visits.get((index, role), -1) + 1
        return image_seed(self._fingerprint, f"{self._address}/{role}/{visit}", index)

    def weak(self, indices, epoch):
        """Weak views (B, 3, H, W) of pool positions, for the labelled examples."""
        drawn = [self._views.weak(self._images(int(self._source[i])), self._seed(int(i), "weak")) for i in indices]
        return torch.stack(drawn).to(self._device)

    def pair(self, indices, epoch):
        """Weak and strong views (U, 3, H, W) each of pool positions, for the unlabelled examples."""
        drawn = [
            self._views.weak_and_strong(self._images(int(self._source[i])), self._seed(int(i), "pair")) for i in indices
        ]
        weak, strong = zip(*drawn, strict=True)
        return torch.stack(weak).to(self._device), torch.stack(strong).to(self._device)


def classifier(encoder, head, num_classes, seed):
    """The encoder's image side with a linear classifier on top, all of it trainable.

    head: zero-shot weights (K, e), with zero bias, or None for a random initialisation drawn from `seed`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(encoder.backbone_dim, num_classes)
    if head is not None:
        with torch.no_grad():
            linear.weight.copy_(head)
            linear.bias.zero_()
    return nn.Sequential(encoder.backbone, linear)
