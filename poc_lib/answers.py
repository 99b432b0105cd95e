"""Reading the app's one-line answer: ``description: … | activity: … | apps: […] | topics: […]``.

Models wrap that line in fences, bold marks, thinking, JSON lists or line breaks. What can be read is read;
what cannot is ``None``. Nothing here raises on an answer, however broken.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

ACTIVITIES = ("debugging", "coding", "review", "meeting", "research", "reading", "terminal", "other")

_FIELDS = ("description", "activity", "apps", "topics")
_MARKS = r"[\s*_`\"'>#•-]{0,12}"  # what models put around a label; bounded, so that runs of them stay cheap
_LABEL = re.compile(
    rf"(?:\A|[|｜\n]){_MARKS}({'|'.join(_FIELDS)})[\s*_`\"']*[:：][ \t]*\**[ \t]*", re.IGNORECASE
)
_INNER_DESCRIPTION = re.compile(r"\b(description)[*_`\"']*[:：][ \t]*\**[ \t]*", re.IGNORECASE)
_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.IGNORECASE | re.DOTALL)
_THINKING_END = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_THINKING_START = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_FENCE = re.compile(r"```[a-zA-Z]*")
_QUOTED_OR_PLAIN = re.compile(r"\"([^\"\n]*)\"|“([^”\n]*)”|([^,;\n\"“]+)")
_NOTHING = {"", "none", "n/a", "na", "null", "-"}


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The fields of one answer; ``None``: the answer does not have that field."""

    description: str | None
    activity: str | None  # lower case; need not be in ACTIVITIES
    apps: tuple[str, ...] | None  # () means that the answer says "none"
    topics: tuple[str, ...] | None
    well_formed: bool  # all four fields, the activity from ACTIVITIES, both lists whole


NOT_PARSED = ParsedAnswer(None, None, None, None, well_formed=False)


def parse_answer(text: str | None) -> ParsedAnswer:
    """Read the app's one-line format out of an answer, as tolerantly as is safe.

    Tolerates case, extra white space, code fences, bold marks, quotes, JSON lists, fields on lines of their
    own, text around the line, a thinking prefix, pipes inside the description, and a JSON object in place of
    the line (then not well formed). Of several lines the first most complete one counts. A plain free-text
    answer, or anything but a string, gives ``None`` in every field; it never raises.
    """
    answer = _FENCE.sub("", strip_thinking(text)).strip()
    from_object = _read_object(answer)
    if from_object is not None:
        return from_object
    values = _field_values(answer)
    apps, apps_whole = _read_list(values.get("apps"))
    topics, topics_whole = _read_list(values.get("topics"))
    description = _tidy(values.get("description"))
    activity = _read_activity(values.get("activity"))
    whole = description is not None and activity in ACTIVITIES and apps_whole and topics_whole
    return ParsedAnswer(description, activity, apps, topics, well_formed=whole)


def strip_thinking(text: str | None) -> str:
    """An answer without its ``<think>`` block, closed or cut off; '' for anything but a string."""
    if not isinstance(text, str):
        return ""
    answer = _THINKING_END.split(_THINKING.sub("", text))[-1]  # Qwen templates open the block themselves
    return _THINKING_START.split(answer)[0].strip()


def comparable_text(text: str | None) -> str:
    """What of an answer is compared: its description, or the whole answer where it has none."""
    return parse_answer(text).description or strip_thinking(text)


def tidy_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names of apps or topics without quotes, marks and double spaces; empty ones and "none" fall away.

    The app's own parser keeps a JSON list's quotes, so stored names need this as much as fresh ones.
    """
    cleaned = (" ".join(str(name).split()).strip("\"'`*“”‘’• ").strip() for name in names)
    return tuple(name for name in cleaned if name.casefold() not in _NOTHING)


def _field_values(answer: str) -> dict[str, str]:
    """The text of each field of the answer's most complete line; of equals the first.

    A runaway answer repeats its line until it is cut off, so the first whole line is the one to read.
    """
    lines: list[list[re.Match]] = [[]]
    for label in _labels(answer):
        if label[1].lower() == "description":
            lines.append([])
        lines[-1].append(label)
    lines = [line for line in lines if line]
    ends = [line[0].start() for line in lines[1:]] + [len(answer)]
    values = [_line_values(answer, line, end) for line, end in zip(lines, ends, strict=False)]
    return max(values, key=len, default={})


def _labels(answer: str) -> list[re.Match]:
    labels = list(_LABEL.finditer(answer))
    if not labels or any(label[1].lower() == "description" for label in labels):
        return labels
    inner = _INNER_DESCRIPTION.search(answer, 0, labels[0].start())  # "Here is the line: description: …"
    return [inner, *labels] if inner else labels


def _line_values(answer: str, labels: list[re.Match], end: int) -> dict[str, str]:
    last = {label[1].lower(): label for label in labels}  # an earlier "| apps:" was part of the description
    kept = sorted(last.values(), key=lambda label: label.start())
    ends = [label.start() for label in kept[1:]] + [end]
    return {label[1].lower(): answer[label.end() : stop] for label, stop in zip(kept, ends, strict=True)}


def _tidy(value: str | None) -> str | None:
    text = " ".join((value or "").split()).strip("|｜ *")
    for mark in '"`':
        if text.count(mark) == 2 and text[0] == text[-1] == mark:
            text = text[1:-1].strip()
    return text or None


def _read_activity(value: str | None) -> str | None:
    words = re.findall(r"[^\W\d_]+", (value or "").lower())
    return next((word for word in words if word in ACTIVITIES), words[0] if words else None)


def _read_list(value: str | None) -> tuple[tuple[str, ...] | None, bool]:
    """The names in a field's text, and whether its list is whole (not cut off)."""
    if value is None:
        return None, False
    start = value.find("[")
    if start < 0:
        return _split_names(value.split("\n\n")[0]), bool(value.strip())
    end = _closing_bracket(value, start)
    return _split_names(value[start + 1 : end]), end is not None


def _closing_bracket(value: str, start: int) -> int | None:
    depth = 0
    for bracket in re.finditer(r"[\[\]]", value[start:]):
        depth += 1 if bracket[0] == "[" else -1
        if depth == 0:
            return start + bracket.start()
    return None


def _split_names(inside: str) -> tuple[str, ...]:
    parts = ("".join(found.groups("")) for found in _QUOTED_OR_PLAIN.finditer(inside))
    return tidy_names(part.strip().lstrip("-*").strip("|") for part in parts)


def _read_object(answer: str) -> ParsedAnswer | None:
    """A JSON object with the line's field names: models that like JSON answer so."""
    try:
        found = json.loads(answer) if answer.startswith("{") else None
    except (ValueError, RecursionError):
        return None
    values = {str(key).lower(): value for key, value in found.items()} if isinstance(found, dict) else {}
    description = values.get("description")
    if not isinstance(description, str):
        return None
    apps, topics = (
        tidy_names(values[key]) if isinstance(values.get(key), list) else None for key in ("apps", "topics")
    )
    activity = _read_activity(str(values.get("activity") or ""))
    return ParsedAnswer(_tidy(description), activity, apps, topics, well_formed=False)
