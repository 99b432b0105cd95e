"""The demo's day as a list of shots: what each screenshot shows, and the facts that can be read in it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DAY = Path(__file__).with_name("day.json")


@dataclass(frozen=True, slots=True)
class Shot:
    """One screenshot to draw. Two wordings of the same action make honest paraphrases possible."""

    recording: str  # "main", "older" or "recorder"
    scene: int  # shots of one scene show the same window
    kind: str  # which drawing function: editor, terminal, browser, chat, meeting, reader, notes
    state: dict[str, Any]  # everything that is drawn
    action: str  # what the user does, e.g. "grouping the calls by berth name"
    same_action: str  # the same in other words
    visible: str  # a text that can be read in the picture
    activity: str
    apps: tuple[str, ...]
    topics: tuple[str, ...]


def read_day() -> list[Shot]:
    """All shots in time order; each step of a scene changes the picture of the step before a little."""
    scenes = json.loads(DAY.read_text(encoding="utf-8"))["scenes"]
    return [shot for number, scene in enumerate(scenes) for shot in _shots(number, scene)]


def _shots(number: int, scene: dict[str, Any]) -> list[Shot]:
    shots, state = [], scene["base"]
    for step in scene["steps"]:
        state = _next_state(state, step)
        shots.append(
            Shot(
                recording=scene["recording"],
                scene=number,
                kind=scene["kind"],
                state=state,
                action=step["a"],
                same_action=step["b"],
                visible=step["see"],
                activity=scene["activity"],
                apps=tuple(scene["apps"]),
                topics=tuple(scene["topics"]),
            )
        )
    return shots


def _next_state(state: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    following = state | step.get("set", {})
    for field, more in step.get("append", {}).items():
        following[field] = following[field] + more
    return following
