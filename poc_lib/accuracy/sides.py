"""The two sides of a comparison: an answer, and what it is held against."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from poc_lib.accuracy.facts import Facts, read_facts
from poc_lib.accuracy.names import fold_apps, fold_topics
from poc_lib.answers import parse_answer, strip_thinking

REMEMBERED = 20_000  # answers kept parsed: every table of a run reads the same ones
NO_FACTS = Facts(frozenset(), frozenset(), "")


@dataclass(frozen=True, slots=True)
class Side:
    """What can be compared of an answer or a reference."""

    text: str = ""
    activity: str | None = None
    apps: frozenset[str] | None = None  # folded names, see names.fold_apps
    topics: frozenset[str] | None = None
    well_formed: bool = False
    chars: int = 0  # length of the whole answer, its thinking left out
    problem: str | None = None  # why there is nothing to compare; None: there is
    facts: Facts = NO_FACTS  # checkable tokens of ``text``


def answer_side(text: Any, error_class: Any) -> Side:
    """One request's answer as a side; a failed request is a side with a problem."""
    if not is_missing(error_class):
        return Side(problem=f"failed: {error_class}")
    return _read_answer(text if isinstance(text, str) else "")


@lru_cache(maxsize=REMEMBERED)
def _read_answer(text: str) -> Side:
    whole = strip_thinking(text)
    if not whole:
        return Side(problem="failed: no text outside its thinking")
    parsed = parse_answer(text)
    compared = parsed.description or whole
    return Side(
        text=compared,
        activity=parsed.activity,
        apps=fold_apps(parsed.apps),
        topics=fold_topics(parsed.topics),
        well_formed=parsed.well_formed,
        chars=len(whole),
        facts=read_facts(compared),
    )


def answer_sides(rows: pd.DataFrame) -> list[Side]:
    """The sides of the rows of a requests table, in their order."""
    return [answer_side(text, error) for text, error in zip(rows["text"], rows["error_class"], strict=True)]


def reference_sides(frames: pd.DataFrame) -> dict[str, Side]:
    """The stored references by frame_id; frames without a stored description are left out."""
    if frames.empty:
        return {}
    columns = ["frame_id", "ref_description", "ref_activity", "ref_apps", "ref_topics"]
    rows = frames.reindex(columns=columns).itertuples(index=False)
    return {
        row.frame_id: Side(
            text=row.ref_description.strip(),
            activity=stored_activity(row.ref_activity),
            apps=fold_apps(row.ref_apps),
            topics=fold_topics(row.ref_topics),
            facts=read_facts(row.ref_description),
        )
        for row in rows
        if isinstance(row.ref_description, str) and row.ref_description.strip()
    }


def ocr_facts(frames: pd.DataFrame) -> dict[str, Facts]:
    """The stored OCR texts by frame_id; frames without one are left out."""
    if "ocr_text" not in frames:
        return {}
    return {
        frame_id: read_facts(text)
        for frame_id, text in zip(frames["frame_id"], frames["ocr_text"], strict=True)
        if isinstance(text, str) and text.strip()
    }


def measured(requests: pd.DataFrame) -> pd.DataFrame:
    """The measured requests in sending order, warm-up left out."""
    if requests.empty:
        return requests
    kept = requests[requests["phase"] == "measure"]
    return kept.sort_values(["sitting", "start_s"], kind="stable").reset_index(drop=True)


def is_missing(value: Any) -> bool:
    """Whether a table's cell is None, NaN or NA."""
    return value is None or value is pd.NA or value != value


def stored_activity(value: Any) -> str | None:
    """An activity in lower case; None where none is known."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return word if word and word != "unknown" else None  # "unknown": the app's parser had failed
