"""One row per answer and per thing it is held against."""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from poc_lib.accuracy.sides import Side, answer_side, is_missing, measured, reference_sides
from poc_lib.accuracy.similarity import cosine_pairs, difflib_ratio, jaccard, same_set, vectorize_texts

STORED_REFERENCE = "stored reference"
SCORE_COLUMNS = (
    "server",
    "role",
    "concurrency",
    "repeat",
    "frame_id",
    "against",
    "difflib_ratio",
    "match",
    "tfidf_cosine",
    "activity_agrees",
    "apps_jaccard",
    "apps_match",
    "topics_jaccard",
    "well_formed",
    "answer_chars",
    "why_not_scored",
)

NAN = float("nan")


class _Pair(NamedTuple):
    request: Any  # a row of the requests table
    answer: Side
    against: str
    other: Side


def score_answers(requests: pd.DataFrame, frames: pd.DataFrame, match_threshold: float) -> pd.DataFrame:
    """Compare every measured answer with its frame's stored reference and with the live baseline's answer.

    Args:
        requests: one row per Reply.
        frames: one row per frame with ``frame_id`` and ``ref_description``, ``ref_activity``, ``ref_apps``,
            ``ref_topics``.
        match_threshold: the difflib ratio above which two descriptions match.

    Returns:
        One row per (server, role, concurrency, repeat, frame_id, against) with SCORE_COLUMNS. ``against`` is
        "stored reference" or "baseline <name>": that baseline's answer to the same frame at its lowest level,
        of the same repeat where there is one, else of the first. Baseline rows meet only the reference.
        Descriptions are compared (the whole answer where it has none). From 0 to 1: ``difflib_ratio``,
        ``tfidf_cosine``, ``apps_jaccard``, ``topics_jaccard``. 0.0 or 1.0: ``match``, ``activity_agrees``,
        ``apps_match``, ``well_formed``. ``answer_chars`` is the answer's length without its thinking. NaN is
        "not scorable"; ``why_not_scored`` says why, and is None where the descriptions were compared.
    """
    rows = measured(requests)
    if rows.empty:
        return pd.DataFrame(columns=list(SCORE_COLUMNS))
    sides = [answer_side(text, error) for text, error in zip(rows["text"], rows["error_class"], strict=True)]
    pairs = list(_pairs(rows, sides, reference_sides(frames)))
    scores = pd.DataFrame(_score_rows(pairs, match_threshold), columns=list(SCORE_COLUMNS))
    scores["tfidf_cosine"] = _tfidf_cosines(pairs)
    scores["why_not_scored"] = scores["why_not_scored"].astype(object)
    return scores


def _pairs(rows: pd.DataFrame, sides: list[Side], references: dict[str, Side]) -> Iterator[_Pair]:
    baselines = _baseline_answers(rows, sides)
    no_reference = Side(problem="no reference")
    for row, answer in zip(rows.itertuples(index=False), sides, strict=True):
        yield _Pair(row, answer, STORED_REFERENCE, references.get(row.frame_id, no_reference))
        if row.role != "baseline":
            for name, by_frame in baselines.items():
                answers = by_frame.get(row.frame_id, {})
                yield _Pair(row, answer, f"baseline {name}", _of_repeat(answers, row.repeat))


def _baseline_answers(rows: pd.DataFrame, sides: list[Side]) -> dict[str, dict[str, dict[int, Side]]]:
    """Baseline name -> frame_id -> repeat -> its answer at the baseline's lowest level."""
    found: dict[str, dict[str, dict[int, Side]]] = {}
    is_baseline = rows["role"] == "baseline"
    lowest = rows[is_baseline].groupby("server")["concurrency"].min()
    for row, side in zip(rows.itertuples(index=False), sides, strict=True):
        if row.role == "baseline" and row.concurrency == lowest[row.server]:
            by_repeat = found.setdefault(row.server, {}).setdefault(row.frame_id, {})
            by_repeat[row.repeat] = side
    return found


def _of_repeat(answers: dict[int, Side], repeat: int) -> Side:
    if not answers:
        return Side(problem="baseline has no answer to this frame")
    chosen = answers.get(repeat, answers[min(answers)])
    return Side(problem=f"baseline {chosen.problem}") if chosen.problem else chosen


def _score_rows(pairs: list[_Pair], match_threshold: float) -> Iterator[tuple]:
    ratio_of = cache(difflib_ratio)  # repeats of a frame at temperature 0 are the same pair of texts
    for request, answer, against, other in pairs:
        key = (request.server, request.role, request.concurrency, request.repeat, request.frame_id, against)
        why = _why_not_scored(answer, other)
        ratio = NAN if why else ratio_of(other.text, answer.text)
        yield (
            *key,
            ratio,
            NAN if why else float(ratio > match_threshold),
            NAN,  # the cosines come at once, for all pairs
            _agrees(answer.activity, other.activity),
            jaccard(answer.apps, other.apps),
            same_set(answer.apps, other.apps),
            jaccard(answer.topics, other.topics),
            NAN if answer.problem else float(answer.well_formed),
            NAN if answer.problem else float(answer.chars),
            why,
        )


def _why_not_scored(answer: Side, other: Side) -> str | None:
    return f"request {answer.problem}" if answer.problem else other.problem


def _agrees(left: str | None, right: str | None) -> float:
    return NAN if is_missing(left) or is_missing(right) else float(left == right)


def _tfidf_cosines(pairs: list[_Pair]) -> pd.Series:
    """Cosine of each scorable pair, NaN for the others; fitted on every text of the run."""
    sides = [side for pair in pairs for side in (pair.answer, pair.other) if not side.problem]
    vectors = vectorize_texts(side.text for side in sides)
    scorable = [i for i, pair in enumerate(pairs) if not _why_not_scored(pair.answer, pair.other)]
    cosines = pd.Series(NAN, index=range(len(pairs)))
    if scorable:
        left = [pairs[i].answer.text for i in scorable]
        right = [pairs[i].other.text for i in scorable]
        cosines.iloc[scorable] = cosine_pairs(vectors, left, right)
    return cosines
