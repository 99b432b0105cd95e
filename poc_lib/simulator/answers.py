"""What the simulated model says about an image: looked up by the image's hash, or made up from it."""

import re
from dataclasses import dataclass
from pathlib import Path

import orjson

from poc_lib.errors import SetupProblem
from poc_lib.simulator.timing import draw

ONE_LINE_MARK = "description:"
CODE_MARK = "code:"
NO_CODE = "none"
PIECE = re.compile(r"\s?\S{1,4}|\s+")

_ACTIVITIES = ("debugging", "coding", "review", "meeting", "research", "reading", "terminal", "other")
_APPS = (
    "Firefox",
    "Terminal",
    "Visual Studio Code",
    "Preview",
    "Slack",
    "Notes",
    "Calendar",
    "Mail",
    "Figma",
)
_VERBS = ("Editing", "Reading", "Comparing", "Reviewing", "Searching", "Listing", "Renaming", "Testing")
_ADJECTIVES = ("quarterly", "broken", "annotated", "archived", "nightly", "shared", "draft", "imported")
_NOUNS = ("invoice", "migration", "notebook", "floor plan", "parser", "timetable", "dataset", "changelog")
_TOPICS = ("billing", "storage", "layout", "testing", "planning", "networking", "typography", "backups")


@dataclass(frozen=True, slots=True)
class Saying:
    """One thing the model may say about one image."""

    description: str
    activity: str
    apps: tuple[str, ...]
    topics: tuple[str, ...]
    code: str | None = None  # as it stands in the image; None: it shows none


@dataclass(frozen=True, slots=True)
class Answer:
    """All that the model may say about one image."""

    frame_id: str
    sayings: tuple[Saying, ...]


def read_answers(path: Path) -> dict[str, Answer]:
    """The answers by SHA-256 (hex) of the image's bytes.

    Raises:
        SetupProblem: the file is missing or is not the expected JSON.
    """
    try:
        entries = orjson.loads(path.read_bytes())
        return {sha256: _answer(entry) for sha256, entry in entries.items()}
    except FileNotFoundError:
        raise SetupProblem(
            f"no answers file at {path}: give a JSON object of image SHA-256 to answer"
        ) from None
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise SetupProblem(
            f"{path} does not hold answers ({type(error).__name__}: {error}): expected an object of image"
            " SHA-256 to frame_id, description, activity, apps, topics, code, variants"
        ) from None


def pick_saying(answer: Answer, temperature: float, *keys: object) -> Saying:
    """The saying drawn by the keys; at temperature 0 the keys' last (the request's count) plays no part."""
    used = keys[:-1] if temperature == 0 else keys
    return answer.sayings[int(draw("variant", *used) * len(answer.sayings))]


def made_up_answer(sha256: str) -> Answer:
    """A distinct answer for an image that the answers file does not know."""

    def one(words: tuple[str, ...], name: str) -> str:
        return words[int(draw(sha256, name) * len(words))]

    thing = f"{one(_ADJECTIVES, 'adjective')} {one(_NOUNS, 'noun')} {sha256[:6]}"
    where = f"{one(_APPS, 'app')}, section {int(sha256[6:9], 16)}"
    saying = Saying(
        description=f"{one(_VERBS, 'verb')} the {thing} in {where}",
        activity=one(_ACTIVITIES, "activity"),
        apps=(one(_APPS, "app"),),
        topics=(one(_TOPICS, "topic"), one(_NOUNS, "noun")),
    )
    return Answer(frame_id=f"unknown-{sha256[:12]}", sayings=(saying,))


def say(saying: Saying, *, one_line: bool, with_code: bool = False) -> str:
    """The answer's text: the app's one-line form, or free sentences where the prompt did not ask for it.

    ``with_code``: the line ends with the code that the image shows, or "none".
    """
    if one_line:
        line = (
            f"description: {saying.description} | activity: {saying.activity}"
            f" | apps: [{', '.join(saying.apps)}] | topics: [{', '.join(saying.topics)}]"
        )
        return f"{line} | {CODE_MARK} {saying.code or NO_CODE}" if with_code else line
    apps = " and ".join(saying.apps) or "no application that can be named"
    topics = ", ".join(saying.topics) or "nothing in particular"
    return (
        f"{saying.description}. In front is {apps}. The activity is {saying.activity}. It is about {topics}."
    )


def split_pieces(text: str) -> list[str]:
    """The text as tokens of about four characters; joined they give the text back."""
    return PIECE.findall(text)


def _answer(entry: dict) -> Answer:
    base = _saying(entry, {})
    sayings = [base, *(_saying(variant, entry) for variant in entry.get("variants", []))]
    return Answer(frame_id=str(entry["frame_id"]), sayings=tuple(dict.fromkeys(sayings)))


def _saying(variant: dict | str, base: dict) -> Saying:
    if isinstance(variant, str):
        variant = _fields_of_line(variant) if ONE_LINE_MARK in variant else {"description": variant}
    fields = base | variant
    return Saying(
        description=fields["description"],
        activity=fields.get("activity") or "other",
        apps=tuple(fields.get("apps") or ()),
        topics=tuple(fields.get("topics") or ()),
        code=fields.get("code"),
    )


def _fields_of_line(line: str) -> dict:
    fields: dict = {}
    for part in line.split(" | "):
        name, _, value = part.partition(":")
        value = value.strip()
        is_list = value.startswith("[")
        fields[name.strip()] = _list_items(value) if is_list else value
    return fields


def _list_items(value: str) -> list[str]:
    return [item.strip() for item in value.strip("[]").split(",") if item.strip()]
