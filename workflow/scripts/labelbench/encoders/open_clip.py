"""CLIP models by way of open_clip (Radford et al. 2021; Ilharco et al. 2021): image tower and zero-shot head.

One path for all of them: OpenAI's ViT-B/32 by its tag, a checkpoint of it in a file, and a model that only exists
as a configuration file beside its checkpoint, such as this project's `glyphclip`.
"""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

from labelbench.errors import UserError


@dataclass(frozen=True)
class Config:
    """`model`: a name open_clip knows. `pretrained`: a tag open_clip knows for it, or the path of a checkpoint.

    `model_config`: path of a JSON file that describes the model, for one that open_clip does not know; the file's
    name without its ending must be `model`. `projection`: embed into the joint space of images and texts, else take
    the pooled features before the projection.
    """

    model: str
    pretrained: str
    model_config: str = ""
    projection: bool = True


def files(config):
    """Paths of the local files that `load` reads; none for a tag."""
    checkpoint = [config.pretrained] if _is_path(config.pretrained) else []
    return [config.model_config] * bool(config.model_config) + checkpoint


def has_text_tower(config):
    """Whether `load` gives a zero-shot head: a CLIP always does."""
    return True


def load(config, device="cpu"):
    """The `Encoder` on `device`, in float32.

    The zero-shot head is W_k = normalize(mean_t normalize(text(t, k))) · exp(logit scale) (Radford et al. 2021,
    §3.1.4), so that its product with a normalised image embedding is CLIP's logits.
    Raises `UserError` for a model, tag, file or checkpoint that cannot be what was meant.
    """
    from labelbench import torchvision_cpu  # noqa: F401  before open_clip

    import open_clip  # isort: skip
    import torch
    import torch.nn.functional as F

    from labelbench.encoder import Encoder, hash_weights
    from labelbench.encoders._clip_tower import ImageTower, without_projection

    _check_model(config)
    _check_pretrained(config)
    try:
        model, _, transform = open_clip.create_model_and_transforms(config.model, config.pretrained, device=device)
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

    @torch.inference_mode()
    def embed(images):
        return features(images.to(device)).float()

    @torch.inference_mode()
    def zero_shot_head(class_names, templates):
        for template in templates:
            if "{}" not in template:
                raise UserError(f"The prompt template {template!r} has no {{}} where the class name goes.")
        tokenize = open_clip.get_tokenizer(config.model)
        rows = []
        for name in class_names:
            texts = tokenize([template.replace("{}", name) for template in templates]).to(device)
            rows.append(F.normalize(model.encode_text(texts, normalize=True).mean(0), dim=0))
        return (torch.stack(rows) * model.logit_scale.exp()).float().cpu()

    with torch.inference_mode():
        blank = torch.zeros(1, 3, *open_clip.model.to_2tuple(model.visual.image_size), device=device)
        dim, backbone_dim = features(blank).shape[1], backbone(blank).shape[1]
    return Encoder(embed, dim, backbone, backbone_dim, transform, hash_weights(model.state_dict()), zero_shot_head)


def _is_path(pretrained):
    # No tag of open_clip has a slash or a dot in it.
    return "/" in pretrained or "." in pretrained


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
    """See that the tag or the file exists, before anything is built or downloaded."""
    import open_clip

    model = config.model.replace("/", "-")
    if _is_path(config.pretrained):
        if not Path(config.pretrained).is_file():
            raise UserError(f"encoder {config.model}: the checkpoint {config.pretrained} does not exist.")
    elif not open_clip.pretrained.is_pretrained_cfg(model, config.pretrained):
        tags = open_clip.list_pretrained_tags_by_model(model)
        raise UserError(
            f"encoder {config.model}: open_clip has no weights tagged {config.pretrained!r} for it. "
            + (f"Its tags: {', '.join(tags)}." if tags else "It has no tags at all.")
            + " A checkpoint file is named by a path with a / or an ending (./weights.pt)."
        )


def _explained(config, error):
    """The `UserError` for open_clip's failure to load the weights, or `error` itself if they are not to blame."""
    import open_clip

    from labelbench.encoder import disagreements

    if not _is_path(config.pretrained):
        return UserError(
            f"encoder {config.model}: the weights tagged {config.pretrained!r} could not be loaded: {error} "
            "They are downloaded at first use; without internet here, download them where there is, copy the file "
            "and write its path as `pretrained`."
        )
    try:
        checkpoint = open_clip.factory.load_state_dict(config.pretrained)
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
