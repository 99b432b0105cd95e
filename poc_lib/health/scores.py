"""One row per request: what is wrong with its answer in itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poc_lib.accuracy.sides import is_missing, measured, reference_sides
from poc_lib.answers import parse_answer, strip_thinking
from poc_lib.health.language import foreign_share, guess_language, main_language, main_scripts
from poc_lib.health.limits import DEFAULT_LIMITS, HealthLimits
from poc_lib.health.loops import compression_ratio, repeated_share
from poc_lib.health.refusals import is_refusal

KEY = ["server", "role", "concurrency", "block", "frame_id"]
FLAGS = (
    "failed",
    "empty",
    "truncated",
    "not_well_formed",
    "looping",
    "refusal",
    "wrong_language",
    "too_short",
    "too_long",
)
HEALTH_COLUMNS = (
    *KEY,
    *FLAGS,
    "problems",
    "healthy",
    "chars",
    "description_chars",
    "chars_vs_reference",
    "chars_vs_level_1",
    "repeated_share",
    "compression_ratio",
    "foreign_share",
    "language",
)
_UNSCORED = {"repeated_share": np.nan, "compression_ratio": np.nan, "foreign_share": np.nan, "language": None}


@dataclass(frozen=True, slots=True)
class _Usual:
    """What is usual in this run."""

    scripts: frozenset[str]
    language: str | None
    reference_chars: dict[str, int]  # by frame_id


def score_health(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: HealthLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """Look at each answer by itself; no model is asked and no image looked at.

    Args:
        requests: one row per Reply; only the measured ones count.
        frames: one row per frame with ``frame_id`` and ``ref_description``.

    Returns:
        One row per request, in sending order, with HEALTH_COLUMNS. The flags are bool; of a failed request
        only ``failed`` or ``empty`` (nothing but thinking, or no text at all) is set, its lengths are NaN.
        ``truncated``: cut at max_tokens. ``not_well_formed``: not the app's one line (answers.parse_answer).
        ``too_short``/``too_long``: against the stored reference's length, or that of the server's own answer
        at its lowest level where the frame has none. ``wrong_language``: letters of another script than the
        references', or the commonest words of another language. ``problems`` names what is set, joined by
        "; "; ``healthy``: nothing is.
    """
    rows = measured(requests)
    if rows.empty:
        return pd.DataFrame(columns=list(HEALTH_COLUMNS))
    usual = _usual(rows, frames)
    scored = pd.DataFrame([_score(row, usual, limits) for row in rows.itertuples(index=False)])
    table = pd.concat([rows[KEY], scored], axis=1)
    table["chars_vs_reference"] = table["description_chars"] / table["frame_id"].map(usual.reference_chars)
    table["chars_vs_level_1"] = table["chars"] / _chars_without_load(table)
    yardstick = table["chars_vs_reference"].fillna(table["chars_vs_level_1"])
    table["too_short"], table["too_long"] = yardstick < limits.short_ratio, yardstick > limits.long_ratio
    named = table[list(FLAGS)].to_numpy(dtype=bool)
    table["problems"] = ["; ".join(np.array(FLAGS)[row]) for row in named]
    return table.assign(healthy=~named.any(axis=1))[list(HEALTH_COLUMNS)]


def _score(row: Any, usual: _Usual, limits: HealthLimits) -> dict[str, Any]:
    text = strip_thinking(row.text)
    empty = not text and (is_missing(row.error_class) or row.error_class == "empty")
    flags = dict.fromkeys(FLAGS, False) | {
        "failed": not (is_missing(row.error_class) or empty),
        "empty": empty,
        "truncated": row.finish_reason == "length" and is_missing(row.error_class),
    }
    if empty or flags["failed"]:
        return flags | {"chars": np.nan, "description_chars": np.nan} | _UNSCORED
    parsed = parse_answer(row.text)
    described = parsed.description or text
    measures = {
        "chars": len(text),
        "description_chars": len(described),
        "repeated_share": repeated_share(text),
        "compression_ratio": compression_ratio(text),
        "foreign_share": foreign_share(described, usual.scripts),
        "language": guess_language(described),
    }
    return (
        flags
        | measures
        | _judge(measures, usual, limits)
        | {
            "not_well_formed": not parsed.well_formed,
            "refusal": is_refusal(text),
        }
    )


def _judge(measures: dict[str, Any], usual: _Usual, limits: HealthLimits) -> dict[str, bool]:
    long_enough = measures["chars"] >= limits.compressed_from_chars
    squeezed = long_enough and measures["compression_ratio"] >= limits.compression_ratio
    other_words = None not in (usual.language, measures["language"])
    return {
        "looping": bool(measures["repeated_share"] >= limits.repeated_share or squeezed),
        "wrong_language": bool(
            measures["foreign_share"] >= limits.foreign_share
            or (other_words and measures["language"] != usual.language)
        ),
    }


def _usual(rows: pd.DataFrame, frames: pd.DataFrame) -> _Usual:
    """By the stored references, or else by the answers at the lowest levels."""
    references = {frame_id: side.text for frame_id, side in reference_sides(frames).items()}
    texts = list(references.values())
    if not texts:
        unloaded = rows[rows["concurrency"] == rows.groupby("server")["concurrency"].transform("min")]
        texts = [strip_thinking(text) for text in unloaded["text"]]
    lengths = {frame_id: len(text) for frame_id, text in references.items()}
    return _Usual(main_scripts(texts), main_language(texts), lengths)


def _chars_without_load(table: pd.DataFrame) -> pd.Series:
    """For each row the median length of the same server's answers to the frame at its lowest level."""
    at_lowest = table["concurrency"] == table.groupby("server")["concurrency"].transform("min")
    medians = table[at_lowest].groupby(["server", "frame_id"])["chars"].median().rename("usual")
    joined = table[["server", "frame_id"]].merge(
        medians, left_on=["server", "frame_id"], right_index=True, how="left"
    )
    return joined["usual"].reindex(table.index)
