"""CLIP models by way of open_clip (Radford et al. 2021; Ilharco et al. 2021): image tower and zero-shot head.

One path for all of them: OpenAI's ViT-B/32 by its tag, a checkpoint of it in a file, and a model that only exists
as a configuration file beside its checkpoint, such as this project's `glyphclip`. CoCa (Yu et al. 2022) and SigLIP
(Zhai et al. 2023) are CLIPs in this: an image tower and a text tower with one joint space.
"""

import difflib
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from labelbench.common import shipped
from labelbench.common.errors import UserError


@dataclass(frozen=True)
class Config:
    """`model`: a name open_clip knows. `pretrained`: a tag open_clip knows for it, or the path of a checkpoint.

    `model_config`: path of a JSON file that describes the model, for one that open_clip does not know; the file's
    name without its ending must be `model`. `projection`: embed into the joint space of images and texts, else take
    the pooled features before the projection. `precision`: `float32`, `bfloat16`, or `auto`, which is the latter on a
    GPU that has it natively; of embedding only.

    Images are resized (`resize_mode`, `interpolation`) and normalised (`mean`, `std`, of pixels from 0 to 1) as in the
    model's training. What is not set here a tag says, and OpenAI's own files are known; for another file, `like` names
    the tag that its weights were trained like, else it is what all tags of the model share: `load` refuses where they
    differ. A model without tags has OpenAI's.

    OpenAI's and some other early checkpoints were trained with an approximate activation. Tags, `like` and OpenAI's own
    files say so themselves; for other copies of these weights name the model whose name ends in -quickgelu.
    """

    model: str
    pretrained: str
    model_config: str = ""
    projection: bool = True
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    like: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: Literal["", "bicubic", "bilinear"] = ""
    resize_mode: Literal["", "shortest", "longest", "squash"] = ""

    def __post_init__(self):
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (0, 3):
                raise ValueError(f"{name} needs three numbers, for red, green and blue")
        if self.std and min(self.std) <= 0:
            raise ValueError("std must be above 0: pixels are divided by it")
        if self.like and not _is_path(self.pretrained):
            raise ValueError(f"like is for a checkpoint in a file; the tag {self.pretrained} says itself what it needs")


def files(config):
    """Paths of the local files that `load` reads; none for a tag."""
    config = _located(config)
    checkpoint = [config.pretrained] if _is_path(config.pretrained) else []
    return [config.model_config] * bool(config.model_config) + checkpoint


def _located(config):
    """The same config, with the places of files that the workflow ships."""
    return replace(
        config,
        model_config=shipped.find(config.model_config) if config.model_config else "",
        pretrained=shipped.find(config.pretrained) if _is_path(config.pretrained) else config.pretrained,
    )


def has_text_tower(config):
    """Whether `load` gives a zero-shot head: a CLIP always does."""
    return True


def load(config, device="cpu"):
    """The `Encoder` on `device`, in float32.

    The zero-shot head is W_k = normalize(mean_t normalize(text(t, k))) · exp(logit scale) (Radford et al. 2021,
    §3.1.4), so that its product with a normalised image embedding is CLIP's logits. SigLIP adds one learned bias to
    every logit; over classes that exclude each other it cancels in the softmax, so the head needs none.
    Raises `UserError` for a model, tag, file or checkpoint that cannot be what was meant.
    """
    from labelbench.common import torchvision_cpu  # noqa: F401  before open_clip

    import open_clip  # isort: skip
    import torch
    import torch.nn.functional as F

    from labelbench.common.tensor_files import hash_tensors
    from labelbench.embedding.encoder import Encoder, embedding, resolved_precision
    from labelbench.embedding.encoders._clip_tower import ImageTower, without_projection

    config = _located(config)
    for file in files(config):
        if Path(file).exists():
            shipped.check(file)
    _check_model(config)
    _check_pretrained(config)
    openai_file = _is_openai_file(config)
    tag = open_clip.get_pretrained_cfg(config.model.replace("/", "-"), config.like or config.pretrained)
    preprocessing = {f"image_{name}": value for name, value in _preprocessing(config, openai_file).items()}
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            config.model,
            config.pretrained,
            device=device,
            **preprocessing,
            # open_clip only warns where the activation is not the one that a tag's weights were trained with.
            force_quick_gelu=openai_file or tag.get("quick_gelu", False),
            # torch reads TorchScript only so. It does not unpickle it: nothing in the file is run here.
            weights_only=not openai_file,
        )
    except Exception as error:
        raise _explained(config, error) from error
    model.eval()
    if config.projection:
        features = ImageTower(model.visual, normalize=False)
    elif isinstance(model.visual, open_clip.transformer.VisionTransformer):
        features = ImageTower(without_projection(model.visual), normalize=False)
    else:
        raise UserError(
            f"encoder {config.model}: projection: false needs open_clip's own vision transformer, and this model's "
            f"image tower is a {type(model.visual).__name__}. Leave projection at true."
        )
    backbone = ImageTower(model.visual, normalize=True).eval()
    precision = resolved_precision(config.precision, device)

    @torch.inference_mode()
    def zero_shot_head(class_names, templates):
        for template in templates:
            if "{}" not in template:
                raise UserError(f"The prompt template {template!r} has no {{}} where the class name goes.")
        tokenize = _tokenizer(config)
        rows = []
        for name in class_names:
            texts = tokenize([template.replace("{}", name) for template in templates]).to(device)
            rows.append(F.normalize(model.encode_text(texts, normalize=True).mean(0), dim=0))
        return (torch.stack(rows) * model.logit_scale.exp()).float().cpu()

    with torch.inference_mode():
        blank = torch.zeros(1, 3, *open_clip.model.to_2tuple(model.visual.image_size), device=device)
        dim, backbone_dim = features(blank).shape[1], backbone(blank).shape[1]
    return Encoder(
        embed=embedding(features, precision, device),
        precision=precision,
        dim=dim,
        backbone=backbone,
        backbone_dim=backbone_dim,
        transform=transform,
        weights_hash=hash_tensors(model.state_dict()),
        zero_shot_head=zero_shot_head,
    )


def _is_path(pretrained):
    # No tag of open_clip has a slash or a dot in it.
    return "/" in pretrained or "." in pretrained


def _is_openai_file(config):
    return _is_path(config.pretrained) and _is_torchscript(config.pretrained)


def _preprocessing(config, openai_file):
    """How images are made for the model: `mean`, `std`, `interpolation`, `resize_mode`.

    Raises `UserError` where the config leaves something open in which the tags of the model differ.
    """
    import open_clip

    model, plain = config.model.replace("/", "-"), open_clip.transform.PreprocessCfg()

    def of_tag(name):
        """What a tag says, as far as the config does not."""
        says = open_clip.get_pretrained_cfg(model, name) | {k: v for k, v in said.items() if v}
        found = {key: says.get(key) or getattr(plain, key) for key in said}
        return {key: tuple(value) if key in ("mean", "std") else value for key, value in found.items()}

    said = {key: getattr(config, key) for key in ("mean", "std", "interpolation", "resize_mode")}
    if not _is_path(config.pretrained):
        return of_tag(config.pretrained)
    if config.like or openai_file:
        return of_tag(config.like or "openai")
    ways = {}
    for tag in open_clip.list_pretrained_tags_by_model(model) or [""]:
        way = of_tag(tag)
        ways.setdefault(tuple(way.values()), (way, []))[1].append(tag)
    if len(ways) == 1:
        return next(iter(ways.values()))[0]
    differing = [key for key in said if len({way[key] for way, _ in ways.values()}) > 1]
    lines = [f"{', '.join(f'{key} {way[key]}' for key in differing)}: {', '.join(tags)}" for way, tags in ways.values()]
    raise UserError(
        f"encoder {config.model}: weights of this model were trained on images made in different ways, and the file "
        f"{config.pretrained} does not say which are its own:\n  "
        + "\n  ".join(lines)
        + f"\nName the tag that it was trained like, for instance `like: {next(iter(ways.values()))[1][0]}`, or set "
        + f"{' and '.join(f'`{key}`' for key in differing)}."
    )


def _is_torchscript(path):
    """Whether this is a program with weights, the form in which OpenAI, and nobody else, published CLIPs."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:] == ["constants.pkl"] for name in archive.namelist())


def _tokenizer(config):
    """The model's tokenizer. Raises `UserError` where it is neither part of open_clip nor to be had."""
    import open_clip

    try:
        return open_clip.get_tokenizer(config.model)
    except (ImportError, OSError) as error:
        source = open_clip.get_model_config(config.model)["text_cfg"].get("hf_tokenizer_name")
        raise UserError(
            f"encoder {config.model}: its zero-shot head needs the tokenizer {source} of the Hugging Face hub: {error} "
            "Install what loads it, `pip install transformers sentencepiece`. It is downloaded at first use; without "
            "internet here, copy the folder ~/.cache/huggingface from a machine where that was done."
        ) from error


def _check_model(config):
    """Register the model's configuration file, if there is one, and see that open_clip knows the model."""
    import open_clip

    if config.model_config:
        path = Path(config.model_config)
        if not path.is_file():
            raise UserError(f"encoder {config.model}: model_config {path} does not exist.")
        # open_clip reads all registered files again at each registration, so a broken one must not get in.
        try:
            complete = {"embed_dim", "vision_cfg", "text_cfg"} <= json.loads(path.read_text()).keys()
        except (ValueError, AttributeError) as error:
            raise UserError(f"encoder {config.model}: model_config {path} is not a JSON object: {error}") from error
        if not complete:
            raise UserError(f"encoder {config.model}: model_config {path} must have embed_dim, vision_cfg, text_cfg.")
        if path.stem != config.model:
            raise UserError(
                f"open_clip names a model after its configuration file: {path} describes {path.stem!r}, "
                f"but the encoder's model is {config.model!r}. Make the two the same."
            )
        open_clip.add_model_config(path)
    known = open_clip.list_models()
    if config.model.replace("/", "-") not in known:
        close = difflib.get_close_matches(config.model, known, n=3, cutoff=0.5)
        hint = f" Close to it: {', '.join(close)}." if close else ""
        raise UserError(
            f"open_clip knows no model {config.model!r}.{hint} All names: open_clip.list_models(); "
            "a model of your own needs a model_config."
        )


def _check_pretrained(config):
    """See that the tag or the file exists, and the tag that it is `like`, before anything is built or downloaded."""
    import open_clip

    model = config.model.replace("/", "-")
    if _is_path(config.pretrained) and not Path(config.pretrained).is_file():
        raise UserError(f"encoder {config.model}: the checkpoint {config.pretrained} does not exist.")
    tag = config.like if _is_path(config.pretrained) else config.pretrained
    if tag and not open_clip.pretrained.is_pretrained_cfg(model, tag):
        tags = open_clip.list_pretrained_tags_by_model(model)
        raise UserError(
            f"encoder {config.model}: open_clip has no weights tagged {tag!r} for it. "
            + (f"Its tags: {', '.join(tags)}." if tags else "It has no tags at all.")
            + " A checkpoint file is named by a path with a / or an ending (./weights.pt)."
        )


def _explained(config, error):
    """The `UserError` for open_clip's failure to load the weights, or `error` itself if they are not to blame."""
    import open_clip

    from labelbench.embedding.encoder import disagreements

    if not _is_path(config.pretrained):
        return UserError(
            f"encoder {config.model}: the weights tagged {config.pretrained!r} could not be loaded: {error} "
            "They are downloaded at first use; without internet here, download them where there is, copy the file, "
            f"write its path as `pretrained`, and `like: {config.pretrained}`, so that images are made for it alike."
        )
    try:
        whole = not _is_torchscript(config.pretrained)
        checkpoint = open_clip.factory.load_state_dict(config.pretrained, weights_only=whole)
        model = open_clip.create_model(config.model)
        lines = disagreements(model.state_dict(), open_clip.convert.convert_state_dict(model, checkpoint))
    except Exception as unreadable:
        return UserError(
            f"encoder {config.model}: the checkpoint {config.pretrained} cannot be read: {unreadable} "
            "It may be cut short: compare its size with the original's and copy it again. What is needed is a state "
            "dict in a .safetensors or torch file."
        )
    if not lines:
        return error
    return UserError(
        f"encoder {config.model}: the checkpoint {config.pretrained} belongs to another architecture:\n  "
        + "\n  ".join(lines)
        + "\nName the model that the checkpoint was made with, or a checkpoint of this model."
    )
