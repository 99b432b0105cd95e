"""Drawing primitives of the synthetic screenshots: fonts, text, soft rounded boxes."""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE = (1024, 576)
SOFTNESS = 4  # masks are drawn this many times larger and scaled down, since Pillow's corners have steps

Box = tuple[int, int, int, int]


@dataclass(slots=True)
class Canvas:
    """A picture being drawn and its pen."""

    image: Image.Image
    pen: ImageDraw.ImageDraw


def new_canvas(background: Image.Image) -> Canvas:
    """A canvas that starts as a copy of ``background``."""
    image = background.copy()
    return Canvas(image, ImageDraw.Draw(image))


@lru_cache
def font(size: int, mono: bool = False, bold: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own sans serif, or the monospaced face that matplotlib ships; no system font is needed."""
    if mono:
        spec = importlib.util.find_spec("matplotlib")
        for folder in spec.submodule_search_locations or [] if spec else []:
            name = "DejaVuSansMono-Bold.ttf" if bold else "DejaVuSansMono.ttf"
            path = Path(folder) / "mpl-data" / "fonts" / "ttf" / name
            if path.is_file():
                return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


def text(
    canvas: Canvas,
    xy: tuple[float, float],
    words: str,
    size: int = 12,
    fill: str = "#222222",
    mono: bool = False,
    bold: bool = False,
    anchor: str = "la",
) -> float:
    """Write a line and return its width in pixels."""
    face = font(size, mono, bold)
    # The sans serif has one weight: a thin outline makes it bold.
    stroke = min(0.35, 0.02 * size) if bold and not mono else 0
    canvas.pen.text(xy, words, font=face, fill=fill, anchor=anchor, stroke_width=stroke)
    return face.getlength(words)


def paragraph(
    canvas: Canvas,
    xy: tuple[int, int],
    words: str,
    width: int,
    size: int = 12,
    fill: str = "#222222",
    leading: int = 17,
) -> int:
    """Write words wrapped to ``width`` pixels; returns the y below the last line."""
    x, y = xy
    for line in wrap(words, width, size):
        text(canvas, (x, y), line, size, fill)
        y += leading
    return y


def wrap(words: str, width: int, size: int) -> list[str]:
    """Lines that fit into ``width`` pixels in the sans serif."""
    face, lines = font(size), [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and face.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def box(canvas: Canvas, area: Box, fill: str, radius: int = 0, outline: str | None = None) -> None:
    """A filled box with smooth corners and, if wanted, a thin outline."""
    if not radius:
        canvas.pen.rectangle((area[0], area[1], area[2] - 1, area[3] - 1), fill=fill, outline=outline)
        return
    if outline:
        _paste(canvas, area, outline, radius)
        area = (area[0] + 1, area[1] + 1, area[2] - 1, area[3] - 1)
        radius -= 1
    _paste(canvas, area, fill, radius)


def dot(canvas: Canvas, centre: tuple[int, int], radius: int, fill: str) -> None:
    """A smooth filled circle."""
    x, y = centre
    _paste(canvas, (x - radius, y - radius, x + radius, y + radius), fill, radius)


def glass(canvas: Canvas, area: Box, fill: str, opacity: int, radius: int = 0) -> None:
    """A translucent box; ``opacity`` runs from 0 to 255."""
    mask = _mask(area[2] - area[0], area[3] - area[1], radius).point(lambda value: value * opacity // 255)
    canvas.image.paste(fill, area, mask)


def shadow(canvas: Canvas, area: Box, radius: int) -> None:
    """A soft shadow under a window."""
    margin = 24
    mask = _shadow_mask(area[2] - area[0], area[3] - area[1], radius, margin)
    canvas.image.paste("#000000", (area[0] - margin, area[1] - margin + 8), mask)


def _paste(canvas: Canvas, area: Box, fill: str, radius: int) -> None:
    canvas.image.paste(fill, area, _mask(area[2] - area[0], area[3] - area[1], radius))


@lru_cache(maxsize=256)
def _mask(width: int, height: int, radius: int) -> Image.Image:
    large = Image.new("L", (width * SOFTNESS, height * SOFTNESS), 0)
    corner = (width * SOFTNESS - 1, height * SOFTNESS - 1)
    ImageDraw.Draw(large).rounded_rectangle((0, 0, *corner), radius * SOFTNESS, fill=255)
    return large.resize((width, height), Image.Resampling.BOX)


@lru_cache(maxsize=32)
def _shadow_mask(width: int, height: int, radius: int, margin: int) -> Image.Image:
    mask = Image.new("L", (width + 2 * margin, height + 2 * margin), 0)
    corner = (margin + width - 1, margin + height - 1)
    ImageDraw.Draw(mask).rounded_rectangle((margin, margin, *corner), radius, fill=120)
    return mask.filter(ImageFilter.GaussianBlur(margin / 3))
