"""The browser, the document reader and the notes of the synthetic screenshots."""

import math
from collections.abc import Callable
from typing import Any

from poc_lib.canvas import SIZE, Box, Canvas, box, dot, font, paragraph, text
from poc_lib.demo.desktop import draw_desktop, draw_window

SERIES = ("#3b82f6", "#f59e0b", "#10b981")


def draw_browser(state: dict[str, Any], clock: str) -> Canvas:
    """A browser: tabs, address, and a page of the kind that ``state`` names."""
    canvas = draw_desktop(state["app"], clock, dock=False)
    area = (14, 30, SIZE[0] - 14, SIZE[1] - 10)
    left, top, right, bottom = draw_window(canvas, area, "", False, "#dee1e6", "#ffffff")
    _draw_tab_row(canvas, (left + 66, top - 24, right, top), state["tabs"])
    box(canvas, (left, top, right, top + 32), "#ffffff")
    for i, mark in enumerate("‹›"):
        text(canvas, (left + 18 + 22 * i, top + 15), mark, 20, "#5f6368", anchor="mm")
    box(canvas, (left + 66, top + 4, right - 60, top + 28), "#f1f3f4", 12)
    text(canvas, (left + 82, top + 9), state["url"], 12, "#3c4043")
    box(canvas, (left, top + 32, right, top + 33), "#dadce0")
    PAGES[state["page"]](canvas, (left, top + 33, right, bottom), state)
    return canvas


def draw_reader(state: dict[str, Any], clock: str) -> Canvas:
    """A document reader: thumbnails on the left, a two-column page."""
    canvas = draw_desktop(state["app"], clock, dock=False)
    title = f"{state['document']} - page {state['page']} of {state['pages']}"
    area = (40, 30, SIZE[0] - 40, SIZE[1] - 10)
    left, top, right, bottom = draw_window(canvas, area, title, False, "#e8e6e3", "#8e8e93")
    box(canvas, (left, top, left + 130, bottom - 8), "#ecebe9")
    for i in range(4):
        _draw_thumbnail(canvas, (left + 36, top + 14 + 112 * i), state["page"] - 1 + i, i == 1)
    page = (left + 170, top + 10, right - 40, bottom - 2)
    box(canvas, page, "#ffffff")
    middle = (page[0] + page[2]) // 2
    text(canvas, (middle, page[1] + 18), state["heading"], 17, "#111111", bold=True, anchor="ma")
    text(canvas, (middle, page[1] + 42), state["authors"], 11, "#555555", anchor="ma")
    half = (page[2] - page[0]) // 2 - 36
    for x, column in zip((page[0] + 26, middle + 12), state["columns"], strict=True):
        y = page[1] + 72
        for words in column:
            is_heading = words.startswith("## ")
            if is_heading:
                text(canvas, (x, y + 2), words[3:], 13, "#111111", bold=True)
                y += 22
            else:
                y = paragraph(canvas, (x, y), words, half, 12, "#2b2b2b", 17) + 8
    return canvas


def draw_notes(state: dict[str, Any], clock: str) -> Canvas:
    """A note-taking app: the notes on the left, one note on the right."""
    canvas = draw_desktop(state["app"], clock, dock=True)
    area = (110, 40, SIZE[0] - 110, 508)
    left, top, _right, bottom = draw_window(canvas, area, state["note"], False, "#f3f0fa", "#ffffff")
    box(canvas, (left, top, left + 180, bottom - 8), "#f6f4fb")
    for i, name in enumerate(state["notes"]):
        y = top + 12 + 26 * i
        if name == state["note"]:
            box(canvas, (left + 8, y - 4, left + 172, y + 18), "#ddd3f5", 5)
        text(canvas, (left + 18, y), name, 12, "#3b3552")
    text(canvas, (left + 206, top + 20), state["note"], 20, "#2a2540", bold=True)
    y = top + 58
    for line in state["lines"]:
        done = line.startswith("[x]")
        if line.startswith("["):
            box(
                canvas,
                (left + 206, y + 1, left + 219, y + 14),
                "#7c5cc4" if done else "#ffffff",
                3,
                "#7c5cc4",
            )
            text(canvas, (left + 228, y), line[4:], 13, "#8a86a0" if done else "#2a2540")
        else:
            text(canvas, (left + 206, y), line, 13, "#4a4560")
        y += 24
    return canvas


def _draw_tab_row(canvas: Canvas, area: Box, tabs: list[str]) -> None:
    x, top, _, bottom = area
    for i, name in enumerate(tabs):
        width = min(230, int(font(11).getlength(name)) + 44)
        if i == 0:
            box(canvas, (x, top, x + width, bottom + 4), "#ffffff", 7)
        dot(canvas, (x + 14, top + 13), 4, SERIES[i % len(SERIES)])
        text(canvas, (x + 24, top + 7), name, 11, "#3c4043" if i == 0 else "#5f6368")
        x += width + 4


def _draw_docs(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, bottom = area
    box(canvas, (left, top, left + 200, bottom - 8), "#f7f8fa")
    for i, name in enumerate(state["contents"]):
        active = name == state["section"]
        text(
            canvas, (left + 22, top + 18 + 25 * i), name, 12, "#1a56db" if active else "#4b5563", bold=active
        )
    x, width = left + 230, right - left - 290
    text(canvas, (x, top + 18), state["heading"], 22, "#111827", bold=True)
    y = paragraph(canvas, (x, top + 56), state["intro"], width, 13, "#374151", 19) + 8
    box(canvas, (x, y, x + width, y + 20 + 17 * len(state["code"])), "#0f172a", 7)
    for i, line in enumerate(state["code"]):
        text(canvas, (x + 14, y + 10 + 17 * i), line, 12, "#e2e8f0", mono=True)
    y += 36 + 17 * len(state["code"])
    for words in state["notes"]:
        y = paragraph(canvas, (x, y), words, width, 13, "#374151", 19) + 8


def _draw_review(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, bottom = area
    text(canvas, (left + 28, top + 14), state["heading"], 18, "#1f2328", bold=True)
    box(canvas, (left + 28, top + 42, left + 92, top + 62), state.get("badge_colour", "#1a7f37"), 10)
    text(canvas, (left + 60, top + 52), state["badge"], 11, "#ffffff", bold=True, anchor="mm")
    text(canvas, (left + 102, top + 45), state["summary"], 12, "#59636e")
    box(canvas, (left + 28, top + 72, right - 28, top + 96), "#f6f8fa", 5, outline="#d1d9e0")
    text(canvas, (left + 40, top + 78), state["file"], 11, "#1f2328", mono=True)
    y = top + 100
    for line in state["diff"]:
        ground = {"+": "#dafbe1", "-": "#ffebe9", "@": "#ddf4ff"}.get(line[0], "#ffffff")
        box(canvas, (left + 28, y, right - 28, y + 18), ground)
        text(canvas, (left + 40, y + 2), line, 12, "#1f2328", mono=True)
        y += 18
    for name, words in state["comments"]:
        y += 8
        if y + 50 > bottom:
            break
        box(canvas, (left + 60, y, right - 60, y + 48), "#ffffff", 6, outline="#d1d9e0")
        dot(canvas, (left + 82, y + 24), 12, "#8250df")
        text(canvas, (left + 82, y + 24), name[0], 12, "#ffffff", bold=True, anchor="mm")
        text(canvas, (left + 104, y + 7), name, 12, "#1f2328", bold=True)
        text(canvas, (left + 104, y + 25), words, 12, "#1f2328")
        y += 48


def _draw_dashboard(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, bottom = area
    box(canvas, (left, top, right, bottom - 8), "#181b1f")
    box(canvas, (left, bottom - 20, right, bottom), "#181b1f", 8)
    text(canvas, (left + 20, top + 12), state["heading"], 16, "#d8d9da", bold=True)
    text(canvas, (right - 20, top + 14), state["range"], 11, "#8e9196", anchor="ra")
    for i, (label, value, colour) in enumerate(state["stats"]):
        x = left + 20 + 238 * i
        box(canvas, (x, top + 42, x + 226, top + 116), "#22252b", 5)
        text(canvas, (x + 12, top + 50), label, 11, "#9fa3a8")
        text(canvas, (x + 113, top + 88), value, 26, colour, bold=True, anchor="mm")
    _draw_chart(canvas, (left + 20, top + 128, right - 20, bottom - 16), state)


def _draw_chart(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, bottom = area
    box(canvas, area, "#22252b", 5)
    text(canvas, (left + 12, top + 8), state["chart"], 12, "#d8d9da")
    for i in range(5):
        y = top + 40 + (bottom - top - 76) * i // 4
        box(canvas, (left + 50, y, right - 16, y + 1), "#34373d")
        text(canvas, (left + 44, y - 6), state["ticks"][i], 10, "#8e9196", anchor="ra")
    floor, height = bottom - 36, bottom - top - 76
    for n, name in enumerate(state["series"]):
        points = []
        for step in range(0, right - left - 70, 6):
            wave = 0.30 + 0.10 * n + 0.07 * math.sin(step / 41 + n) + 0.05 * math.sin(step / 17 + 2 * n)
            peak = state["peak"] * math.exp(-(((step - state["peak_at"]) / 60) ** 2)) if n == 0 else 0
            points.append((left + 52 + step, floor - int(height * min(0.97, wave + peak))))
        canvas.pen.line(points, fill=SERIES[n], width=2)
        dot(canvas, (left + 60 + 170 * n, bottom - 16), 4, SERIES[n])
        text(canvas, (left + 70 + 170 * n, bottom - 23), name, 11, "#c7c9cc")


def _draw_search(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, _ = area
    box(canvas, (left + 60, top + 16, left + 660, top + 48), "#ffffff", 16, outline="#dfe1e5")
    text(canvas, (left + 80, top + 25), state["query"], 14, "#202124")
    text(canvas, (left + 64, top + 60), state["found"], 11, "#70757a")
    y = top + 84
    for title, address, words in state["results"]:
        text(canvas, (left + 64, y), address, 11, "#4d5156")
        text(canvas, (left + 64, y + 15), title, 16, "#1a0dab")
        y = paragraph(canvas, (left + 64, y + 40), words, right - left - 300, 13, "#4d5156") + 16


def _draw_thumbnail(canvas: Canvas, xy: tuple[int, int], number: int, active: bool) -> None:
    x, y = xy
    box(canvas, (x - 3, y - 3, x + 63, y + 85), "#4a90d9" if active else "#ecebe9", 3)
    box(canvas, (x, y, x + 60, y + 82), "#ffffff")
    for i in range(9):
        width = 22 if i % 4 else 16
        box(canvas, (x + 5, y + 10 + 7 * i, x + 5 + width, y + 12 + 7 * i), "#c4c4c4")
        box(canvas, (x + 33, y + 10 + 7 * i, x + 33 + width, y + 12 + 7 * i), "#c4c4c4")
    text(canvas, (x + 30, y + 88), str(number), 10, "#555555", anchor="ma")


PAGES: dict[str, Callable[[Canvas, Box, dict[str, Any]], None]] = {
    "docs": _draw_docs,
    "review": _draw_review,
    "dashboard": _draw_dashboard,
    "search": _draw_search,
}
