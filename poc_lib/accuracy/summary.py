"""Scores per server and level, and the frames worth looking at."""

import random
from dataclasses import dataclass

import pandas as pd

from poc_lib.accuracy.clusters import Groups, group_labels
from poc_lib.intervals.simple import share_interval

LEVEL_KEY = ["server", "role", "concurrency", "against"]
AGREEMENT_COLUMNS = (
    "n_requests",
    "n_scored",
    "n_frames",
    "match_rate",
    "match_rate_low",
    "match_rate_high",
    "difflib_mean",
    "difflib_median",
    "tfidf_mean",
    "activity_rate",
    "activity_n",
    "apps_jaccard_mean",
    "apps_match_rate",
    "apps_n",
    "topics_jaccard_mean",
    "topics_n",
    "fidelity_precision",
    "fidelity_recall",
    "fidelity_f1",
    "fidelity_n",
    "ocr_share",
    "ocr_n",
    "embedding_mean",
    "embedding_n",
    "well_formed_share",
    "well_formed_n",
)


@dataclass(frozen=True, slots=True)
class Samples:
    """Frame ids for a gallery; no frame is in both."""

    worst: list[str]  # lowest similarity first
    random: list[str]  # drawn by seed from the others


def summarize_agreement(scores: pd.DataFrame, groups: Groups | None = None) -> pd.DataFrame:
    """Agreement per (server, role, concurrency, against), each rate and mean beside its n.

    Args:
        scores: the table of ``score_answers``.
        groups: near-duplicate frames (``frame_groups``); None: only the answers to one frame go together.

    Returns:
        One row per group with AGREEMENT_COLUMNS. ``n_scored`` is the n of match_rate, difflib_* and
        tfidf_mean; ``n_frames`` counts the distinct frames in it. ``match_rate_low`` and ``_high`` are
        Wilson's 95 % interval on the effective number of answers: those to one frame, and to frames that
        look alike, count together (intervals.share_interval). ``fidelity_n`` counts the answers whose
        reference has checkable tokens (see facts.fidelity; the precision's own n may be lower), ``ocr_n``
        those with such tokens to a frame with OCR text. ``well_formed_share`` is over the answered requests,
        scorable or not. A statistic of nothing is NaN, its n is 0.
    """
    columns = [*LEVEL_KEY, *AGREEMENT_COLUMNS]
    rows = [
        dict(zip(LEVEL_KEY, key, strict=True)) | _agreement(group, groups)
        for key, group in scores.groupby(LEVEL_KEY, sort=False)
    ]
    return pd.DataFrame(rows, columns=columns)


def pick_samples(scores: pd.DataFrame, n: int, seed: int, by: str = "tfidf_cosine") -> Samples:
    """The n worst and n random frames for a gallery.

    Args:
        scores: rows of ``score_answers``, cut by the caller to the server, level and ``against`` to be shown.
        n: frames of each kind, at most.
        seed: of the random draw; the same scores and seed give the same frames.
        by: the column that ranks; a frame with several rows counts with its lowest.

    Rows that could not be scored are left out: a failed request is not a bad answer.
    """
    scored = scores.dropna(subset=[by])
    lowest = scored.groupby("frame_id")[by].min().reset_index().sort_values([by, "frame_id"])
    worst = lowest["frame_id"].tolist()[:n]
    others = sorted(set(lowest["frame_id"]) - set(worst))
    return Samples(worst, random.Random(seed).sample(others, min(n, len(others))))


def _agreement(group: pd.DataFrame, groups: Groups | None) -> dict:
    match = group["match"].dropna()
    frame_ids = group.loc[match.index, "frame_id"]
    found = share_interval(match, group_labels(frame_ids, groups))
    means = {name: group[column].mean() for name, column in _MEANS.items()}
    counts = {name: int(group[column].count()) for name, column in _COUNTS.items()}
    return (
        means
        | counts
        | {
            "n_requests": len(group),
            "n_frames": frame_ids.nunique(),
            "match_rate_low": found.low,
            "match_rate_high": found.high,
            "difflib_median": group["difflib_ratio"].median(),
        }
    )


_MEANS = {
    "match_rate": "match",
    "difflib_mean": "difflib_ratio",
    "tfidf_mean": "tfidf_cosine",
    "activity_rate": "activity_agrees",
    "apps_jaccard_mean": "apps_jaccard",
    "apps_match_rate": "apps_match",
    "topics_jaccard_mean": "topics_jaccard",
    "fidelity_precision": "fidelity_precision",
    "fidelity_recall": "fidelity_recall",
    "fidelity_f1": "fidelity_f1",
    "ocr_share": "ocr_share",
    "embedding_mean": "embedding_cosine",
    "well_formed_share": "well_formed",
}
_COUNTS = {
    "n_scored": "match",
    "activity_n": "activity_agrees",
    "apps_n": "apps_jaccard",
    "topics_n": "topics_jaccard",
    "fidelity_n": "fidelity_f1",
    "ocr_n": "ocr_share",
    "embedding_n": "embedding_cosine",
    "well_formed_n": "well_formed",
}
