"""Images of characters with captions, made without any data set: what `glyphclip` learns from.

A character is a glyph of one of matplotlib's fonts, or, for most digits, a drawing by `strokes`. It is distorted,
then scanned: at full resolution, or as UCI's optical digits were, whose documentation (Alpaydin & Kaynak 1998) says
how: a 32 x 32 bitmap of black and white, of which every 4 x 4 block is counted.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from labelbench.glyphclip import strokes

DIGITS = "0123456789"
LETTERS = "ABCDEFGHJKLMNPQRTUVWXY"  # I, O, S and Z would contradict 1, 0, 5 and 2
CHARACTERS = DIGITS + LETTERS
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_TEMPLATES = (
    'a photo of the digit "{}".',
    "the digit {}",
    "the number {}",
    "a handwritten {}",
    "a handwritten digit {}.",
    "a scan of the digit {}",
    "a drawing of a {}",
    "{}",
)
LETTER_TEMPLATES = (
    'a photo of the letter "{}".',
    "the letter {}",
    "a handwritten letter {}",
    "a drawing of the letter {}",
)
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmb10", "cmr10", "cmss10", "cmtt10", "cmti10"),
)
CANVAS = 64  # pixels a font's glyph is kept at
SCAN = 32  # pixels it is distorted to, and a pen drawing is made at
BLOCK = 4  # of a coarse scan
DIGITS_SHARE = 0.75  # of the characters in a batch
DRAWN_SHARE = 0.6  # of the digits in a batch, drawn by pen


def captions(character):
    """Every caption of one of `CHARACTERS`: templates × names."""
    if character in DIGITS:
        names, templates = (NUMBER_WORDS[DIGITS.index(character)], character), DIGIT_TEMPLATES
    else:
        names, templates = (character.lower(),), LETTER_TEMPLATES
    return [template.format(name) for template in templates for name in names]


def font_glyphs():
    """Every character in every font: images (n, 1, CANVAS, CANVAS) float32 in [0, 1], character numbers (n,) int64."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    height = CANVAS - 14  # leaves room for the distortions
    images = []
    for name in FONTS:
        font = ImageFont.truetype(folder / f"{name}.ttf", 2 * CANVAS)
        for character in CHARACTERS:
            sheet = Image.new("L", (4 * CANVAS, 4 * CANVAS))
            ImageDraw.Draw(sheet).text((CANVAS, CANVAS // 2), character, fill=255, font=font)
            ink = sheet.crop(sheet.getbbox())
            width = min(CANVAS - 6, round(ink.width * height / ink.height))
            canvas = Image.new("L", (CANVAS, CANVAS))
            canvas.paste(ink.resize((width, height)), ((CANVAS - width) // 2, (CANVAS - height) // 2))
            images.append(np.asarray(canvas, dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(images))[:, None], torch.arange(len(CHARACTERS)).repeat(len(FONTS))


def distort(glyphs, generator):
    """Thicker or thinner, sheared, rotated, stretched and bent: (B, 1, CANVAS, CANVAS) → (B, 1, SCAN, SCAN)."""
    batch = len(glyphs)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    weight = torch.randint(4, (batch,), generator=generator)[:, None, None, None]
    glyphs = torch.where(weight == 0, -F.max_pool2d(-glyphs, 3, 1, 1), glyphs)
    glyphs = torch.where(weight == 2, F.max_pool2d(glyphs, 5, 1, 2), glyphs)
    glyphs = torch.where(weight == 3, F.max_pool2d(glyphs, 7, 1, 3), glyphs)
    angle, shear = uniform(-0.35, 0.35), uniform(-0.35, 0.35)
    wide, tall = 1 / uniform(0.62, 1.1), 1 / uniform(0.88, 1.2)  # the grid says where to read, hence the inverse
    cos, sin = angle.cos(), angle.sin()
    rows = (
        torch.stack([wide * cos, wide * (shear * cos - sin), uniform(-0.1, 0.1)], 1),
        torch.stack([tall * sin, tall * (shear * sin + cos), uniform(-0.07, 0.07)], 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), (batch, 1, SCAN, SCAN), align_corners=False)
    bend = torch.randn(batch, 2, 4, 4, generator=generator) * uniform(0.02, 0.13, 1, 1, 1)
    bend = F.interpolate(bend, (SCAN, SCAN), mode="bicubic", align_corners=True)
    return F.grid_sample(glyphs, grid + bend.movedim(1, -1), align_corners=False)


def scan(images, size, generator):
    """As an encoder would see the drawings after its own resizing: (B, 1, SCAN, SCAN) → (B, 1, size, size).

    Two in three are counted in 4 x 4 blocks of black and white and enlarged again; all get a contrast and some noise.
    Bicubic like CLIP's evaluation transform; with `antialias` torch uses the same kernel as Pillow.
    """
    batch = len(images)
    coarse = torch.rand(batch, generator=generator) < 2 / 3
    blocks = F.avg_pool2d((images[coarse] > 0.5).float(), BLOCK)
    seen = torch.empty(batch, 1, size, size)
    seen[coarse] = F.interpolate(blocks, (size, size), mode="bicubic", antialias=True)
    seen[~coarse] = F.interpolate(images[~coarse], (size, size), mode="bicubic", antialias=True)
    contrast = 0.75 + 0.5 * torch.rand(batch, 1, 1, 1, generator=generator)
    noise = 0.06 * torch.rand(batch, 1, 1, 1, generator=generator)
    return (seen * contrast + noise * torch.randn(seen.shape, generator=generator)).clamp(0, 1)


def batch(glyphs, characters, batch_size, image_size, generator):
    """A batch of training images: (B, 1, image_size, image_size) float32 in [0, 1] and character numbers (B,) int64.

    `glyphs`, `characters`: what `font_glyphs` returned. Every random number comes from `generator`.
    """
    num_digits = int(DIGITS_SHARE * batch_size)
    num_drawn = int(DRAWN_SHARE * num_digits)
    drawn = torch.randint(len(DIGITS), (num_drawn,), generator=generator)
    is_digit = characters < len(DIGITS)

    def pick(of, count):
        rows = of.nonzero()[:, 0]
        return rows[torch.randint(len(rows), (count,), generator=generator)]

    printed = torch.cat([pick(is_digit, num_digits - num_drawn), pick(~is_digit, batch_size - num_digits)])
    images = torch.cat([strokes.draw(drawn, SCAN, generator), distort(glyphs[printed], generator)])
    return scan(images, image_size, generator), torch.cat([drawn, characters[printed]])
