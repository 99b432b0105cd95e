"""Answers that repeat another frame's answer."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from rapidfuzz.distance import Levenshtein

from poc_lib.accuracy.similarity import TextVectors, cosine_matrix, cosine_pairs, vectorize_texts
from poc_lib.confusion.fits import OTHER, judged_by
from poc_lib.confusion.limits import DEFAULT_LIMITS, ConfusionLimits
from poc_lib.confusion.references import collect_references
from poc_lib.confusion.tables import (
    CELL,
    answers_table,
    first_answers,
    frame_distances,
    hashes_of,
    row_chunks,
)
from poc_lib.looks import paired_distances

PREVIOUS, FIRST = "previous answer", "first answer"
DUPLICATE_COLUMNS = (*CELL, "frame_id", "same_as", "distance", "same_words")
REPLAY_COLUMNS = (*CELL, "frame_id", "repeats", "source", "distance", "cosine", "ttft_s", "usual_ttft_s")
REPEAT_COLUMNS = (*REPLAY_COLUMNS, "alike", "fast")


def find_duplicates(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """Answers that equal an earlier answer of their cell, or nearly, to a frame that looks different.

    The same: word for word; case, punctuation and white space are ignored. Nearly: TF-IDF cosine ≥
    nearly_same and 1 - Levenshtein distance ÷ length of the longer ≥ nearly_same_edit, between what is
    compared of the two. Failed requests and answers without a word do not count. A terse model gives equal
    answers to like screens at every level: compare the levels.

    Returns:
        One row per repeated answer with DUPLICATE_COLUMNS: ``same_as`` is the frame that got the answer first
        (of those that look different), ``distance`` the visual distance of the two in bits. Which of the two
        got the wrong answer cannot be told from this.
    """
    answers = answers_table(requests)
    return duplicates_of(answers, frames, vectorize_texts(answers["compared"]), limits).reset_index(drop=True)


def duplicates_of(
    answers: pd.DataFrame, frames: pd.DataFrame, vectors: TextVectors, limits: ConfusionLimits
) -> pd.DataFrame:
    """``find_duplicates`` on a table of answers; the rows have the answers' index."""
    found = {
        index: (*key, *row)
        for key, cell in answers.groupby(CELL, sort=False)
        for index, row in _duplicates_of_cell(cell, frames, vectors, limits)
    }
    return pd.DataFrame.from_dict(found, orient="index", columns=list(DUPLICATE_COLUMNS))


def find_replays(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """Answers that say nearly what a previous or the first answer says, or are clearly about its frame,
    though theirs looks different, and whose first token came too fast to have read an image: the mark of a
    cache keyed by the prompt alone.

    Previous: one of as many answers sent before it as are in flight (at most look_back). First: of the cell,
    or of the server in this sitting, warm-up included.

    Returns:
        One row per suspect with REPLAY_COLUMNS. ``repeats`` is the frame whose answer it repeats, ``source``
        which one that is, ``cosine`` how alike the two answers are, ``usual_ttft_s`` what its TTFT is held
        against: the cell's median, or the repeated answer's own TTFT where that is longer (when most are
        replayed the median is fast).
    """
    answers, first = answers_table(requests), first_answers(requests)
    references = collect_references(requests, frames, answers)
    vectors = vectorize_texts([*answers["compared"], *references.stored, *first["compared"]])
    judged = judged_by(answers, references, frames, vectors, limits)
    repeats = repeats_of(answers, judged, first, frames, vectors, limits)
    return replays_among(repeats)[list(REPLAY_COLUMNS)].reset_index(drop=True)


def replays_among(repeats: pd.DataFrame) -> pd.DataFrame:
    """The repeats that came too fast."""
    return repeats[repeats["alike"].astype(bool) & repeats["fast"].astype(bool)]


def repeats_of(
    answers: pd.DataFrame,
    judged: pd.DataFrame,
    first: pd.DataFrame,
    frames: pd.DataFrame,
    vectors: TextVectors,
    limits: ConfusionLimits,
) -> pd.DataFrame:
    """One row per answer with an earlier answer that it could repeat, with the answers' index.

    REPEAT_COLUMNS: as ``find_replays``, and ``alike`` (cosine ≥ nearly_same, or judged
    to be about that frame or one that looks like it) and ``fast`` (TTFT below
    fast_share of the usual one); the source is one that is both where there is one, else the most alike.
    """
    about = judged["fits_frame_id"].where(judged["judgement"] == OTHER)
    tables = [
        _repeats_of_cell(cell.assign(about=about), first, frames, vectors, limits)
        for _, cell in answers.groupby(CELL, sort=False)
    ]
    pairs = pd.concat([table for table in tables if len(table)] or [_no_pairs()])
    order = pairs.assign(row=pairs.index, both=pairs["alike"] & pairs["fast"])
    best = order.sort_values(["row", "both", "cosine", "rank"], ascending=[True, False, False, True])
    return best.drop_duplicates("row")[list(REPEAT_COLUMNS)]


def _duplicates_of_cell(
    cell: pd.DataFrame, frames: pd.DataFrame, vectors: TextVectors, limits: ConfusionLimits
) -> Iterator[tuple[int, tuple]]:
    """(index, (frame_id, same_as, distance, same_words)) of each repeated answer, in sending order."""
    ids, texts, words = (cell[name].to_numpy() for name in ("frame_id", "compared", "words"))
    word_codes = pd.factorize(words)[0]
    for part in row_chunks(len(cell)):
        same = word_codes[part, None] == word_codes
        near = same | (cosine_matrix(vectors, texts[part], texts) >= limits.nearly_same)
        if np.count_nonzero(near) == len(near):
            continue  # each is like nothing but itself
        distances = frame_distances(frames, ids[part], ids)
        near &= distances >= limits.looks_different_bits
        for row in np.flatnonzero(near.any(axis=1)):
            later = part.start + row
            earlier = _first_same(texts, later, np.flatnonzero(near[row, :later]), same[row], limits)
            if earlier is not None:
                found = (ids[later], ids[earlier], int(distances[row, earlier]), bool(same[row, earlier]))
                yield cell.index[later], found


def _first_same(
    texts: np.ndarray, later: int, earlier: np.ndarray, same: np.ndarray, limits: ConfusionLimits
) -> int | None:
    """The first of the ``earlier`` answers that is the same, or nearly, also by its letters."""
    needed = limits.nearly_same_edit
    mine = texts[later].casefold()
    for place in earlier:
        if same[place] or Levenshtein.normalized_similarity(mine, texts[place].casefold()) >= needed:
            return int(place)
    return None


def _repeats_of_cell(
    cell: pd.DataFrame,
    first: pd.DataFrame,
    frames: pd.DataFrame,
    vectors: TextVectors,
    limits: ConfusionLimits,
) -> pd.DataFrame:
    """One row per (answer, earlier answer) whose frames look different."""
    of_server = first[first["server"] == cell["server"].iloc[0]]
    pool = pd.concat(
        [cell, of_server.assign(ttft_s=np.nan)]
    )  # the very first request may have loaded the model
    later, earlier, ranks = _pairs_of_cell(cell, of_server["sitting"].to_numpy(), limits)
    ids, texts = pool["frame_id"].to_numpy(), pool["compared"].to_numpy()
    hashes = hashes_of(frames)
    known = [hashes.get(frame_id) for frame_id in ids]
    distance = paired_distances([known[i] for i in later], [known[i] for i in earlier])
    kept = distance >= limits.looks_different_bits
    later, earlier, ranks = later[kept], earlier[kept], ranks[kept]
    if later.size == 0:
        return _no_pairs()
    ttft_s = pool["ttft_s"].to_numpy(dtype=float)
    usual_s = np.fmax(cell["ttft_s"].astype(float).median(), ttft_s[earlier])
    cosine = cosine_pairs(vectors, texts[later], texts[earlier])
    about = pool["about"].to_numpy()[later]
    to_source = paired_distances([hashes.get(f) for f in about], [known[i] for i in earlier])
    table = {
        "frame_id": ids[later],
        "repeats": ids[earlier],
        "source": np.where(ranks > limits.look_back, FIRST, PREVIOUS),
        "distance": distance[kept].astype(int),
        "cosine": cosine,
        "ttft_s": ttft_s[later],
        "usual_ttft_s": usual_s,
        "alike": (cosine >= limits.nearly_same) | (to_source < limits.looks_different_bits),
        "fast": ttft_s[later] < limits.fast_share * usual_s,
        "rank": ranks,
    }
    same = {name: cell[name].iloc[0] for name in CELL}
    return pd.DataFrame(table, index=cell.index[later]).assign(**same)


def _pairs_of_cell(
    cell: pd.DataFrame, first_sittings: np.ndarray, limits: ConfusionLimits
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of (answer, earlier answer), and the earlier one's rank: 1 for the one just before, and so on.

    The server's first answers, one a sitting, have the places after the cell's answers.
    """
    n = len(cell)
    backs = range(1, min(limits.look_back, int(cell["concurrency"].iloc[0]), n - 1) + 1)
    parts = [(np.arange(back, n), np.arange(n - back), back) for back in backs]
    parts.append((np.arange(1, n), np.zeros(n - 1, dtype=int), limits.look_back + 1))
    for place, sitting in enumerate(first_sittings, start=n):
        here = np.flatnonzero(cell["sitting"].to_numpy() == sitting)
        parts.append((here, np.full(len(here), place), limits.look_back + 2))
    later, earlier = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return later, earlier, np.concatenate([np.full(len(part[0]), part[2]) for part in parts])


def _no_pairs() -> pd.DataFrame:
    return pd.DataFrame(columns=[*REPEAT_COLUMNS, "rank"]).astype({"alike": bool, "fast": bool})
