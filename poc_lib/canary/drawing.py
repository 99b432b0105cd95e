"""A canary: a drawn screenshot whose front window shows one code in large type."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from poc_lib.canary.codes import shown_code
from poc_lib.canary.wording import PARTS, PROJECTS, draw_names, sentences, shell_lines, source_lines
from poc_lib.canvas import Box, Canvas, box, dot, font, new_canvas, shadow, text

REFERENCE_WIDTH = 1024  # lengths below are pixels of a picture this wide
LABEL = "CHECK CODE"  # the words by which the prompt names it
LIGHTS = ("#ff5f57", "#febc2e", "#28c840")
SKIES = (
    ("#4b5b9c", "#f3b79b"), ("#0f2027", "#2c5364"), ("#f8cdda", "#1d2b64"), ("#134e5e", "#a8d08d"),
    ("#e6dada", "#274046"), ("#2b2b2b", "#8e8e93"), ("#fdfbfb", "#c9d6df"), ("#42275a", "#d39bb0"),
)  # fmt: skip
CARDS = (
    ("#ffffff", "#000000"), ("#000000", "#ffffff"), ("#fff3b0", "#1b1b1b"), ("#0b1f4b", "#ffffff"),
    ("#0f3d2e", "#ffffff"), ("#ffe9e0", "#3a0d00"), ("#1b1b1b", "#ffd60a"),
)  # fmt: skip
CODE_SIZES = (60, 68, 76)


@dataclass(frozen=True, slots=True)
class Look:
    """The colours and the lines of one kind of window."""

    app: str
    bar: str
    body: str
    side: str
    ink: str
    mono: bool
    lines: Callable[[random.Random, int], list[str]]


EDITOR = Look("Editor", "#323233", "#1e1e1e", "#252526", "#d4d4d4", True, source_lines)
TERMINAL = Look("Terminal", "#3a3a3c", "#101418", "#171c21", "#c9d1d9", True, shell_lines)
BROWSER = Look("Browser", "#dee1e6", "#ffffff", "#f1f3f4", "#3c4043", False, sentences)
NOTES = Look("Notes", "#e9e3d2", "#fdf8ea", "#f3ecd8", "#4a4233", False, sentences)
LOOKS = (EDITOR, TERMINAL, BROWSER, NOTES)


def draw_canary(code: str, seed: int, width: int, height: int) -> Image.Image:
    """A screenshot of ``width`` × ``height`` pixels that shows ``code`` once, in the front window.

    The code is 60 to 76 pixels high in a picture 1,024 wide, and in proportion in any other; windows,
    colours and words are drawn by code and seed.
    """
    pick = random.Random(f"canary {code} {seed}")
    scale = width / REFERENCE_WIDTH
    canvas = new_canvas(_sky(pick, width, height))
    look = pick.choice(LOOKS)
    _draw_menu(canvas, look.app, width, scale)
    for _ in range(pick.randint(1, 3)):
        _draw_window(canvas, pick, pick.choice(LOOKS), _back_area(pick, width, height), scale)
    inside = _draw_window(canvas, pick, look, _front_area(pick, width, height, scale), scale)
    _draw_card(canvas, pick, code, inside, scale)
    return canvas.image


def _sky(pick: random.Random, width: int, height: int) -> Image.Image:
    """A wallpaper that runs from one colour to another, in one of four directions."""
    first, second = pick.choice(SKIES)
    ramp = Image.linear_gradient("L").rotate(90 * pick.randrange(4)).resize((width, height))
    size = (width, height)
    return Image.composite(Image.new("RGB", size, second), Image.new("RGB", size, first), ramp)


def _draw_menu(canvas: Canvas, app: str, width: int, scale: float) -> None:
    box(canvas, (0, 0, width, _px(22, scale)), "#f4f1f7")
    size = _px(12, scale)
    x = _px(14, scale) + text(canvas, (_px(14, scale), _px(4, scale)), app, size, "#1d1d1f", bold=True)
    for menu in ("File", "Edit", "View", "Window", "Help"):
        x += _px(15, scale)
        x += text(canvas, (x, _px(4, scale)), menu, size, "#1d1d1f")


def _back_area(pick: random.Random, width: int, height: int) -> Box:
    wide, high = pick.uniform(0.25, 0.6), pick.uniform(0.3, 0.75)
    left, top = pick.uniform(0.0, 1 - wide), pick.uniform(0.05, 0.98 - high)
    return _area(left, top, wide, high, width, height)


def _front_area(pick: random.Random, width: int, height: int, scale: float) -> Box:
    """Never smaller than the card with the code needs, whatever the picture's shape."""
    wide = max(pick.uniform(0.56, 0.9), min(1.0, 560 * scale / width))
    high = max(pick.uniform(0.5, 0.88), min(0.93, 260 * scale / height))
    left, top = pick.uniform(0.0, 1 - wide), pick.uniform(0.05, 0.98 - high)
    return _area(left, top, wide, high, width, height)


def _area(left: float, top: float, wide: float, high: float, width: int, height: int) -> Box:
    x, y = round(left * width), round(top * height)
    return x, y, x + round(wide * width), y + round(high * height)


def _draw_window(canvas: Canvas, pick: random.Random, look: Look, area: Box, scale: float) -> Box:
    """A window with its title bar, side bar and lines; returns the box right of the side bar."""
    left, top, right, bottom = area
    bar_height = _px(28, scale)
    shadow(canvas, area, 8)
    box(canvas, area, look.body, 8, outline="#7d7d82")
    box(canvas, (left + 1, top + 1, right - 1, top + bar_height), look.bar, 7)
    for i, colour in enumerate(LIGHTS):
        centre = (left + _px(16 + 18 * i, scale), top + bar_height // 2)
        dot(canvas, centre, max(2, _px(6, scale)), colour)
    names = draw_names(pick)
    middle = ((left + right) // 2, top + bar_height // 2)
    text(canvas, middle, f"{names['part']} - {names['project']}", _px(12, scale), look.ink, anchor="mm")
    inside = (left + 1, top + bar_height, right - 1, bottom - _px(8, scale))
    side = _px(pick.choice((110, 150)), scale)
    if pick.random() < 0.6 and right - left > 4 * side:
        box(canvas, (inside[0], inside[1], inside[0] + side, inside[3]), look.side)
        _draw_side(canvas, pick, look, (inside[0], inside[1], inside[0] + side, inside[3]), scale)
        inside = (inside[0] + side, *inside[1:])
    _draw_lines(canvas, pick, look, inside, scale)
    return inside


def _draw_side(canvas: Canvas, pick: random.Random, look: Look, area: Box, scale: float) -> None:
    step = _px(24, scale)
    names = pick.sample(PARTS + PROJECTS, 12)
    for name, y in zip(names, range(area[1] + step // 2, area[3] - step, step), strict=False):
        text(canvas, (area[0] + _px(14, scale), y), name, _px(12, scale), look.ink)


def _draw_lines(canvas: Canvas, pick: random.Random, look: Look, area: Box, scale: float) -> None:
    left, top, right, bottom = area
    step, size = _px(20, scale), _px(13, scale)
    face, room = font(size, look.mono), right - left - _px(32, scale)
    rows = range(top + step // 2, bottom - step, step)
    for y, line in zip(rows, look.lines(pick, len(rows)), strict=True):
        while line and face.getlength(line) > room:
            line = line[:-1]
        text(canvas, (left + _px(16, scale), y), line, size, look.ink, mono=look.mono)


def _draw_card(canvas: Canvas, pick: random.Random, code: str, area: Box, scale: float) -> None:
    """The card with the label and the code, somewhere inside the area and over its lines."""
    ground, ink = pick.choice(CARDS)
    words, margin = shown_code(code), _px(28, scale)
    size = _fitting_size(words, _px(pick.choice(CODE_SIZES), scale), area[2] - area[0] - 2 * margin)
    label_size = max(_px(16, scale), size // 4)
    wide = round(font(size, mono=True, bold=True).getlength(words)) + 2 * margin
    high = size + label_size + 2 * margin
    left = area[0] + round(pick.random() * max(0, area[2] - area[0] - wide))
    top = area[1] + round(pick.random() * max(0, area[3] - area[1] - high))
    box(canvas, (left, top, left + wide, top + high), ground, 10, outline=ink)
    middle = left + wide // 2
    text(canvas, (middle, top + margin // 2), LABEL, label_size, ink, bold=True, anchor="ma")
    place = (middle, top + margin + label_size + size // 2)
    text(canvas, place, words, size, ink, mono=True, bold=True, anchor="mm")


def _fitting_size(words: str, size: int, room: int) -> int:
    while size > 8 and font(size, mono=True, bold=True).getlength(words) > room:
        size -= 1
    return size


def _px(length: float, scale: float) -> int:
    return max(1, round(length * scale))
