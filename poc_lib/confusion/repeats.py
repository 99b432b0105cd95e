"""Answers that repeat another frame's answer."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from poc_lib.accuracy.similarity import TextVectors, cosine_pairs, vectorize_texts
from poc_lib.confusion.limits import DEFAULT_LIMITS, ConfusionLimits
from poc_lib.confusion.tables import CELL, answers_table, frame_distances

DUPLICATE_COLUMNS = (*CELL, "frame_id", "same_as", "distance")
REPLAY_COLUMNS = (*CELL, "frame_id", "repeats", "distance", "cosine", "ttft_s", "usual_ttft_s")


def find_duplicates(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """Answers that are word for word an earlier answer of their cell, to a frame that looks different.

    Case, punctuation and white space are ignored. Failed requests and answers without a word do not count.
    A terse model gives equal answers to like screens at every level: compare the levels.

    Returns:
        One row per repeated answer with DUPLICATE_COLUMNS: ``same_as`` is the frame that got the answer first
        (of those that look different), ``distance`` the visual distance of the two in bits. Which of the two
        got the wrong answer cannot be told from this.
    """
    rows = [
        (*key[:-1], *found)
        for key, group in answers_table(requests).groupby([*CELL, "words"], sort=False)
        if len(group) > 1
        for found in _duplicates_of_group(group["frame_id"], frames, limits)
    ]
    return pd.DataFrame(rows, columns=list(DUPLICATE_COLUMNS))


def find_replays(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """Answers that say nearly what the cell's previous or first answer says, to a frame that looks different,
    and whose first token came too fast to have read an image: the mark of a cache keyed by the prompt alone.

    Returns:
        One row per suspect with REPLAY_COLUMNS. ``repeats`` is the frame whose answer it repeats, ``cosine``
        how alike the two answers are, ``usual_ttft_s`` what its TTFT is held against: the cell's median, or
        the repeated answer's own TTFT where that is longer (when most are replayed the median is fast).
    """
    answers = answers_table(requests)
    if answers.empty:
        return pd.DataFrame(columns=list(REPLAY_COLUMNS))
    vectors = vectorize_texts(answers["compared"])
    rows = [
        (*key, *found)
        for key, cell in answers.groupby(CELL, sort=False)
        for found in _replays_of_cell(cell, frames, vectors, limits)
    ]
    return pd.DataFrame(rows, columns=list(REPLAY_COLUMNS))


def _duplicates_of_group(
    frame_ids: pd.Series, frames: pd.DataFrame, limits: ConfusionLimits
) -> Iterator[tuple[str, str, int]]:
    """(frame_id, same_as, distance) for the frames of one answer, given in sending order."""
    ids = frame_ids.to_numpy()
    distances = frame_distances(frames, ids, ids)
    for later in range(1, len(ids)):
        different = np.flatnonzero(distances[later, :later] >= limits.looks_different_bits)
        if different.size:
            yield ids[later], ids[different[0]], int(distances[later, different[0]])


def _replays_of_cell(
    cell: pd.DataFrame, frames: pd.DataFrame, vectors: TextVectors, limits: ConfusionLimits
) -> Iterator[tuple]:
    """(frame_id, repeats, distance, cosine, ttft_s, usual_ttft_s) of each suspect, in sending order."""
    ids, texts = cell["frame_id"].to_numpy(), cell["compared"].to_numpy()
    ttft_s = cell["ttft_s"].to_numpy(dtype=float)
    distances = frame_distances(frames, ids, ids)
    median_s = np.nanmedian(ttft_s) if np.isfinite(ttft_s).any() else np.nan
    for later in range(1, len(ids)):
        for earlier in dict.fromkeys((later - 1, 0)):
            usual_s = np.fmax(median_s, ttft_s[earlier])
            fast = ttft_s[later] < limits.fast_share * usual_s
            if not fast or not distances[later, earlier] >= limits.looks_different_bits:
                continue
            cosine = float(cosine_pairs(vectors, [texts[earlier]], [texts[later]])[0])
            if cosine >= limits.nearly_same:
                distance = int(distances[later, earlier])
                yield ids[later], ids[earlier], distance, cosine, ttft_s[later], float(usual_s)
                break
