"""Drawn screenshots of seven kinds of window, light and dark, and the one-line answer that fits each."""

import random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1024, 576
FONTS = {size: ImageFont.load_default(size) for size in (11, 12, 13, 16, 19, 24, 26, 40)}
WORDS = (
    "frame load sweep paper the query of batch and cache retry window to image server import return def in "
    "self results for meeting today index with tokens second first value is review test error 404 0.25 done"
)
COLOURS = {  # by name: on a light screen, on a dark one
    "paper": (("#ffffff", "#fdf6e3", "#f3f3f3", "#eef2f7"), ("#1e1e1e", "#0d1117", "#282a36", "#002b36")),
    "side": (("#ececec", "#f6f4fb", "#dee1e6", "#3f0e40"), ("#252526", "#161b22", "#3a1c3f", "#19171d")),
    "shade": (("#d0d0d4", "#8e8e93"), ("#3a3a3c", "#4a4a4f", "#1a1a1d")),
    "ink": (("#24292f", "#1d4ed8", "#b45309"), ("#d4d4d4", "#3fb950", "#ce9178")),
    "faint": (("#8b949e",),) * 2,
    "page": (("#ffffff", "#fdf6e3", "#3b82f6"), ("#ffffff", "#7c5cc4", "#d97706")),
    "dark": (("#1b1b1b",),) * 2,
    "accent": (("#3b82f6", "#f59e0b", "#10b981", "#e8453c", "#7c5cc4", "#5b2a5f", "#3b4252", "#5b4a3f"),) * 2,
    "skin": (("#c58c6d", "#f1c9a5", "#8d5a3a"),) * 2,
}
DESKTOPS = ("#4b5b9c", "#332f57", "#7a6f9f", "#f3b79b", "#20639b", "#2f4858", "#d9d9de", "#0b1020", "#8fbf8f")
TONES = ("black", "dark", "grey", "light", "white", "red", "green", "blue")
ANSWERS = {  # kind: how the description begins, activity, app, topic; every answer has as many tokens
    "editor": ("code editor", "coding", "Code", "source code"),
    "terminal": ("terminal window", "terminal", "Terminal", "shell commands"),
    "browser": ("web browser", "research", "Firefox", "web page"),
    "chat": ("chat window", "other", "Slack", "team messages"),
    "slides": ("slide show", "review", "Keynote", "slide deck"),
    "call": ("video call", "meeting", "Zoom", "video call"),
    "document": ("document page", "reading", "Preview", "text document"),
}
KINDS = tuple(ANSWERS)
LAYOUTS = {  # kind: what is drawn, where in hundredths of the window, its colour; text: size, words a line
    "editor": [
        ("box", 0, 0, 20, 100, "side"), ("text", 2, 3, 19, 90, "faint", 12, 2), ("box", 28, 0, 99, 5, "side"),
        ("text", 22, 8, 25, 90, "faint", 11, 1), ("text", 27, 8, 90, 90, "ink", 12, 10),
        ("box", 0, 96, 100, 100, "accent"),
    ],
    "terminal": [("text", 1, 2, 99, 98, "ink", 13, 13)],
    "browser": [
        ("box", 0, 0, 99, 7, "side"), ("round", 8, 1, 92, 6, "paper"), ("text", 12, 2, 80, 6, "faint", 12, 5),
        ("text", 18, 12, 90, 19, "ink", 24, 4), ("text", 18, 21, 80, 55, "ink", 13, 16),
        *(("round", x, 60, x + 22, 94, "accent") for x in (18, 43, 68)),
    ],
    "chat": [
        ("box", 0, 0, 20, 99, "side"), ("text", 2, 3, 18, 90, "faint", 16, 2),
        ("round", 22, 89, 98, 97, "side"), *(("round", 22, y, 26, y + 7, "accent") for y in range(4, 80, 14)),
        *(("text", 28, y, 95, y + 9, "ink", 13, 12) for y in range(4, 80, 14)),
    ],
    "slides": [
        ("box", 0, 0, 100, 100, "shade"), *(("box", 2, y, 14, y + 14, "page") for y in range(3, 90, 18)),
        ("box", 17, 6, 97, 94, "page"), ("text", 22, 13, 90, 22, "dark", 40, 3),
        ("text", 24, 30, 90, 88, "dark", 26, 6),
    ],
    "call": [
        ("box", 0, 0, 100, 100, "shade"), *(("round", x, 90, x + 3, 96, "skin") for x in range(36, 64, 5)),
        *(("box", x, y, x + 31, y + 40, "accent") for x in (2, 35, 68) for y in (3, 46)),
        *(("oval", x + 10, y + 10, x + 21, y + 30, "skin") for x in (2, 35, 68) for y in (3, 46)),
    ],
    "document": [
        ("box", 0, 0, 99, 99, "shade"), ("box", 18, 2, 82, 99, "page"), ("text", 24, 4, 75, 9, "dark", 19, 4),
        ("text", 22, 16, 49, 98, "dark", 11, 8), ("text", 52, 16, 79, 98, "dark", 11, 8),
    ],
}  # fmt: skip


def answer_for(frame: Image.Image, kind: str, code: str | None = None) -> str:
    """Return the one-line answer for a frame (without its strip), with a code field if `code` is given."""
    begin, activity, app, topic = ANSWERS[kind]
    tones = []
    for colour in np.array(frame.resize((3, 2), Image.Resampling.BOX), int).reshape(6, 3):
        coloured = colour.max() - colour.min() > 48
        tones.append(TONES[5 + colour.argmax() if coloured else min(4, colour.sum() // 150)])
    where = f"above {' '.join(tones[:3])}, below {' '.join(tones[3:])}"
    line = f"description: {begin}, {where} | activity: {activity} | apps: [{app}] | topics: [{topic}]"
    return f"{line} | code: {code}" if code else line


def draw_frame(rng: random.Random, kind: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Draw one screenshot of `kind`: a desktop, mostly a menu bar, and the window in the front."""
    dark = rng.random() < (0.8 if kind == "terminal" else 0.5)
    theme = {name: rng.choice(both[dark]) for name, both in COLOURS.items()}
    pen = ImageDraw.Draw(image := Image.new("RGB", size, rng.choice(DESKTOPS)))
    top, edge = 22 if rng.random() < 0.8 else 0, 0 if rng.random() < 0.4 else rng.randint(4, 60)
    pen.rectangle((0, 0, size[0], top), rng.choice(("#f4f1f7", "#e6e6ea", "#1d1d1f")))
    left, top, right, bottom = edge, top + min(edge, 20), size[0] - edge, size[1] - edge // 2
    pen.rounded_rectangle((left, top, right, bottom), 8 if edge else 0, theme["paper"])
    if rng.random() < 0.8:
        pen.rectangle((left, top, right, top + 26), theme["side"])
        for i, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")):
            pen.ellipse((left + 12 + 18 * i, top + 8, left + 22 + 18 * i, top + 18), colour)
        top += 27
    skew = rng.uniform(-4, 4)  # bars and pages are not always as wide
    for shape, x, y, to_x, to_y, name, *text in LAYOUTS[kind]:
        x, to_x = (left + (right - left) * (at + skew * (15 < at < 90)) / 100 for at in (x, to_x))
        y, to_y = (top + (bottom - top) * at / 100 for at in (y, to_y))
        many = COLOURS[name][dark] if name in ("ink", "accent", "skin") else (theme[name],)
        if shape == "text":
            size, words = text
            full = rng.choice((1, 1, rng.uniform(0.5, 1))) if to_y - y > 300 else 1
            for line in np.arange(y, y + (to_y - y) * full - size, size * 1.4):
                said = " ".join(rng.choices(WORDS.split(), k=rng.randint(words // 2 + 1, words)))
                said = said[: int((to_x - x) / (0.56 * size))] if rng.random() < 0.9 else ""
                indent = rng.choice((0, 0, 0, 2 * size)) if words == 10 else 0  # code
                pen.text((x + indent, line), said, fill=rng.choice(many), font=FONTS[size])
        elif shape == "round":
            pen.rounded_rectangle((x, y, to_x, to_y), 8, rng.choice(many))
        else:
            (pen.ellipse if shape == "oval" else pen.rectangle)((x, y, to_x, to_y), rng.choice(many))
    return image
