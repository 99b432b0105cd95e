"""Drawn screenshots of 1024 × 576 pixels: one function a scene, each story in its colour and proportions."""

import random
import re
from functools import lru_cache

import matplotlib
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1024, 576
LIGHT = ("#ffffff", "#e4e8ee", "#1f2430", "#6b7280")  # page, panel, ink, faint ink
DARK = ("#15181d", "#262c35", "#e3e6ea", "#8b939e")
KEYWORDS = "def return for in if else export function const func defer class val fun SELECT AS FROM WHERE end"
TOKENS = re.compile(rf"(\b(?:{KEYWORDS.replace(' ', '|')})\b)|'.*?'|\d+|\W+|\w+")


class Screen:
    """A picture being drawn, with its story, its colours, and what every scene draws."""

    def __init__(self, story: dict, rng: random.Random, dark: bool, more: bool):
        self.story, self.rng, self.more, self.accent = story, rng, more, story["accent"]
        self.page, self.panel, self.ink, self.dim = DARK if dark else LIGHT
        self.side, self.right = rng.randrange(120, 330, 15), rng.random() < 0.5  # the side panel: px, where
        self.image = Image.new("RGB", (WIDTH, HEIGHT), self.page)
        self.pen = ImageDraw.Draw(self.image)

    def box(self, x: float, y: float, width: float, height: float, colour: str, radius: int = 0) -> None:
        """Fill a box."""
        self.pen.rounded_rectangle((x, y, x + width - 1, y + height - 1), radius, fill=colour)

    def text(self, x: float, y: float, words: str, size: int, colour: str = "", mono: bool = False) -> float:
        """Write one line; returns where it ends."""
        self.pen.text((x, y), words, font=font(size, mono), fill=colour or self.ink)
        return x + font(size, mono).getlength(words)

    def lines(self, x: float, y: float, words: str, width: float, size: int) -> float:
        """Write a paragraph; returns the y below it."""
        line = ""
        for word in [*words.split(), ""]:
            if not word or font(size).getlength(f"{line} {word}") > width:
                self.text(x, y, line, size)
                y, line = y + size * 1.5, word
            else:
                line = f"{line} {word}".strip()
        return y

    def code(self, x: float, y: float, lines: list[str]) -> None:
        """Write source in colour."""
        for row, line in enumerate(lines):
            end = x
            for token in TOKENS.finditer(line.replace("\t", "    ")):
                literal = token[0][0] in "'0123456789"
                colour = self.accent if token[1] else "#c98524" if literal else self.ink
                end = self.text(end, y + 26 * row, token[0], 15, colour, mono=True)

    def sidebar(self, heading: str, *entries: str) -> tuple[int, int]:
        """Draw the side panel, its second entry marked; returns left edge and width of what remains."""
        x = WIDTH - self.side if self.right else 0
        self.box(x, 24, self.side, HEIGHT, self.panel)
        self.text(x + 14, 38, heading, 14, self.dim)
        self.box(x + 6, 90, self.side - 12, 26, self.accent, 5)
        for i, entry in enumerate(entries):
            self.text(x + 16, 67 + 28 * i, entry[: self.side // 8], 13, "#ffffff" if i == 1 else "")
        return (0 if self.right else self.side), WIDTH - self.side


@lru_cache
def font(size: int, mono: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own sans serif, or the monospaced face that matplotlib ships; no system font is needed."""
    path = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSansMono.ttf"
    return ImageFont.truetype(path, size) if mono else ImageFont.load_default(size)


def draw_screenshot(shot: dict, story: dict, number: int, app: str, clock: str) -> Image.Image:
    """Draw a shot of the ``number``-th story; ``shot["more"]``: one line more than the picture before it."""
    dark = shot["scene"] == "terminal" or (number + len(shot["scene"])) % 3 == 0
    screen = Screen(story, random.Random(f"{shot['scene']} {number}"), dark, shot.get("more", False))
    SCENES[shot["scene"]](screen)
    screen.box(0, 0, WIDTH, 24, "#2b2b30" if dark else "#cfd3da")
    screen.text(14, 5, f"{app}        File    Edit    View    Window    Help", 13)
    screen.text(WIDTH - 130, 5, clock, 12)
    return screen.image


def draw_editor(s: Screen) -> None:
    """Draw source with line numbers above a console."""
    x, width = s.sidebar(s.story["project"], "README.md", s.story["file"], "config.yaml", "tests", "docs")
    s.box(x, 24, 190, 34, s.panel)
    s.text(x + 16, 33, s.story["file"], 14)
    source = [*s.story["code"].split("\n"), *[s.story["typed"]] * s.more]
    s.code(x + 14, 72, [f"{11 + i}  {line}" for i, line in enumerate(source)])
    top = s.rng.randrange(300, 400, 20)
    s.box(x, top, width, 300, s.panel)
    for i, line in enumerate(s.story["run"]):
        s.text(x + 14, top + 12 + 25 * i, f"$ {line}" if i == 0 else line, 14, mono=True)
    s.box(0, HEIGHT - 24, WIDTH, 24, s.accent)
    s.text(14, HEIGHT - 20, f"main   {s.story['project']}   Ln {18 + s.more}   UTF-8", 12, "#ffffff")


def draw_terminal(s: Screen) -> None:
    """Draw a shell's window before a plain desktop."""
    x, y = s.rng.randrange(0, 260, 20), s.rng.randrange(30, 190, 20)
    s.box(0, 24, WIDTH, HEIGHT, s.accent)
    s.box(x, y, 760, 380, "#101216", 9)
    s.box(x, y, 760, 30, "#33363d", 9)
    s.text(x + 320, y + 7, f"~/{s.story['project']}", 14, "#c8ccd2")
    history = ["$ git pull --rebase", "Already up to date.", f"$ {s.story['run'][0]}", *s.story["run"][1:]]
    for i, line in enumerate([*history, "$ git status --short", f" M {s.story['file']}"]):
        failed = re.search("rror|fail|FAIL|mismatch|Crash|warning", line)
        colour = "#8fd18f" if line[0] == "$" else "#f08a7d" if failed else "#dfe2e6"
        s.text(x + 18, y + 48 + 38 * i, line, 17, colour, mono=True)


def draw_docs(s: Screen) -> None:
    """Draw a page of documentation in a browser."""
    x, width = s.sidebar("Contents", "Overview", s.story["title"], "Examples", "Reference", "Questions")
    s.text(x + 30, 48, s.story["title"], 30)
    y, block = 104.0, s.rng.randrange(3)
    for i, fact in enumerate(s.story["facts"]):
        if i == block:
            s.box(x + 30, y, width - 60, 196, s.panel, 8)
            s.code(x + 46, y + 12, s.story["code"].split("\n"))
            y += 210
        y = s.lines(x + 30, y, fact, width - 80, 19) + 14


def draw_review(s: Screen) -> None:
    """Draw a pull request with its changed lines."""
    s.text(30, 40, f"{s.story['points'][0]}  #{s.rng.randrange(40, 400)}", 23)
    s.text(30, 80, f"wants to merge 3 commits into main from {s.story['project']}/fix", 15, s.accent)
    top, cut = s.rng.randrange(116, 240, 12), s.rng.randrange(1, 5)
    s.text(44, top + 7, s.story["file"], 14, mono=True)
    source = [*s.story["code"].split("\n"), s.story["typed"]]
    for i, line in enumerate([*source[:cut], f"- {source[cut]}", *(f"+ {line}" for line in source[cut:])]):
        s.box(30, top + 32 + 27 * i, 960, 27, {"+": "#b9e6c2", "-": "#f3b8bc"}.get(line[0], "#f5f6f8"))
        s.text(44, top + 36 + 27 * i, line.replace("\t", "    "), 15, "#20242c", mono=True)


def draw_dashboard(s: Screen) -> None:
    """Draw four panels with a number and a chart each."""
    s.text(24, 36, f"{s.story['subject'].capitalize()} - last 24 hours", 22)
    columns = s.rng.choice((1, 2, 4))
    width, height = (WIDTH - 24) // columns, 500 * columns // 4
    for i, point in enumerate(s.story["points"]):
        x, y = 24 + (i % columns) * width, 70 + (i // columns) * height
        s.box(x, y, width - 20, height - 12, s.panel, 8)
        s.text(x + 14, y + 8, f"{point}: {s.rng.randrange(20, 9000) / 10:,.1f}", 15)
        for bar in range(12):
            tall, step = s.rng.uniform(0.1, 1) * (height - 60), (width - 50) / 12
            s.box(x + 14 + step * bar, y + height - 20 - tall, 0.7 * step, tall, s.accent)


def draw_chat(s: Screen) -> None:
    """Draw a channel's messages."""
    x, width = s.sidebar("Channels", "# general", f"# {s.story['project']}", "# random", "# on-call")
    s.text(x + 20, 36, f"# {s.story['project']}", 20)
    for i, line in enumerate(s.story["chat"][: 3 + s.more]):
        name, words = line.split(": ", 1)
        s.box(x + 20, 86 + 98 * i, 52, 52, ("#e07a5f", s.accent)[i % 2], 10)
        s.text(x + 37, 96 + 98 * i, name[0], 28, "#ffffff")
        s.text(x + 88, 86 + 98 * i, f"{name}    09:{12 + 3 * i}", 16, s.dim)
        s.lines(x + 88, 112 + 98 * i, words, width - 130, 18)
    s.box(x + 20, HEIGHT - 62, width - 40, 42, s.panel, 8)


def draw_slides(s: Screen) -> None:
    """Draw a shared slide in a video call."""
    s.box(0, 24, WIDTH, HEIGHT, "#1d1e22")
    x = 24 if s.right else 214
    ground, ink = (s.accent, "#ffffff") if s.side > 230 else ("#fbfaf6", "#23303c")
    s.box(x, 50, 786, 470, ground, 4)
    s.text(x + 40, 80, s.story["subject"].capitalize(), 40, ink)
    for i, point in enumerate(s.story["points"]):
        s.text(x + 40, 150 + 50 * i, f"-  {point}", 24, ink)
    for i in range(s.rng.randrange(1, 8)):
        tall = s.rng.randrange(20, 300)
        s.box(x + 730 - 50 * i, 510 - tall, 38, tall, ("#e9b44c", "#50a3a4")[i % 2], 3)
    for i, line in enumerate(s.story["chat"][:2]):
        face, y = (WIDTH - 190 if s.right else 20), 60 + 170 * i
        s.box(face, y, 170, 150, ("#47685a", "#6b4450")[i], 10)
        s.text(face + 62, y + 62, line.split(":")[0], 18, "#ffffff")


def draw_board(s: Screen) -> None:
    """Draw three columns of cards."""
    s.box(0, 24, WIDTH, HEIGHT, s.accent)
    s.text(24, 38, f"{s.story['project']} board", 22, "#ffffff")
    cards = s.rng.sample([*s.story["points"], *s.story["facts"]], 8)
    for column, name in enumerate(("To do", "Doing", "Done")):
        x, count = 24 + 332 * column, s.rng.randrange(1, 5)
        s.box(x, 76, 312, 46 + 106 * count, s.panel, 8)
        s.text(x + 14, 86, name, 16, s.dim)
        for i in range(min(count, len(cards))):
            s.box(x + 12, 114 + 106 * i, 288, 94, s.page, 6)
            s.lines(x + 24, 126 + 106 * i, cards.pop(), 262, 16)


DRAWN = draw_editor, draw_terminal, draw_docs, draw_review, draw_dashboard, draw_chat, draw_slides, draw_board
SCENES = {draw.__name__.removeprefix("draw_"): draw for draw in DRAWN}
