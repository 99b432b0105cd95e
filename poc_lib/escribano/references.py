"""What the app stored about a frame, and whether it can serve as a reference."""

import json
import re

from poc_lib.records import Reference

# The texts that the app stores in place of a description when its model or its parser failed.
PLACEHOLDERS = {
    "no description": "placeholder 'No description…'",
    "parse error": "placeholder 'Parse error…'",
    "failed to parse frame": "placeholder 'Failed to parse Frame…'",
}
NO_DESCRIPTION = "no description stored"
EMPTY_DESCRIPTION = "empty description"
UNPARSED_REPLY = "activity 'unknown': an unparsed reply"
UNPARSED_ACTIVITY = "unknown"

_VLM_MODEL = re.compile(r'"vlm_model"\s*:\s*"([^"]+)"')


def reference_problem(description: str | None, activity: str | None) -> str | None:
    """Why a stored description is not usable as a reference; None: it is."""
    if description is None:
        return NO_DESCRIPTION
    text = description.strip().lower()
    if not text:
        return EMPTY_DESCRIPTION
    for start, problem in PLACEHOLDERS.items():
        if text.startswith(start):
            return problem
    return UNPARSED_REPLY if (activity or "").strip().lower() == UNPARSED_ACTIVITY else None


def parse_reference(
    description: str | None,
    activity: str | None,
    apps: str | None,
    topics: str | None,
    model: str | None,
) -> tuple[Reference | None, str | None]:
    """The stored reference and why there is none; exactly one of the two is None."""
    problem = reference_problem(description, activity)
    if problem is not None or description is None:
        return None, problem
    return (
        Reference(
            description=description.strip(),
            activity=(activity or "").strip().lower() or None,
            apps=parse_names(apps),
            topics=parse_names(topics),
            model=model,
        ),
        None,
    )


def parse_names(stored: str | None) -> tuple[str, ...] | None:
    """Names from a JSON array or from ``A, B``; None where nothing is stored, () for an empty array.

    The always-on recorder writes its arrays without escaping quotes, so a text in brackets need not be JSON.
    """
    text = (stored or "").strip()
    if not text or text == "null":
        return None
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        values = [part.strip().strip('"') for part in text.removeprefix("[").removesuffix("]").split(",")]
    if not isinstance(values, list):
        values = [values]
    return tuple(name for name in (str(value).strip() for value in values if value is not None) if name)


def parse_vlm_model(metadata: str | None) -> str | None:
    """The vision model in a processing run's metadata, or None.

    Not read as JSON: one of the app's migrations replaced every closing brace in older rows, which left
    invalid JSON wherever an object was empty.
    """
    found = _VLM_MODEL.search(metadata or "")
    return found.group(1) if found else None
