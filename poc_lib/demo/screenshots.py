"""A shot as a JPEG file's bytes."""

import io
from collections.abc import Callable
from typing import Any

from poc_lib.canvas import Canvas
from poc_lib.demo.code import draw_editor, draw_terminal
from poc_lib.demo.pages import draw_browser, draw_notes, draw_reader
from poc_lib.demo.script import Shot
from poc_lib.demo.talk import draw_chat, draw_meeting

JPEG_QUALITY = 88

DRAWINGS: dict[str, Callable[[dict[str, Any], str], Canvas]] = {
    "browser": draw_browser,
    "chat": draw_chat,
    "editor": draw_editor,
    "meeting": draw_meeting,
    "notes": draw_notes,
    "reader": draw_reader,
    "terminal": draw_terminal,
}


def draw_screenshot(shot: Shot, clock: str) -> bytes:
    """The shot as a JPEG of 1024 × 576 pixels; ``clock`` is written in the menu bar."""
    canvas = DRAWINGS[shot.kind](shot.state, clock)
    data = io.BytesIO()
    canvas.image.save(data, format="JPEG", quality=JPEG_QUALITY)
    return data.getvalue()
