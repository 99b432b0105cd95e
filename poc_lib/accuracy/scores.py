"""One row per answer and per thing it is held against."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from poc_lib.accuracy.facts import Facts, share_held
from poc_lib.accuracy.pairs import PAIR_COLUMNS, Embeddings, run_vectors, score_pairs
from poc_lib.accuracy.sides import Side, answer_sides, measured, ocr_facts, reference_sides

STORED_REFERENCE = "stored reference"
KEY_COLUMNS = ("server", "role", "concurrency", "block", "frame_id", "against")
SCORE_COLUMNS = (
    *KEY_COLUMNS,
    "difflib_ratio",
    "match",
    "tfidf_cosine",
    "embedding_cosine",
    "activity_agrees",
    "apps_jaccard",
    "apps_match",
    "topics_jaccard",
    "fidelity_f1",
    "fidelity_precision",
    "fidelity_recall",
    "n_facts_answer",
    "n_facts_reference",
    "ocr_share",
    "n_ocr",
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


def score_answers(
    requests: pd.DataFrame,
    frames: pd.DataFrame,
    match_threshold: float,
    embeddings: Embeddings | None = None,
) -> pd.DataFrame:
    """Compare every measured answer with its frame's stored reference and with the live baselines' answers.

    Args:
        requests: one row per Reply.
        frames: one row per frame with ``frame_id`` and ``ref_description``, ``ref_activity``, ``ref_apps``,
            ``ref_topics``; optional ``ocr_text``.
        match_threshold: the difflib ratio above which two descriptions match.
        embeddings: vector by description (``texts_of`` lists them); None: no embedding_cosine.

    Returns:
        One row per (server, role, concurrency, block, frame_id, against) with SCORE_COLUMNS. ``against`` is
        "stored reference" or "baseline <name>": that baseline's answer to the same frame at its lowest level,
        of the same block where there is one, else of the first. Baseline rows meet only the reference.
        Descriptions are compared (the whole answer where it has none). From 0 to 1: ``difflib_ratio``,
        ``tfidf_cosine``, the Jaccard overlaps, ``fidelity_*`` (see facts.fidelity; n_facts_* count its
        tokens) and ``ocr_share``: of the answer's ``n_ocr`` checkable tokens, those in the frame's stored OCR
        text, on "stored reference" rows. 0.0 or 1.0: ``match``, ``activity_agrees``, ``apps_match``,
        ``well_formed``. ``answer_chars`` is the answer's length without its thinking. NaN is "not scorable";
        ``why_not_scored`` says why, and is None where the descriptions were compared.
    """
    rows = measured(requests)
    if rows.empty:
        return pd.DataFrame(columns=list(SCORE_COLUMNS))
    sides = answer_sides(rows)
    pairs = list(_pairs(rows, sides, reference_sides(frames)))
    answers, others = [pair.answer for pair in pairs], [pair.other for pair in pairs]
    scores = pd.DataFrame(_described(pairs, ocr_facts(frames)))
    scored = score_pairs(answers, others, run_vectors([*answers, *others]), embeddings)
    ratio = scored["difflib_ratio"]
    scores[list(PAIR_COLUMNS)] = scored
    scores["match"] = (ratio > match_threshold).astype(float).where(ratio.notna())
    scores["why_not_scored"] = scores["why_not_scored"].astype(object)
    return scores[list(SCORE_COLUMNS)]


def texts_of(requests: pd.DataFrame, frames: pd.DataFrame, labels: pd.DataFrame | None = None) -> list[str]:
    """The distinct texts that are compared, sorted: what an embedding model is to be sent.

    Args:
        requests, frames: as for ``score_answers``.
        labels: of ``labels.read_labels``, whose descriptions ``score_labels`` compares; None: none.
    """
    rows = measured(requests)
    answers = answer_sides(rows) if len(rows) else []
    sides = [*answers, *reference_sides(frames).values()]
    labelled = labels["description"].dropna() if labels is not None and "description" in labels else []
    return sorted({side.text for side in sides if not side.problem} | set(labelled))


def baseline_answers(rows: pd.DataFrame, sides: list[Side]) -> dict[str, dict[str, dict[int, Side]]]:
    """Baseline name -> frame_id -> block -> its answer at the baseline's lowest level.

    Args:
        rows: of ``sides.measured``.
        sides: their answers, in the same order.
    """
    found: dict[str, dict[str, dict[int, Side]]] = {}
    is_baseline = rows["role"] == "baseline"
    lowest = rows[is_baseline].groupby("server")["concurrency"].min()
    for row, side in zip(rows.itertuples(index=False), sides, strict=True):
        if row.role == "baseline" and row.concurrency == lowest[row.server]:
            by_block = found.setdefault(row.server, {}).setdefault(row.frame_id, {})
            by_block[row.block] = side
    return found


def _pairs(rows: pd.DataFrame, sides: list[Side], references: dict[str, Side]) -> Iterator[_Pair]:
    baselines = baseline_answers(rows, sides)
    no_reference = Side(problem="no reference")
    for row, answer in zip(rows.itertuples(index=False), sides, strict=True):
        yield _Pair(row, answer, STORED_REFERENCE, references.get(row.frame_id, no_reference))
        if row.role != "baseline":
            for name, by_frame in baselines.items():
                answers = by_frame.get(row.frame_id, {})
                yield _Pair(row, answer, f"baseline {name}", _of_block(answers, row.block))


def _of_block(answers: dict[int, Side], block: int) -> Side:
    if not answers:
        return Side(problem="baseline has no answer to this frame")
    chosen = answers.get(block, answers[min(answers)])
    return Side(problem=f"baseline {chosen.problem}") if chosen.problem else chosen


def _described(pairs: list[_Pair], ocr: dict[str, Facts]) -> Iterator[dict]:
    """Of each pair the key and what depends on the answer alone."""
    for request, answer, against, other in pairs:
        seen = None if answer.problem or against != STORED_REFERENCE else ocr.get(request.frame_id)
        yield {name: getattr(request, name) for name in KEY_COLUMNS[:-1]} | {
            "against": against,
            "ocr_share": NAN if seen is None else share_held(answer.facts.named, seen),
            "n_ocr": NAN if seen is None else len(answer.facts.named),
            "well_formed": NAN if answer.problem else float(answer.well_formed),
            "answer_chars": NAN if answer.problem else float(answer.chars),
            "why_not_scored": f"request {answer.problem}" if answer.problem else other.problem,
        }
