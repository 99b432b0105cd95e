"""How surely is one answer about another image: its surplus over what this server's answers show anyway.

A frame's unloaded texts are its stored reference and the answers to it at every server's lowest level. An
answer's fit with a frame is its mean TF-IDF cosine with that frame's unloaded texts (itself left out), its
surplus the best fit with a frame that looks different less the fit with its own. Honest answers have a
surplus well below zero, and how far it strays depends on the models; so a surplus is held against all other
answers of the run. Their upper quarter is taken to thin out exponentially, at the pace at which it does
between the 75th and the 87.5th percentile, which up to one confused answer in eight hardly changes.
"""

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from poc_lib.accuracy.similarity import TextVectors, cosine_matrix
from poc_lib.confusion.fits import OTHER
from poc_lib.confusion.limits import ConfusionLimits
from poc_lib.confusion.references import STORED, References
from poc_lib.confusion.tables import frame_distances, lowest_levels, row_chunks

TAIL_FROM, TAIL_HALF = 0.75, 0.875  # quantiles; between them lies half of what is beyond the first
SMALLEST_PACE = 0.03  # of a cosine: a server that repeats itself word for word has no spread of its own
MISPLACED_CHANCE = 0.001  # an answer less likely than this is counted as misplaced


def place_answers(
    answers: pd.DataFrame,
    judged: pd.DataFrame,
    references: References,
    frames: pd.DataFrame,
    vectors: TextVectors,
    limits: ConfusionLimits,
) -> pd.DataFrame:
    """One row per answer, with the answers' index: ``fits_frame_id``, ``own_fit``, ``other_fit``, ``surplus``
    (NaN: no unloaded text but itself, or nothing that looks different) and ``chance``.

    ``chance``: how probable so large a surplus is for an honest answer of this run. 1 for all but wrong
    neighbours by the stored references with a surplus above the margin, and for one that only a single of the
    other frame's texts is like. Two stock phrases are alike, too, and without stored references nothing shows
    that they are about no image.
    """
    placed = _surpluses(answers, references, frames, vectors, limits)
    if placed.empty:
        return placed.assign(chance=pd.Series(dtype=float))
    chance = pd.Series(1.0, index=placed.index)
    lowest = lowest_levels(answers)
    for server, group in answers.groupby("server", sort=False):
        surplus = placed.loc[group.index, "surplus"]
        unloaded = surplus[group["concurrency"] == lowest[server]]
        loaded = surplus[group["concurrency"] != lowest[server]]
        chance.loc[unloaded.index] = tail_chance(unloaded, placed["surplus"])
        seen = _share_at_least(unloaded, loaded)
        chance.loc[loaded.index] = np.maximum(tail_chance(loaded, placed["surplus"]), seen)
    suspect = (judged["judgement"] == OTHER) & (judged["held_against"] == STORED)
    suspect = suspect.reindex(placed.index) & (placed["surplus"] >= limits.margin)
    for index in placed.index[suspect & (chance <= MISPLACED_CHANCE)]:
        text, frame_id = answers["compared"][index], placed["fits_frame_id"][index]
        suspect[index] = _is_borne_out(text, frame_id, references, vectors, limits)
    return placed.assign(chance=chance.where(suspect, 1.0))


def _is_borne_out(
    text: str, frame_id: str, references: References, vectors: TextVectors, limits: ConfusionLimits
) -> bool:
    """Whether at least two of the frame's unloaded texts, where it has two, have something of this one."""
    unloaded = references.unloaded
    texts = list(unloaded.loc[unloaded["frame_id"] == frame_id, "compared"])
    texts += [references.stored[frame_id]] if frame_id in references.stored.index else []
    fits = cosine_matrix(vectors, [text], texts)[0]
    return int((fits >= limits.margin).sum()) >= min(2, len(texts))


def tail_chance(values: pd.Series, pool: pd.Series) -> np.ndarray:
    """P(X ≥ value) with an exponential upper tail fitted to the pool; 1 where there is no pool, or NaN."""
    known = pool.dropna().to_numpy(dtype=float)
    x = values.to_numpy(dtype=float)
    if known.size == 0:
        return np.ones(len(x))
    start, half = np.quantile(known, [TAIL_FROM, TAIL_HALF])
    pace = max((half - start) / np.log(2), SMALLEST_PACE)
    chance = (1 - TAIL_FROM) * np.exp(-np.maximum(x - start, 0.0) / pace)
    return np.where(x > start, chance, 1.0)


def _share_at_least(pool: pd.Series, values: pd.Series) -> np.ndarray:
    known = np.sort(pool.dropna().to_numpy(dtype=float))
    if known.size == 0:
        return np.zeros(len(values))
    return 1 - np.searchsorted(known, values.to_numpy(dtype=float), side="left") / known.size


def _surpluses(
    answers: pd.DataFrame,
    references: References,
    frames: pd.DataFrame,
    vectors: TextVectors,
    limits: ConfusionLimits,
) -> pd.DataFrame:
    ids, texts = answers["frame_id"].to_numpy(), answers["compared"].to_numpy()
    sums, counts = _unloaded_sums(references, vectors)
    places = pd.Index(references.frame_ids).get_indexer(ids)
    itself = answers.index.isin(references.unloaded.index)
    rows = vectors.matrix[[vectors.row_of[text] for text in texts]]
    own, other = np.full(len(ids), np.nan), np.full(len(ids), np.nan)
    best = np.zeros(len(ids), dtype=int)
    for part in row_chunks(len(ids) if len(counts) else 0):
        different = frame_distances(frames, ids[part], references.frame_ids) >= limits.looks_different_bits
        products = (rows[part] @ sums.T).toarray()
        with np.errstate(divide="ignore", invalid="ignore"):
            fits = np.where(different & (counts > 0), products / counts, -1.0)
            mine = products[np.arange(len(products)), places[part]] - itself[part]
            own[part] = np.where(places[part] >= 0, mine / (counts[places[part]] - itself[part]), np.nan)
        best[part] = fits.argmax(axis=1)
        other[part] = np.where(different.any(axis=1), fits.max(axis=1), np.nan)
    own[~np.isfinite(own)] = np.nan
    frame_ids = np.array([*references.frame_ids, None], dtype=object)
    table = {"fits_frame_id": frame_ids[best], "own_fit": own, "other_fit": other, "surplus": other - own}
    return pd.DataFrame(table, index=answers.index)


def _unloaded_sums(references: References, vectors: TextVectors) -> tuple[csr_matrix, np.ndarray]:
    """The sum of the unit vectors of each frame's unloaded texts (one row a frame), and their number."""
    texts = [*references.stored, *references.unloaded["compared"]]
    frame_ids = [*references.stored.index, *references.unloaded["frame_id"]]
    places = pd.Index(references.frame_ids).get_indexer(frame_ids)
    known = np.flatnonzero(places >= 0)
    columns = [vectors.row_of[texts[i]] for i in known]
    shape = (len(references.frame_ids), vectors.matrix.shape[0])
    membership = csr_matrix((np.ones(len(known)), (places[known], columns)), shape=shape)
    return (membership @ vectors.matrix).tocsr(), np.asarray(membership.sum(axis=1)).ravel()
