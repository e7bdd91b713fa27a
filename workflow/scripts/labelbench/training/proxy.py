"""A proxy: standardisation, the plug-in's hidden layers, a linear classifier; and its file."""

import torch
from torch import nn

from labelbench.common import registry, tensor_files
from labelbench.common.classifier import Classifier


class Proxy(nn.Module):
    """Maps embeddings (n, d), float16 or float32, to logits (n, K) float32.

    The embedding is standardised first, by the pool's mean and deviation per dimension, so that one learning rate
    serves every encoder.
    """

    def __init__(self, settings, mean, std, num_classes):
        super().__init__()
        scale = 1 / torch.as_tensor(std)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", -torch.as_tensor(mean) * scale)
        plugin, config = registry.configured("proxies", settings)
        self.hidden, width = plugin.hidden(config, len(mean))
        self.head = Classifier(width, num_classes)

    def features(self, x):
        """What strategies see of an example: (n, w) float32, the classifier's input."""
        return self.hidden(torch.addcmul(self.shift, x.float(), self.scale))

    def forward(self, x):
        return self.head(self.features(x))


def build(settings, mean, std, num_classes, seed):
    """A proxy with torch's default random initialisation drawn from `seed` (int), whatever was drawn before.

    settings: the plug-in's `name` and settings; mean, std: (d,) float32 of the pool's clean embeddings.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed sets those of GPUs for good
        return Proxy(settings, mean, std, num_classes)


def save(path, proxy, settings, code):
    """Write weights as safetensors, with the proxy's settings (a dict) and code digest in the header."""
    tensor_files.save(path, proxy.state_dict(), {"settings": settings, "code": code})


def load(path):
    """The proxy in a file made by `save`, ready for inference."""
    tensors, made_by = tensor_files.load(path, "proxy", ("shift", "head.bias"), ("settings",))
    unset = torch.ones_like(tensors["shift"])
    proxy = Proxy(made_by["settings"], unset, unset, len(tensors["head.bias"]))
    proxy.load_state_dict(tensors)
    return proxy.eval().requires_grad_(False)
