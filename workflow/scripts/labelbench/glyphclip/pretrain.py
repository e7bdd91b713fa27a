"""Contrastive pre-training of `glyphclip` (Radford et al. 2021, §2.3) on captioned characters."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from labelbench.glyphclip import glyphs


@dataclass(frozen=True)
class Config:
    """The whole recipe; the defaults made the checkpoint in `resources/`."""

    steps: int = 800
    batch_size: int = 256
    learning_rate: float = 1.5e-3
    warmup_steps: int = 40
    weight_decay: float = 0.05
    max_gradient_norm: float = 1.0
    max_logit_scale: float = 60.0
    seed: int = 0


def contrastive_loss(image_features, text_features, logit_scale, of_text):
    """Symmetric contrastive loss where several images may share one caption.

    `image_features` (B, e) and `text_features` (T, e) are L2-normalised, `of_text` (B,) int64 names each image's
    caption. From image to text this is cross-entropy; from text to image it is averaged over the caption's images
    (the multi-positive form of Khosla et al. 2020, eq. 2). CLIP's loss is the case B = T.
    """
    logits = logit_scale * image_features @ text_features.T
    positives = F.one_hot(of_text, len(text_features)).float()
    positives = positives / positives.sum(0)
    to_image = -(positives * logits.log_softmax(0)).sum(0).mean()
    return (F.cross_entropy(logits, of_text) + to_image) / 2


def pretrain(model_config, config, log):
    """Train the open_clip model that the JSON file `model_config` describes; returns its float32 state dict.

    Runs a fixed number of steps and returns the last one. Every random number comes from `config.seed`, so one thread
    gives the same weights again. Embeddings of tokens that no caption holds are zero, and stay zero, so that they
    compress to nothing. `log(message)` hears of the progress.
    """
    from labelbench.common import torchvision_cpu  # noqa: F401  before open_clip

    import open_clip  # isort: skip

    open_clip.add_model_config(model_config)
    name = Path(model_config).stem
    with torch.random.fork_rng(devices=[]):  # open_clip initialises from the global generator
        torch.manual_seed(config.seed)
        model, _, transform = open_clip.create_model_and_transforms(name)
    tokenize = open_clip.get_tokenizer(name)
    normalize = transform.transforms[-1]
    generator = torch.Generator().manual_seed(config.seed)

    texts = [tokenize(glyphs.captions(character)) for character in glyphs.CHARACTERS]
    unused = torch.ones(len(model.token_embedding.weight), dtype=torch.bool)
    unused[torch.cat(texts).flatten()] = False
    with torch.no_grad():
        model.token_embedding.weight[unused] = 0

    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )

    def pace(step):
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / config.steps)
        return min(1.0, (step + 1) / config.warmup_steps) * cosine

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, pace)
    printed, characters = glyphs.font_glyphs()
    model.train()
    for step in range(config.steps):
        images, labels = glyphs.batch(printed, characters, config.batch_size, model.visual.image_size[0], generator)
        present, of_text = labels.unique(return_inverse=True)
        captions = torch.stack(
            [texts[c][torch.randint(len(texts[c]), (), generator=generator)] for c in present.tolist()]
        )
        loss = contrastive_loss(
            model.encode_image(normalize(images.expand(-1, 3, -1, -1)), normalize=True),
            model.encode_text(captions, normalize=True),
            model.logit_scale.exp().clamp(max=config.max_logit_scale),
            of_text,
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient_norm)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            log(f"step {step + 1} of {config.steps}, loss {loss.item():.3f}")
    with torch.no_grad():
        model.logit_scale.clamp_(max=math.log(config.max_logit_scale))
    return model.state_dict()


def save(state, path):
    """Write a state dict as float16 safetensors, which open_clip loads by path."""
    from safetensors.torch import save_file

    save_file({name: value.half().contiguous() for name, value in state.items()}, path)
