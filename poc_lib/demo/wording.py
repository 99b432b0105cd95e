"""Descriptions of a shot: the stored one, a fresh one, and paraphrases, all saying the same facts.

Every sentence names the place and the action, each in one of two wordings, and some quote a text that can be
read in the picture. A fresh answer agrees with the stored one by a difflib ratio of mostly 0.4 to 0.9, as the
answers of two models do; neighbouring shots share the place and differ in the action.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from poc_lib.demo.script import Shot

PATTERNS = (
    "The user is {action} in {place}.",
    "The screen shows {place}. The user is {action}.",
    "The user is {same_action} in {place}; the text '{visible}' can be read.",
    "{Other_place}: the user is {action}, with '{visible}' on screen.",
    "A user is {action}, working in {place}.",
    "The display shows {place}, where the user is {same_action}.",
)
# Word order decides how alike difflib finds two texts: even patterns begin with the action, odd ones with the
# place. Most fresh answers keep the order of the stored one.
SAME_ORDER_SHARE = 0.8
STORED_PATTERNS = (0, 1)
N_VARIANTS = 3

# How often a fresh answer departs from the stored one in the closed fields, as another model would.
OTHER_ACTIVITY_SHARE = 0.1
OTHER_APP_NAME_SHARE = 0.15
FEWER_TOPICS_SHARE = 0.3

NEIGHBOUR_ACTIVITY = {
    "coding": "debugging",
    "debugging": "coding",
    "terminal": "coding",
    "research": "reading",
    "reading": "research",
    "review": "reading",
    "meeting": "other",
    "other": "reading",
}
LONG_APP_NAMES = {"VS Code": "Visual Studio Code", "Chrome": "Google Chrome", "Firefox": "Mozilla Firefox"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says about a shot."""

    description: str
    activity: str
    apps: tuple[str, ...]
    topics: tuple[str, ...]
    variants: tuple[str, ...] = ()  # further wordings of the description


def stored_answer(shot: Shot, rng: random.Random) -> Answer:
    """What the app's earlier model wrote about the shot."""
    return Answer(_sentence(shot, rng.choice(STORED_PATTERNS)), shot.activity, shot.apps, shot.topics)


def fresh_answer(shot: Shot, stored: Answer, rng: random.Random) -> Answer:
    """What another model says: none of its wordings is the stored one."""
    sentences = [_sentence(shot, pattern) for pattern in range(len(PATTERNS))]
    order = sentences.index(stored.description) % 2
    if rng.random() > SAME_ORDER_SHARE:
        order = 1 - order
    alike = [sentence for sentence in sentences[order::2] if sentence != stored.description]
    description = rng.choice(alike)
    others = [sentence for sentence in sentences if sentence not in (description, stored.description)]
    rng.shuffle(others)
    activity = shot.activity
    if rng.random() < OTHER_ACTIVITY_SHARE:
        activity = NEIGHBOUR_ACTIVITY[activity]
    apps = shot.apps
    if rng.random() < OTHER_APP_NAME_SHARE:
        apps = tuple(LONG_APP_NAMES.get(app, app) for app in apps)
    topics = shot.topics[:1] if rng.random() < FEWER_TOPICS_SHARE else shot.topics
    return Answer(description, activity, apps, topics, tuple(others[:N_VARIANTS]))


def _sentence(shot: Shot, pattern: int) -> str:
    place, other_place = PLACES[shot.kind](shot.state)
    sentence = PATTERNS[pattern].format(
        action=shot.action,
        same_action=shot.same_action,
        visible=shot.visible,
        place=place,
        Other_place=other_place[0].upper() + other_place[1:],
    )
    # A bar separates the fields of the app's one-line format.
    return sentence.replace("|", "/")


def _editor_place(state: dict[str, Any]) -> tuple[str, str]:
    file, project, app = state["file"], state["project"], state["app"]
    return f"{file} of the {project} project in {app}", f"{app} with the {project} file {file}"


def _terminal_place(state: dict[str, Any]) -> tuple[str, str]:
    return f"a terminal window of {state['project']}", f"the {state['project']} shell in {state['app']}"


def _browser_place(state: dict[str, Any]) -> tuple[str, str]:
    app, site = state["app"], state["site"]
    if state["page"] == "docs":
        return f"the page {state['section']} of {site} in {app}", f"{app} with {site} at {state['section']}"
    if state["page"] == "review":
        return f"the diff of {state['file']} in {site} in {app}", f"{app} with {site}, file {state['file']}"
    if state["page"] == "dashboard":
        return (
            f"the {site} dashboard {state['heading']} in {app}",
            f"{app} showing {state['heading']} in {site}",
        )
    return f"{app} with results for '{state['query']}'", f"{site} for {state['query']} in {app}"


def _chat_place(state: dict[str, Any]) -> tuple[str, str]:
    app, channel = state["app"], state["channel"]
    return f"the {app} channel #{channel}", f"{app} at #{channel} of {state['workspace']}"


def _meeting_place(state: dict[str, Any]) -> tuple[str, str]:
    return f"the {state['app']} meeting {state['meeting']}", f"{state['app']} call '{state['meeting']}'"


def _reader_place(state: dict[str, Any]) -> tuple[str, str]:
    return f"{state['document']} in {state['app']}", f"{state['app']} with the paper {state['document']}"


def _notes_place(state: dict[str, Any]) -> tuple[str, str]:
    return f"the note '{state['note']}' in {state['app']}", f"{state['app']} with the note {state['note']}"


PLACES: dict[str, Callable[[dict[str, Any]], tuple[str, str]]] = {
    "browser": _browser_place,
    "chat": _chat_place,
    "editor": _editor_place,
    "meeting": _meeting_place,
    "notes": _notes_place,
    "reader": _reader_place,
    "terminal": _terminal_place,
}
