"""The code editor and the terminal of the synthetic screenshots."""

import re
from typing import Any

from poc_lib.canvas import SIZE, Box, Canvas, box, dot, font, text
from poc_lib.demo.desktop import draw_desktop, draw_window

LINE = 18
CODE_SIZE = 13
INK = "#d4d4d4"
TOKEN = re.compile(
    r"(?P<comment>#.*|//.*|--.*)|(?P<string>\"[^\"]*\"?|'[^']*'?|`[^`]*`?)|(?P<number>\b\d[\w.]*\b)"
    r"|(?P<keyword>\b(?:def|return|for|in|if|else|elif|import|from|class|with|as|assert|not|and|or|None|True|False"
    r"|raise|const|let|export|function|await|async|interface|type|func|package|var|err|nil|struct|SELECT|FROM"
    r"|WHERE|GROUP|BY|ORDER|JOIN|ON|COUNT|AVG|CASE|WHEN|END|AS)\b)"
    r"|(?P<call>\b\w+(?=\())|(?P<kind>\b[A-Z]\w+\b)"
)
COLOURS = {
    "comment": "#6a9955",
    "string": "#ce9178",
    "number": "#b5cea8",
    "keyword": "#c586c0",
    "call": "#dcdcaa",
    "kind": "#4ec9b0",
}
# How a terminal line is coloured, by what it begins with or holds.
TERMINAL_RULES = (
    (re.compile(r"^(FAILED|E  |ERROR|error|✗|Error|npm ERR|fatal|Traceback)"), "#ff6b6b"),
    (re.compile(r"(PASSED|passed|✓|Successfully|Running|succeeded|built in|up to date|^ok )"), "#7ee787"),
    (re.compile(r"^(WARN|warning|\+\+|@@|src/|tests/)"), "#e3b341"),
    (re.compile(r"^(#|==|--|NAME|CONTAINER|remote:)"), "#8b949e"),
)


def draw_editor(state: dict[str, Any], clock: str) -> Canvas:
    """A dark editor: file tree, tab, numbered and coloured code, and a panel if ``state`` has one."""
    canvas = draw_desktop(state["app"], clock, dock=False)
    title = f"{state['file']} - {state['project']}"
    inside = draw_window(canvas, (8, 28, SIZE[0] - 8, SIZE[1] - 8), title, True, "#323233", "#1e1e1e")
    left, top, right, bottom = inside
    box(canvas, (left, top, left + 40, bottom - 20), "#333333")
    for i in range(5):
        shade = "#ffffff" if i == 0 else "#858585"
        canvas.pen.rounded_rectangle(
            (left + 12, top + 14 + 38 * i, left + 28, top + 30 + 38 * i), 3, outline=shade, width=2
        )
    _draw_tree(canvas, (left + 40, top, left + 200, bottom - 20), state)
    panel_top = bottom - 20 - (18 + LINE * len(state["panel"]) if state.get("panel") else 0)
    _draw_tabs(canvas, (left + 200, top, right, top + 26), state)
    _draw_code(canvas, (left + 200, top + 30, right, panel_top), state)
    if state.get("panel"):
        _draw_panel(canvas, (left + 200, panel_top, right, bottom - 20), state["panel"])
    _draw_status(canvas, (left, bottom - 20, right, bottom), state)
    return canvas


def draw_terminal(state: dict[str, Any], clock: str) -> Canvas:
    """A terminal window over the desktop, showing the last lines that fit."""
    canvas = draw_desktop(state["app"], clock, dock=True)
    area = tuple(state.get("area", (110, 56, 914, 496)))
    inside = draw_window(canvas, area, state["title"], True, "#2d2f3a", "#171a23")
    left, top, _right, bottom = inside
    fitting = (bottom - top - 16) // LINE
    y = top + 8
    for line in state["lines"][-fitting:]:
        _draw_terminal_line(canvas, (left + 12, y), line, state)
        y += LINE
    return canvas


def _draw_terminal_line(canvas: Canvas, xy: tuple[int, int], line: str, state: dict[str, Any]) -> None:
    if line.startswith("$ "):
        x = xy[0] + text(canvas, xy, state["prompt"], CODE_SIZE, "#58a6ff", mono=True, bold=True)
        text(canvas, (x, xy[1]), " " + line[2:], CODE_SIZE, "#f0f6fc", mono=True)
        if line == state["lines"][-1]:
            x += font(CODE_SIZE, True).getlength(" " + line[2:])
            canvas.pen.rectangle((x + 2, xy[1], x + 9, xy[1] + 14), fill="#9aa4b2")
        return
    colour = next((colour for rule, colour in TERMINAL_RULES if rule.search(line)), "#c9d1d9")
    text(canvas, xy, line, CODE_SIZE, colour, mono=True)


def _draw_tree(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, _ = area
    box(canvas, area, "#252526")
    text(canvas, (left + 12, top + 8), "EXPLORER", 10, "#bbbbbb")
    text(canvas, (left + 12, top + 28), state["project"].upper(), 11, "#cccccc", bold=True)
    for i, name in enumerate(state["tree"]):
        y = top + 48 + 19 * i
        depth = len(name) - len(name.lstrip())
        if name.strip() == state["file"]:
            box(canvas, (left, y - 2, right, y + 17), "#37373d")
        mark = "▾ " if name.endswith("/") else ""
        text(canvas, (left + 14 + 7 * depth, y), mark + name.strip(), 11, "#cccccc", mono=True)


def _draw_tabs(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, bottom = area
    box(canvas, area, "#2d2d2d")
    x = left
    for name in state["tabs"]:
        width = int(font(12).getlength(name)) + 42
        active = name == state["file"]
        box(canvas, (x, top, x + width, bottom), "#1e1e1e" if active else "#2d2d2d")
        if active:
            box(canvas, (x, top, x + width, top + 2), "#0e8ae6")
        text(canvas, (x + 12, top + 6), name, 12, "#ffffff" if active else "#969696")
        dot(canvas, (x + width - 14, top + 13), 3, "#cccccc" if active else "#5a5a5a")
        x += width + 1
    box(canvas, (x, top, right, bottom), "#252526")


def _draw_code(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, bottom = area
    fitting = (bottom - top - 6) // LINE
    first = max(0, len(state["lines"]) - fitting)
    cursor = state.get("cursor", len(state["lines"])) - 1
    for row, line in enumerate(state["lines"][first:]):
        y, number = top + 4 + LINE * row, first + row
        if number == cursor:
            box(canvas, (left + 46, y - 1, right - 74, y + LINE - 1), "#2a2d2e")
        shade = "#c6c6c6" if number == cursor else "#6e7681"
        text(canvas, (left + 38, y), str(number + state.get("first", 1)), 11, shade, mono=True, anchor="ra")
        x = _draw_tokens(canvas, (left + 54, y), line)
        if number == cursor:
            canvas.pen.rectangle((x + 1, y, x + 2, y + 14), fill="#e6e6e6")
        if number + 1 == state.get("error_line"):
            _draw_squiggle(canvas, left + 54 + 7 * (len(line) - len(line.lstrip())), int(x), y + 14)
            text(canvas, (x + 18, y + 1), state["error"], 11, "#f48771")
        _draw_minimap_row(canvas, (right - 68, top + 4 + 3 * row), line)


def _draw_tokens(canvas: Canvas, xy: tuple[int, int], line: str) -> float:
    x, y, end = float(xy[0]), xy[1], 0
    pieces: list[tuple[str, str]] = []
    for match in TOKEN.finditer(line):
        pieces += [(line[end : match.start()], INK), (match.group(), COLOURS[match.lastgroup or "kind"])]
        end = match.end()
    for piece, colour in [*pieces, (line[end:], INK)]:
        if piece:
            x += text(canvas, (x, y), piece, CODE_SIZE, colour, mono=True)
    return x


def _draw_squiggle(canvas: Canvas, left: int, right: int, y: int) -> None:
    points = [(x, y + (2 if i % 2 else 0)) for i, x in enumerate(range(left, right, 3))]
    canvas.pen.line(points, fill="#f14c4c", width=1)


def _draw_minimap_row(canvas: Canvas, xy: tuple[int, int], line: str) -> None:
    indent = len(line) - len(line.lstrip())
    length = min(len(line.strip()), 56 - indent)
    if length > 0:
        canvas.pen.line((xy[0] + indent, xy[1], xy[0] + indent + length, xy[1]), fill="#5a6472")


def _draw_panel(canvas: Canvas, area: Box, lines: list[str]) -> None:
    left, top, right, _ = area
    box(canvas, area, "#181818")
    box(canvas, (left, top, right, top + 1), "#3c3c3c")
    for i, line in enumerate(lines):
        colour = next((colour for rule, colour in TERMINAL_RULES if rule.search(line)), "#c9d1d9")
        text(canvas, (left + 14, top + 10 + LINE * i), line, 11, colour, mono=True)


def _draw_status(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, _ = area
    box(canvas, area, "#0078d4")
    text(
        canvas,
        (left + 12, top + 4),
        f"{state['branch']}*   0 errors, {state.get('warnings', 0)} warnings",
        11,
        "#ffffff",
    )
    line = state.get("cursor", len(state["lines"])) + state.get("first", 1) - 1
    text(
        canvas,
        (right - 12, top + 4),
        f"Ln {line}   Spaces: 4   UTF-8   {state['language']}",
        11,
        "#ffffff",
        anchor="ra",
    )
