"""Whose reference does an answer fit: its own frame's, or another's?"""

import numpy as np
import pandas as pd

from poc_lib.accuracy.sides import measured
from poc_lib.accuracy.similarity import TextVectors, cosine_matrix, vectorize_texts
from poc_lib.confusion.limits import DEFAULT_LIMITS, ConfusionLimits
from poc_lib.confusion.references import References, collect_references, references_for
from poc_lib.confusion.tables import (
    CELL,
    answers_table,
    frame_distances,
    lowest_levels,
    row_chunks,
    stored_references,
)

OWN, OTHER, UNDECIDED, NOT_JUDGED = "own image", "another image", "undecided", "cannot be judged"
JUDGEMENT_COLUMNS = (*CELL, "frame_id", "judgement", "fits_frame_id", "own", "other", "held_against")
NEIGHBOUR_COLUMNS = (
    *CELL,
    "frame_id",
    "fits_frame_id",
    "own",
    "other",
    "in_flight_together",
    "also_unloaded",
)


def judge_answers(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """Judge for each answer which image it is about, by the stored references.

    Args:
        requests: one row per Reply.
        frames: one row per frame with ``frame_id``, ``ref_description`` and ``phash``. A frame without
            stored reference is judged by an answer given without load (see ``references_for``).
        limits: see ConfusionLimits.

    Returns:
        One row per answer with JUDGEMENT_COLUMNS. ``own`` is the TF-IDF cosine with its own frame's
        reference, ``other`` the best with a frame of the run that looks different, ``fits_frame_id`` that
        frame. "own image": own ≥ min_fit and own - other ≥ margin. "another image": the same the other way
        round. "undecided": neither, so random words, which fit nothing, accuse nobody and clear nobody; nor
        does an answer between two similar references. "cannot be judged": no reference or hash of its own,
        or no frame with both that looks different. ``held_against``: what its own reference is.
    """
    answers = answers_table(requests)
    references = collect_references(requests, frames, answers)
    vectors = vectorize_texts([*answers["compared"], *references.stored])
    return judged_by(answers, references, frames, vectors, limits)


def judged_by(
    answers: pd.DataFrame,
    references: References,
    frames: pd.DataFrame,
    vectors: TextVectors,
    limits: ConfusionLimits,
) -> pd.DataFrame:
    """``judge_answers`` on tables that were made before; one row per answer, with the answers' index."""
    cells = [
        _judge_cell(cell, references_for(key, references), frames, vectors, limits)
        for key, cell in answers.groupby(CELL, sort=False)
    ]
    cells = [cell for cell in cells if len(cell)]
    judged = pd.concat(cells).sort_index() if cells else _not_judged(answers)
    return judged[list(JUDGEMENT_COLUMNS)]


def find_wrong_neighbours(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """The answers that ``judge_answers`` takes to be about another image.

    Returns:
        One row per such answer with NEIGHBOUR_COLUMNS. ``in_flight_together``: a request for the other frame
        was in flight at the same time, in the same sitting and cell. ``also_unloaded``: another answer for
        the frame, at a server's lowest level, fits the same other frame: then the stored reference or the
        model may be wrong rather than the server under load.
    """
    return wrong_neighbours(judge_answers(requests, frames, limits), requests).reset_index(drop=True)


def wrong_neighbours(judged: pd.DataFrame, requests: pd.DataFrame) -> pd.DataFrame:
    """``find_wrong_neighbours`` on the table that ``judge_answers`` gave; the rows keep their index."""
    found = judged[judged["judgement"] == OTHER]
    sent = measured(requests) if len(found) else requests.iloc[:0]
    lowest = lowest_levels(sent)
    times = _times_in_flight(sent, set(found["frame_id"]) | set(found["fits_frame_id"]))
    unloaded: dict[tuple, set] = {}
    for row in found[found["concurrency"] == found["server"].map(lowest)].itertuples(index=False):
        unloaded.setdefault((row.frame_id, row.fits_frame_id), set()).add(_cell_of(row))
    rows = list(found.itertuples(index=False))
    return found.assign(
        in_flight_together=[_in_flight_together(row, times) for row in rows],
        also_unloaded=[
            bool(unloaded.get((row.frame_id, row.fits_frame_id), set()) - {_cell_of(row)}) for row in rows
        ],
    )[list(NEIGHBOUR_COLUMNS)]


def fit_matrix(requests_of_one_cell: pd.DataFrame, frames: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """TF-IDF cosine of each answer with each reference, for a heat map whose diagonal is "own image".

    Returns:
        An n × n array (row: the answer to a frame, column: a frame's reference) and the n frame ids of the
        cell in the order of ``frames``. NaN where the request failed or the frame has no reference. Of
        several requests for a frame the first answered one counts.
    """
    answers = (
        answers_table(requests_of_one_cell).drop_duplicates("frame_id").set_index("frame_id")["compared"]
    )
    asked = set(measured(requests_of_one_cell)["frame_id"]) if len(requests_of_one_cell) else set()
    frame_ids = [frame_id for frame_id in frames["frame_id"] if frame_id in asked] if len(frames) else []
    references = stored_references(frames)
    matrix = np.full((len(frame_ids), len(frame_ids)), np.nan)
    rows = [i for i, frame_id in enumerate(frame_ids) if frame_id in answers.index]
    columns = [j for j, frame_id in enumerate(frame_ids) if frame_id in references.index]
    if rows and columns:
        left = [answers[frame_ids[i]] for i in rows]
        right = [references[frame_ids[j]] for j in columns]
        matrix[np.ix_(rows, columns)] = cosine_matrix(vectorize_texts([*left, *right]), left, right)
    return matrix, frame_ids


def _judge_cell(
    cell: pd.DataFrame,
    references: pd.DataFrame,
    frames: pd.DataFrame,
    vectors: TextVectors,
    limits: ConfusionLimits,
) -> pd.DataFrame:
    if references.empty:
        return _not_judged(cell)
    own, other, best = _fits_of_cell(cell, references, frames, vectors, limits)
    judgeable = ~np.isnan(own)
    held_against = references["held_against"].reindex(cell["frame_id"]).to_numpy()
    return cell.assign(
        judgement=_judgements(own, other, limits),
        fits_frame_id=np.where(judgeable, references.index.to_numpy()[best], None),
        own=own,
        other=other,
        held_against=np.where(judgeable, held_against, None),
    )


def _fits_of_cell(
    cell: pd.DataFrame,
    references: pd.DataFrame,
    frames: pd.DataFrame,
    vectors: TextVectors,
    limits: ConfusionLimits,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """own, other (NaN: cannot be judged) and the best other reference's place, for each answer."""
    ids, texts, held = cell["frame_id"].to_numpy(), cell["compared"].to_numpy(), list(references["text"])
    own_place = references.index.get_indexer(ids)
    own, other, best = np.full(len(cell), np.nan), np.full(len(cell), np.nan), np.zeros(len(cell), dtype=int)
    for part in row_chunks(len(cell)):
        fits = cosine_matrix(vectors, texts[part], held)
        different = frame_distances(frames, ids[part], references.index) >= limits.looks_different_bits
        others = np.where(different, fits, -1.0)  # NaN distances compare as False: unknown accuses nobody
        judgeable = (own_place[part] >= 0) & different.any(axis=1)
        every = np.arange(len(fits))
        best[part] = others.argmax(axis=1)
        own[part] = np.where(judgeable, fits[every, own_place[part]], np.nan)
        other[part] = np.where(judgeable, others[every, best[part]], np.nan)
    return own, other, best


def _not_judged(answers: pd.DataFrame) -> pd.DataFrame:
    return answers.assign(
        judgement=NOT_JUDGED, fits_frame_id=None, own=np.nan, other=np.nan, held_against=None
    )


def _judgements(own: np.ndarray, other: np.ndarray, limits: ConfusionLimits) -> np.ndarray:
    conditions = [
        np.isnan(own),
        (own >= limits.min_fit) & (own - other >= limits.margin),
        (other >= limits.min_fit) & (other - own >= limits.margin),
    ]
    return np.select(conditions, [NOT_JUDGED, OWN, OTHER], default=UNDECIDED)


def _cell_of(row) -> tuple:
    return tuple(getattr(row, key) for key in CELL)


def _times_in_flight(sent: pd.DataFrame, frame_ids: set) -> dict[tuple, list[tuple]]:
    """(sitting, start_s, end_s) of every request by its cell and frame, for the frames named."""
    times: dict[tuple, list[tuple]] = {}
    rows = sent[sent["frame_id"].isin(frame_ids)] if len(sent) else sent
    for row in rows.itertuples(index=False):
        span = (row.sitting, row.start_s, row.start_s + row.total_s)
        times.setdefault((*_cell_of(row), row.frame_id), []).append(span)
    return times


def _in_flight_together(row, times: dict[tuple, list[tuple]]) -> bool:
    return any(
        sitting == other_sitting and start < other_end and other_start < end
        for sitting, start, end in times.get((*_cell_of(row), row.frame_id), [])
        for other_sitting, other_start, other_end in times.get((*_cell_of(row), row.fits_frame_id), [])
    )
