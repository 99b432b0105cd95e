"""The chat and the video meeting of the synthetic screenshots."""

from typing import Any

from poc_lib.canvas import SIZE, Box, Canvas, box, dot, paragraph, text
from poc_lib.demo.desktop import draw_desktop, draw_window

FACES = ("#e07a5f", "#3d85c6", "#81b29a", "#b56576", "#6d597a", "#d4a373", "#457b9d")


def draw_chat(state: dict[str, Any], clock: str) -> Canvas:
    """A chat: channels on the left, the messages of one channel on the right."""
    canvas = draw_desktop(state["app"], clock, dock=True)
    area = (60, 36, SIZE[0] - 60, 512)
    left, top, right, bottom = draw_window(canvas, area, state["workspace"], True, "#350d36", "#ffffff")
    _draw_channels(canvas, (left, top, left + 190, bottom), state)
    text(canvas, (left + 208, top + 12), f"# {state['channel']}", 15, "#1d1c1d", bold=True)
    text(canvas, (right - 16, top + 14), f"{state['members']} members", 11, "#616061", anchor="ra")
    box(canvas, (left + 190, top + 38, right, top + 39), "#dddddd")
    _draw_messages(canvas, (left + 208, top + 48, right - 20, bottom - 56), state["messages"])
    box(canvas, (left + 206, bottom - 46, right - 18, bottom - 12), "#ffffff", 8, outline="#9a9a9a")
    draft = state.get("draft")
    text(
        canvas,
        (left + 220, bottom - 36),
        draft or f"Message #{state['channel']}",
        12,
        "#1d1c1d" if draft else "#8d8d8d",
    )
    return canvas


def draw_meeting(state: dict[str, Any], clock: str) -> Canvas:
    """A video call: the shared slide, the participants' tiles, the toolbar."""
    canvas = draw_desktop(state["app"], clock, dock=False)
    area = (20, 32, SIZE[0] - 20, SIZE[1] - 12)
    left, top, right, bottom = draw_window(canvas, area, state["meeting"], True, "#242424", "#1a1a1a")
    _draw_slide(canvas, (left + 14, top + 10, right - 196, bottom - 54), state["slide"])
    height = (bottom - 64 - top) // len(state["people"])
    for i, name in enumerate(state["people"]):
        tile = (right - 184, top + 10 + height * i, right - 12, top + 2 + height * (i + 1))
        _draw_tile(canvas, tile, name, name == state["speaker"], FACES[i % len(FACES)])
    _draw_toolbar(canvas, (left, bottom - 44, right, bottom), state)
    return canvas


def _draw_channels(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, bottom = area
    box(canvas, (left, top, right, bottom - 8), "#3f0e40")
    box(canvas, (left, bottom - 20, right, bottom), "#3f0e40", 8)
    text(canvas, (left + 16, top + 12), "Channels", 12, "#cfc3cf")
    y = top + 34
    for name in state["channels"]:
        active = name == state["channel"]
        if active:
            box(canvas, (left + 8, y - 3, right - 8, y + 19), "#1164a3", 5)
        text(canvas, (left + 18, y), f"# {name}", 12, "#ffffff" if active else "#cfc3cf", bold=active)
        y += 25
    text(canvas, (left + 16, y + 10), "Direct messages", 12, "#cfc3cf")
    for i, name in enumerate(state["people"]):
        dot(canvas, (left + 24, y + 43 + 24 * i), 4, "#2bac76")
        text(canvas, (left + 36, y + 35 + 24 * i), name, 12, "#cfc3cf")


def _draw_messages(canvas: Canvas, area: Box, messages: list[list[str]]) -> None:
    left, top, right, bottom = area
    y = top
    for name, at, words in messages:
        colour = FACES[sum(map(ord, name)) % len(FACES)]
        box(canvas, (left, y, left + 32, y + 32), colour, 6)
        text(canvas, (left + 16, y + 17), name[0], 16, "#ffffff", bold=True, anchor="mm")
        x = left + 42 + text(canvas, (left + 42, y), name, 13, "#1d1c1d", bold=True)
        text(canvas, (x + 8, y + 2), at, 10, "#8d8d8d")
        y = max(paragraph(canvas, (left + 42, y + 18), words, right - left - 50, 13, "#1d1c1d"), y + 34) + 8
        if y > bottom - 34:
            break


def _draw_slide(canvas: Canvas, area: Box, slide: dict[str, Any]) -> None:
    left, top, right, bottom = area
    box(canvas, area, "#fbfaf7", 6)
    box(canvas, (left, top + 60, left + 6, bottom - 30), slide["colour"])
    text(canvas, (left + 30, top + 24), slide["title"], 24, "#22303c", bold=True)
    for i, point in enumerate(slide["points"]):
        dot(canvas, (left + 42, top + 92 + 40 * i), 4, slide["colour"])
        text(canvas, (left + 58, top + 82 + 40 * i), point, 17, "#34434f")
    bars = slide.get("bars", [])
    for i, (label, value) in enumerate(bars):
        x = left + 70 + i * 120
        box(canvas, (x, bottom - 50 - value, x + 64, bottom - 50), slide["colour"], 3)
        text(canvas, (x + 32, bottom - 42), label, 12, "#34434f", anchor="ma")
    text(canvas, (right - 18, bottom - 24), slide["footer"], 11, "#8a949c", anchor="ra")


def _draw_tile(canvas: Canvas, area: Box, name: str, speaking: bool, colour: str) -> None:
    left, top, right, bottom = area
    box(canvas, area, "#2d2d30", 8, outline="#3ddc84" if speaking else "#2d2d30")
    if speaking:
        canvas.pen.rounded_rectangle((left, top, right - 1, bottom - 1), 8, outline="#3ddc84", width=2)
    middle = ((left + right) // 2, (top + bottom) // 2 - 6)
    dot(canvas, middle, 20, colour)
    text(canvas, middle, name[0], 20, "#ffffff", bold=True, anchor="mm")
    text(canvas, (left + 10, bottom - 20), name, 12, "#eeeeee")


def _draw_toolbar(canvas: Canvas, area: Box, state: dict[str, Any]) -> None:
    left, top, right, _ = area
    labels = ("Mute", "Stop Video", "Participants", "Chat", "Share Screen", "Record")
    for i, label in enumerate(labels):
        x = left + 190 + 104 * i
        dot(canvas, (x, top + 13), 8, "#3ddc84" if label == "Share Screen" else "#5c5c61")
        text(canvas, (x, top + 26), label, 10, "#d0d0d0", anchor="ma")
    text(canvas, (left + 16, top + 14), state["elapsed"], 12, "#d0d0d0")
    box(canvas, (right - 84, top + 6, right - 14, top + 32), "#d93025", 6)
    text(canvas, (right - 49, top + 19), "Leave", 12, "#ffffff", bold=True, anchor="mm")
