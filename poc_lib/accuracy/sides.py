"""The two sides of a comparison: an answer, and what it is held against."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poc_lib.answers import parse_answer, strip_thinking, tidy_names


@dataclass(frozen=True, slots=True)
class Side:
    """What can be compared of an answer or a reference."""

    text: str = ""
    activity: str | None = None
    apps: frozenset[str] | None = None  # case-folded names
    topics: frozenset[str] | None = None
    well_formed: bool = False
    chars: int = 0  # length of the whole answer, its thinking left out
    problem: str | None = None  # why there is nothing to compare; None: there is


def answer_side(text: Any, error_class: Any) -> Side:
    """One request's answer as a side; a failed request is a side with a problem."""
    if not is_missing(error_class):
        return Side(problem=f"failed: {error_class}")
    whole = strip_thinking(text)
    if not whole:
        return Side(problem="failed: no text outside its thinking")
    parsed = parse_answer(text)
    return Side(
        text=parsed.description or whole,
        activity=parsed.activity,
        apps=fold_names(parsed.apps),
        topics=fold_names(parsed.topics),
        well_formed=parsed.well_formed,
        chars=len(whole),
    )


def reference_sides(frames: pd.DataFrame) -> dict[str, Side]:
    """The stored references by frame_id; frames without a stored description are left out."""
    if frames.empty:
        return {}
    columns = ["frame_id", "ref_description", "ref_activity", "ref_apps", "ref_topics"]
    rows = frames.reindex(columns=columns).itertuples(index=False)
    return {
        row.frame_id: Side(
            text=row.ref_description.strip(),
            activity=_stored_activity(row.ref_activity),
            apps=fold_names(row.ref_apps),
            topics=fold_names(row.ref_topics),
        )
        for row in rows
        if isinstance(row.ref_description, str) and row.ref_description.strip()
    }


def measured(requests: pd.DataFrame) -> pd.DataFrame:
    """The measured requests in sending order, warm-up left out."""
    if requests.empty:
        return requests
    kept = requests[requests["phase"] == "measure"]
    return kept.sort_values(["sitting", "start_s"], kind="stable").reset_index(drop=True)


def fold_names(names: Any) -> frozenset[str] | None:
    """Names as a case-folded set; None where there is no list (NULL, NaN)."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        return None
    return frozenset(name.casefold() for name in tidy_names(names))


def is_missing(value: Any) -> bool:
    """Whether a table's cell is None, NaN or NA."""
    return value is None or value is pd.NA or value != value


def _stored_activity(value: Any) -> str | None:
    word = value.strip().lower() if isinstance(value, str) else ""
    return word if word and word != "unknown" else None  # "unknown": the app's parser had failed
