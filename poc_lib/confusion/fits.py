"""Whose reference does an answer fit: its own frame's, or another's?"""

import numpy as np
import pandas as pd

from poc_lib.accuracy.sides import measured
from poc_lib.accuracy.similarity import TextVectors, cosine_matrix, vectorize_texts
from poc_lib.confusion.limits import DEFAULT_LIMITS, ConfusionLimits
from poc_lib.confusion.tables import CELL, answers_table, frame_distances, stored_references

OWN, OTHER, UNDECIDED, NOT_JUDGED = "own image", "another image", "undecided", "cannot be judged"
JUDGEMENT_COLUMNS = (*CELL, "frame_id", "judgement", "fits_frame_id", "own", "other")
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
        frames: one row per frame with ``frame_id``, ``ref_description`` and ``phash``. To judge by a
            baseline's answers in place of stored ones, put them into ``ref_description``.
        limits: see ConfusionLimits.

    Returns:
        One row per answer with JUDGEMENT_COLUMNS. ``own`` is the TF-IDF cosine with its own frame's
        reference, ``other`` the best with a frame of the run that looks different, ``fits_frame_id`` that
        frame. "own image": own ≥ min_fit and own - other ≥ margin. "another image": the same the other way
        round. "undecided": neither, so random words, which fit nothing, accuse nobody and clear nobody; nor
        does an answer between two similar references. "cannot be judged": no reference or hash of its own,
        or no frame with both that looks different.
    """
    answers = answers_table(requests)
    references = stored_references(frames)
    sent = measured(requests)
    references = references[references.index.isin(sent["frame_id"] if len(sent) else [])]
    vectors = vectorize_texts([*answers["compared"], *references])
    cells = [
        _judge_cell(cell, references, frames, vectors, limits)
        for _, cell in answers.groupby(CELL, sort=False)
        if len(references)
    ]
    unjudged = answers.assign(judgement=NOT_JUDGED, fits_frame_id=None, own=np.nan, other=np.nan)
    return (pd.concat(cells, ignore_index=True) if cells else unjudged)[list(JUDGEMENT_COLUMNS)]


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
    return wrong_neighbours(judge_answers(requests, frames, limits), requests)


def wrong_neighbours(judged: pd.DataFrame, requests: pd.DataFrame) -> pd.DataFrame:
    """``find_wrong_neighbours`` on the table that ``judge_answers`` gave."""
    found = judged[judged["judgement"] == OTHER]
    sent = measured(requests)
    cells = dict(list(sent.groupby(CELL))) if len(found) else {}
    lowest = sent.groupby("server")["concurrency"].min().to_dict() if len(found) else {}
    unloaded = found[found["concurrency"] == found["server"].map(lowest)]
    rows = list(found.itertuples(index=False))
    return found.assign(
        in_flight_together=[_in_flight_together(row, cells[_cell_of(row)]) for row in rows],
        also_unloaded=[_also_unloaded(row, unloaded) for row in rows],
    )[list(NEIGHBOUR_COLUMNS)].reset_index(drop=True)


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
    references: pd.Series,
    frames: pd.DataFrame,
    vectors: TextVectors,
    limits: ConfusionLimits,
) -> pd.DataFrame:
    fits = cosine_matrix(vectors, list(cell["compared"]), list(references))
    looks_different = (
        frame_distances(frames, cell["frame_id"], references.index) >= limits.looks_different_bits
    )
    others = np.where(looks_different, fits, -1.0)  # NaN distances compare as False: unknown accuses nobody
    best = others.argmax(axis=1)
    own_column = references.index.get_indexer(cell["frame_id"])
    every = np.arange(len(cell))
    judgeable = (own_column >= 0) & looks_different.any(axis=1)
    own = np.where(judgeable, fits[every, own_column], np.nan)
    other = np.where(judgeable, others[every, best], np.nan)
    return cell.assign(
        judgement=_judgements(own, other, limits),
        fits_frame_id=np.where(judgeable, references.index.to_numpy()[best], None),
        own=own,
        other=other,
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


def _in_flight_together(row, cell: pd.DataFrame) -> bool:
    mine = cell[cell["frame_id"] == row.frame_id]
    theirs = cell[cell["frame_id"] == row.fits_frame_id]
    pairs = mine.merge(theirs, on="sitting", suffixes=("", "_other"))
    mine_end, theirs_end = (
        pairs["start_s"] + pairs["total_s"],
        pairs["start_s_other"] + pairs["total_s_other"],
    )
    return bool(((pairs["start_s"] < theirs_end) & (pairs["start_s_other"] < mine_end)).any())


def _also_unloaded(row, unloaded: pd.DataFrame) -> bool:
    same = unloaded[(unloaded["frame_id"] == row.frame_id) & (unloaded["fits_frame_id"] == row.fits_frame_id)]
    return any(_cell_of(other) != _cell_of(row) for other in same.itertuples(index=False))
